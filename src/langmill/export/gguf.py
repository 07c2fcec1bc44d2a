"""A GGUF file: what llama.cpp opens, and so Ollama, LM Studio and their like.

Names of weights and keys of the metadata are llama.cpp's (`convert_hf_to_gguf.py`, the classes LlamaModel and
Qwen2Model); docs/decisions/0628 says what has a place in such a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from langmill.config.sections import TokenizerPattern
from langmill.errors import ModelError
from langmill.export.base import EXPORTERS, Exporter, VerifiedVersion
from langmill.export.model_card import Opening, write_card
from langmill.files import read_json
from langmill.models.folder import TOKENIZER_NAME, load_state, read_config
from langmill.models.huggingface.llama_shape import ROTARY, obstacles
from langmill.models.huggingface.special_tokens import SpecialTokenTemplate
from langmill.models.layers.llama import rotary_frequencies
from langmill.tokenization.companion import Companion
from langmill.tokenization.patterns import pattern_of

_SPLITS = {
    TokenizerPattern.gpt2: "gpt-2",
    TokenizerPattern.llama3: "llama-bpe",
    TokenizerPattern.qwen2: "qwen2",
}
"""llama.cpp's names of the patterns."""
_DIGITS_APART = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
_DIGITS_APART_NAME = "smollm"
"""llama.cpp's name of "each digit by itself, then GPT-2's pattern"."""
_LAYER = re.compile(r"model\.layers\.(\d+)\.([a-z_.]+)\.(weight|bias)")
_IN_A_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_HEADS = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
"""llama.cpp's architecture, by the class that opens the weights in `transformers`."""
_LLAMA = "llama"


@EXPORTERS.register("gguf")
class Gguf(Exporter):
    """One file with weights in float32, the vocabulary and the chat template."""

    def write(self, model: VerifiedVersion, into: Path) -> None:
        """Write `NAME.gguf`. Raises ModelError where llama.cpp would compute or read something else."""
        config = read_config(model.folder)
        name = f"{model.version.name}.gguf"
        write_gguf(model.folder, into / name, f"{model.version.name} {model.version.version}", model.description)
        write_card(into, model, config, _opening(name, config))


def write_gguf(folder: Path, path: Path, title: str, description: str) -> None:
    """Write a model folder as a GGUF file; equal folders give equal bytes.

    Args:
        folder: The model folder.
        path: The file.
        title: What llama.cpp calls the model.
        description: What it is for.

    Raises:
        ModelError: It has no Llama's shape, splits texts in a way that llama.cpp does not know, or its vocabulary is no
            byte-level one.
    """
    import gguf

    config = read_config(folder)
    architecture = _architecture(config)
    vocabulary = _vocabulary(folder, config)
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name(title)
    if description:
        writer.add_description(description)
    _add_shape(writer, config, architecture)
    _add_vocabulary(writer, vocabulary)
    for name, values in _weights(folder, config, architecture):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _architecture(config: Mapping[str, Any]) -> str:
    """llama.cpp's architecture for a `config.json`. Raises ModelError where it has none that computes the same."""
    own, found = config["langmill"], _HEADS.get(config["architectures"][0])
    called = f"{own['recipe']} is a {own['model']['architecture']} for {own['task']['name']}"
    if found is None:
        raise ModelError(
            f"{called}, and a GGUF file has a place for decoders in Llama's shape that continue a text; take --format "
            "onnx or pt2.",
            "unsupported",
        )
    hindered = obstacles(config, int(own["max_length"]))
    rotary = config["rope_parameters"].get("rope_type", "default")
    if found != _LLAMA and rotary == "llama3":  # only its graph of llama reads factors of frequencies
        hindered.append(f"rotary positions of the type {rotary} in a {config['model_type']}")
    if hindered:
        raise ModelError(f"{called} with {' and '.join(hindered)}, which is not exported to GGUF.", "unsupported")
    return found


# Weights ---------------------------------------------------------------------------------------------------------


def _weights(folder: Path, config: Mapping[str, Any], architecture: str) -> Iterator[tuple[str, np.ndarray]]:
    """Each weight by llama.cpp's name, in float32."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, tensor in load_state(folder, verify=False).items():
        values = tensor.float()
        if name in _OUTSIDE:
            yield _OUTSIDE[name], values.numpy()
            continue
        found = _LAYER.fullmatch(name)
        if found is None or found[2] not in _IN_A_LAYER:
            raise ModelError(f"{folder} has a weight {name}, which a GGUF file has no place for.", "unsupported")
        theirs = _IN_A_LAYER[found[2]]
        if architecture == _LLAMA and theirs in heads:
            values = _interleaved(values, heads[theirs])
        yield f"blk.{found[1]}.{theirs}.{found[3]}", values.numpy()
    if (factors := _frequency_factors(config)) is not None:
        yield "rope_freqs.weight", factors


def _interleaved(values: Tensor, num_heads: int) -> Tensor:
    """Reorder the rows of each head, so that rotated pairs stand side by side.

    We rotate the pairs (i, i + E/2) of a head, llama.cpp's graph of this architecture (2i, 2i + 1).
    """
    pairs = values.reshape(num_heads, 2, len(values) // num_heads // 2, *values.shape[1:])
    return pairs.transpose(1, 2).reshape(values.shape).contiguous()


def _frequency_factors(config: Mapping[str, Any]) -> np.ndarray | None:
    """What the plain rotary frequencies are divided by, where Llama 3.1's rule scales them."""
    rotary = config["rope_parameters"]
    if rotary.get("rope_type", "default") != "llama3":
        return None
    plain = rotary_frequencies(rotary["rope_theta"], _head_dim(config))
    factors: np.ndarray = (plain / ROTARY["llama3"](plain, rotary)).numpy()
    return factors


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _add_shape(writer: Any, config: Mapping[str, Any], architecture: str) -> None:
    import gguf

    rotary, head_dim = config["rope_parameters"], _head_dim(config)
    writer.add_context_length(int(config["langmill"]["max_length"]))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rotary["rope_theta"]))
    if architecture == _LLAMA:
        writer.add_rope_dimension_count(head_dim)
    if rotary.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rotary["factor"]))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


# Vocabulary ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Vocabulary:
    """What llama.cpp knows of a tokenizer."""

    split: str
    """Its name of the pattern."""
    tokens: list[str]
    """By id, in GPT-2's byte characters."""
    kinds: list[int]
    """`gguf.TokenType` of each."""
    merges: list[str]
    leading: int | None
    """The token before every text."""
    stops: tuple[int, ...]
    """The tokens that end a text, or a turn of a chat."""
    pad: int
    chat_template: str | None


def _vocabulary(folder: Path, config: Mapping[str, Any]) -> _Vocabulary:
    import gguf

    file = folder / TOKENIZER_NAME
    state = read_json(file)
    split = _split(state, config)
    size = int(config["vocab_size"])
    tokens = [f"[PAD{number}]" for number in range(size)]  # rows of the network that no text has
    kinds = [int(gguf.TokenType.UNUSED)] * size
    for token, number in state["model"]["vocab"].items():
        tokens[number], kinds[number] = token, int(gguf.TokenType.NORMAL)
    for added in state["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], kinds[added["id"]] = added["content"], int(kind)
    template = SpecialTokenTemplate.read(file)
    if len(template.prefix) > 1 or template.suffix:
        raise ModelError(
            f"The tokenizer of {config['langmill']['recipe']} puts {len(template)} tokens around a text; a GGUF file "
            "has a place for one before it.",
            "unsupported",
        )
    stops = config["eos_token_id"]
    companion = Companion.beside(file)
    return _Vocabulary(
        split,
        tokens,
        kinds,
        [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]],
        template.prefix[0] if template.prefix else None,
        tuple(stops) if isinstance(stops, list) else (stops,),
        int(config["pad_token_id"] if config.get("pad_token_id") is not None else config["langmill"]["eot_id"]),
        companion.chat_template,
    )


def _split(state: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """llama.cpp's name of how a tokenizer splits texts. Raises ModelError where it has none."""
    recipe, model = config["langmill"]["recipe"], state["model"]
    normalizer = (state.get("normalizer") or {}).get("type", "NFC")  # documents are in NFC, and stay as they are
    if model.get("type") != "BPE" or model.get("byte_fallback") or normalizer != "NFC":
        raise ModelError(
            f"The vocabulary of {recipe} is no byte-level BPE that reads texts as they are, which is what is exported "
            "to GGUF; take --format hf, onnx or pt2.",
            "unsupported",
        )
    if not model["merges"]:
        raise ModelError(
            f"The vocabulary of {recipe} is bytes alone, and llama.cpp opens none without merges; take --format hf, "
            "onnx or pt2.",
            "unsupported",
        )
    pattern = pattern_of(state)
    if pattern in _SPLITS:
        return _SPLITS[pattern]
    if state.get("pre_tokenizer") == _DIGITS_APART:
        return _DIGITS_APART_NAME
    if pattern is TokenizerPattern.langmill:
        raise ModelError(
            f"The vocabulary of {recipe} splits texts into words by Langmill's own pattern, which llama.cpp does not "
            "have: it would read other tokens than the model was trained on. Set tokenizer.pattern to gpt2, llama3 or "
            "qwen2 in conf/tokenizer/ and train again, or take --format hf, onnx or pt2.",
            "unsupported",
        )
    raise ModelError(
        f"The vocabulary of {recipe} splits texts into words in a way that llama.cpp is not known to have; take "
        "--format hf, onnx or pt2.",
        "unsupported",
    )


def _add_vocabulary(writer: Any, vocabulary: _Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    first, *others = vocabulary.stops
    writer.add_bos_token_id(first if vocabulary.leading is None else vocabulary.leading)
    writer.add_eos_token_id(first)
    for add, number in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(number)
    writer.add_pad_token_id(vocabulary.pad)
    writer.add_add_bos_token(vocabulary.leading is not None)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)


def _opening(name: str, config: Mapping[str, Any]) -> Opening:
    length = config["langmill"]["max_length"]
    return Opening(
        "gguf",
        f"""With llama.cpp (`llama-server -m {name} -c {length}`), or in Python with `xllamacpp`:

```python
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.n_ctx = "{name}", {length}
server = xllamacpp.Server(params)
answer = server.handle_completions({{"prompt": "The film was", "max_tokens": 32, "temperature": 0}})
print(answer["choices"][0]["text"])
```

Weights are in float32; `llama-quantize {name} small.gguf q8_0` makes a smaller file, with a loss that nobody has
measured. llama.cpp takes the text of a special token in a prompt for the token itself; Langmill and `transformers` read
it as text.""",
    )
