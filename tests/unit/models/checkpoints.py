"""Small models of `transformers`, written to a folder as their authors would publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from langmill.files import write_manifest

WORDS = "the a film was good bad and not very story plot of in it i see rose red king speaks".split()  # noqa: SIM905
SIZES = {
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "GPTJ": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "rotary_dim": 4},
    "Llama": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 32, "max_position_embeddings": 64,
    },
    "OPT": {
        "hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
        "max_position_embeddings": 64,
    },
    "Bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "Granite": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 32, "max_position_embeddings": 64, "logits_scaling": 3.0,
    },
    "Bert": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 64,
    },
    "Roberta": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 66, "pad_token_id": 1,
    },
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64},
    "T5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1},
    "Bart": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
        "forced_eos_token_id": None,
    },
    "Marian": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
        "decoder_start_token_id": 1, "forced_eos_token_id": None,
    },
}  # fmt: skip


def write_tokenizer(folder: Path, *, special_tokens: bool) -> int:
    """Write a word tokenizer, whose template puts [CLS] and [SEP] around a text if asked; return its size."""
    names = ["[UNK]", "[PAD]", "[SEP]", "[CLS]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(names[:4])
    if special_tokens:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 2)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(names)


def write_checkpoint(folder: Path, family: str, head: str, *, seed: int = 3, **changes: Any) -> Any:
    """Write a small model of a family (`GPT2`) with a head (`LMHeadModel`), and its tokenizer; return the model."""
    size = write_tokenizer(folder, special_tokens=family in ("Bert", "Roberta", "DistilBert"))
    config = getattr(transformers, f"{family}Config")(
        **{
            **{"vocab_size": size, "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 2},
            **SIZES.get(family, {}),
            **changes,
        }
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}{head}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # far from nothing, so that a mistake shows; sinusoids stay
                parameter.copy_(torch.randn_like(parameter) * 0.2 + parameter)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    write_manifest(folder, {"recipe": "published", "provenance": "0" * 64})
    return model
