"""Networks for the small checkpoints of `checkpoints.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from langmill.models.base import Kind, build_backbone
from langmill.models.heads import Classifier, LanguageModel, TextToText

CAUSAL = {"GPT2": "LMHeadModel", **dict.fromkeys(("GPTJ", "Llama", "OPT", "Bloom"), "ForCausalLM")}
ENCODER_DECODERS = {"T5": "ForConditionalGeneration", "Bart": "ForConditionalGeneration", "Marian": "MTModel"}
ENCODERS = ("Bert", "Roberta", "DistilBert")
KINDS = {
    **dict.fromkeys(CAUSAL, Kind.causal),
    **dict.fromkeys(ENCODER_DECODERS, Kind.encoder_decoder),
    **dict.fromkeys(ENCODERS, Kind.bidirectional),
}
HEADS = {**CAUSAL, **ENCODER_DECODERS, **dict.fromkeys(ENCODERS, "ForSequenceClassification")}
MAX_LENGTH, LABELS = 32, 3
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": ["all-linear"]}


def backbone_for(folder: Path, *, vocab_size: int = 20, max_length: int = MAX_LENGTH, **options: Any) -> Any:
    """The backbone that options make of the checkpoint in a folder, without its weights."""
    given = {"kind": "causal", "tuning": "full", "lora": LORA, "config": {}, **options}
    return build_backbone("pretrained", given, vocab_size, max_length, "test", source=folder)


def build(folder: Path, kind: Kind, max_length: int = MAX_LENGTH, **options: Any) -> nn.Module:
    """A network with random weights for the checkpoint in a folder, run by `transformers` unless the options say."""
    torch.manual_seed(1)
    given = {"kind": kind.value, "implementation": "transformers", **options}
    backbone = backbone_for(folder, max_length=max_length, **given)
    if kind is Kind.causal:
        return LanguageModel(backbone)
    if kind is Kind.bidirectional:
        return Classifier(backbone, LABELS, dropout=0.0)
    return TextToText(backbone)


def load(folder: Path, kind: Kind, **options: Any) -> nn.Module:
    """The checkpoint's network, in evaluation mode."""
    network = build(folder, kind, **options)
    network.model.start_from(folder)  # type: ignore[union-attr, operator]
    return network.eval()
