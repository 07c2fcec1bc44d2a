"""Small GGUF files with random weights, as llama.cpp would write them of small models of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize

from langmill.tokenization.byte_level import BYTE_CHARACTERS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ Ġ", "Ġ 1"]
TOKENS = [*SPECIAL, *BYTE_CHARACTERS.values(), *(merge.replace(" ", "") for merge in MERGES)]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENIZER: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.padding_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.chat_template": TEMPLATE,
}
_PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "th", "▁the"]
SENTENCEPIECE: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": _PIECES,
    "tokenizer.ggml.scores": [0.0 if number < 259 else 258.0 - number for number in range(len(_PIECES))],
    "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * 6],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.add_bos_token": True,
}
"""A tokenizer like Llama 2's: SentencePiece, with bytes for what it does not know, and a token that begins a text."""
LLAMA: dict[str, Any] = {
    "general.name": "tiny",
    "general.license": "apache-2.0",
    "llama.block_count": 2,
    "llama.context_length": 64,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.rope.dimension_count": 16,
    "llama.rope.freq_base": 100000.0,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": len(TOKENS),
}
QWEN2 = {key.replace("llama.", "qwen2."): value for key, value in LLAMA.items() if "vocab" not in key} | {
    "qwen2.attention.layer_norm_rms_epsilon": 1e-6
}
GPT2: dict[str, Any] = {
    "general.name": "tiny",
    "gpt2.block_count": 2,
    "gpt2.context_length": 1024,
    "gpt2.embedding_length": 64,
    "gpt2.feed_forward_length": 256,
    "gpt2.attention.head_count": 4,
    "gpt2.attention.layer_norm_epsilon": 1e-5,
}
_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_GPT2_LAYER = {
    "attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    stored: Type = Type.F32,
) -> Path:
    """Write a file; matrices are stored as `stored`, everything else in float32. None takes a key out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_string(key, value)
    for name, values in tensors.items():
        kind = stored if values.ndim > 1 else Type.F32
        writer.add_tensor(name, quantize(np.ascontiguousarray(values, dtype=np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def network(family: str, *, tied: bool = True, seed: int = 3) -> Any:
    """A small model with random weights: `Llama`, `Qwen2` or `GPT2` (of which transformers reads 1,024 positions)."""
    sizes: dict[str, Any] = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 96, "max_position_embeddings": 64, "rope_theta": 100000.0, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    if family == "GPT2":
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1024}
    config = getattr(transformers, f"{family}Config")(vocab_size=len(TOKENS), tie_word_embeddings=tied, **sizes)
    torch.manual_seed(seed)
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{family}{head}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + parameter)
    return model


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """Its weights by their names in a GGUF file, laid out as llama.cpp's converter does."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    if model.config.model_type == "gpt2":
        return _gpt2_tensors(state)
    found = {"token_embd.weight": state["model.embed_tokens.weight"], "output_norm.weight": state["model.norm.weight"]}
    if not model.config.tie_word_embeddings:
        found["output.weight"] = state["lm_head.weight"]
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    for layer in range(model.config.num_hidden_layers):
        for theirs, ours in _LAYER.items():
            for end in ("weight", "bias"):
                if (values := state.get(f"model.layers.{layer}.{ours}.{end}")) is not None:
                    if model.config.model_type == "llama" and theirs in heads:
                        values = _permuted(values, heads[theirs])
                    found[f"blk.{layer}.{theirs}.{end}"] = values
    return found


def _permuted(values: np.ndarray, heads: int) -> np.ndarray:
    """Rotary pairs side by side, as llama.cpp has them for Llama (`permute` in its convert_hf_to_gguf.py)."""
    rows = values.shape[0] // heads
    return values.reshape(heads, 2, rows // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _gpt2_tensors(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {
        "token_embd.weight": state["transformer.wte.weight"],
        "position_embd.weight": state["transformer.wpe.weight"],
        "output_norm.weight": state["transformer.ln_f.weight"],
        "output_norm.bias": state["transformer.ln_f.bias"],
    }
    for layer in range(2):
        for theirs, ours in _GPT2_LAYER.items():
            for end in ("weight", "bias"):
                values = state[f"transformer.h.{layer}.{ours}.{end}"]
                found[f"blk.{layer}.{theirs}.{end}"] = values.T if values.ndim > 1 else values
    return found


METADATA = {"Llama": LLAMA, "Qwen2": QWEN2, "GPT2": GPT2}


def write_model(path: Path, family: str, *, tied: bool = True, stored: Type = Type.F32, **changes: Any) -> Any:
    """Write a small model of a family with a tokenizer; return the model. `changes` are metadata, `__` for a point."""
    model = network(family, tied=tied)
    changed = {key.replace("__", "."): value for key, value in changes.items()}
    metadata = METADATA[family] | TOKENIZER | changed
    write_gguf(path, family.lower(), metadata, tensors_of(model), stored)
    return model
