"""Checkpoints, settings and sequences that a pretrained model refuses, and its config's replaced entries."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from langmill.errors import ConfigError, IntegrityError, ModelError
from langmill.files import write_manifest
from langmill.models.base import ARCHITECTURES, Kind, build_backbone
from langmill.models.heads import LanguageModel
from tests.refused import refused
from tests.unit.models.checkpoints import write_checkpoint, write_tokenizer
from tests.unit.models.pretrained import (
    HEADS,
    LORA,
    MAX_LENGTH,
    build,
    load,
)

pytestmark = pytest.mark.unit


def test_logits_computed_in_another_way_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Granite", "ForCausalLM")  # divides its logits after the head
    with refused(ModelError, "unsupported", "GraniteForCausalLM", "logits"):
        load(tmp_path, Kind.causal)


def test_missing_and_damaged_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "body", "Llama", "Model")
    with refused(ModelError, "mismatch", "lm_head.weight"):
        load(tmp_path / "body", Kind.causal)
    write_checkpoint(tmp_path / "damaged", "Llama", "ForCausalLM")
    network = build(tmp_path / "damaged", Kind.causal)
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"nothing")
    with refused(IntegrityError, "damaged", "model.safetensors", "manifest.json"):
        network.model.start_from(tmp_path / "damaged")  # type: ignore[union-attr, operator]
    write_manifest(tmp_path / "damaged", {})
    with refused(ModelError, "mismatch", str(tmp_path / "damaged"), "config.json"):
        network.model.start_from(tmp_path / "damaged")  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("family", "kind", "lacking"),
    [("Bert", Kind.encoder_decoder, "AutoModelForSeq2SeqLM"), ("T5", Kind.causal, "AutoModelForCausalLM")],
)
def test_another_kind_is_refused(tmp_path: Path, family: str, kind: Kind, lacking: str) -> None:
    write_checkpoint(tmp_path, family, HEADS[family])
    with refused(ConfigError, "impossible", "model.options.kind", kind.value, lacking, family.lower()):
        build(tmp_path, kind)


def test_sequences_that_are_too_long_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "ForSequenceClassification")
    with refused(ModelError, "impossible", "65", "64", "training.block_length"):
        build(tmp_path, Kind.bidirectional, max_length=63)  # [CLS] and [SEP] need positions too
    network = build(tmp_path, Kind.bidirectional, max_length=62)
    with refused(ModelError, "impossible", "65", "64"):
        network(torch.zeros(1, 63, dtype=torch.long))
    write_checkpoint(tmp_path / "roberta", "Roberta", "ForSequenceClassification")
    build(tmp_path / "roberta", Kind.bidirectional, max_length=62)
    with refused(ModelError, "impossible", "65", "64"):
        build(tmp_path / "roberta", Kind.bidirectional, max_length=63)


def test_a_folder_without_a_known_model(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, special_tokens=False)
    (tmp_path / "config.json").write_text('{"model_type": "bag-of-words"}')
    with refused(ModelError, "unsupported", "config.json", "bag-of-words"):
        build(tmp_path, Kind.causal)
    (tmp_path / "config.json").unlink()
    with refused(ModelError, "unreadable", str(tmp_path)):
        build(tmp_path, Kind.causal)


def test_entries_of_the_config_can_be_replaced(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "Model")
    network = build(tmp_path, Kind.bidirectional, config={"attention_probs_dropout_prob": 0.0})
    dropped = {name: part.p for name, part in network.named_modules() if isinstance(part, nn.Dropout)}
    assert {p for name, p in dropped.items() if "attention.self" in name} == {0.0}
    assert dropped["head.dropout"] == 0.1
    assert network.config()["attention_probs_dropout_prob"] == 0.0  # type: ignore[operator]
    with refused(ConfigError, "unknown", "model.options.config", "dropuot", "bert"):
        build(tmp_path, Kind.bidirectional, config={"dropuot": 0.0})


def test_layers_that_are_not_there_can_not_be_adapted(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Llama", "ForCausalLM")
    network = load(tmp_path, Kind.causal, tuning="lora", lora={**LORA, "targets": ["c_attn"]})
    with refused(ConfigError, "unknown", "lora.targets is ['c_attn']", "q_proj"):
        network.model.prepare_for_training(network)  # type: ignore[union-attr, operator]


def test_an_encoder_predicts_no_tokens_and_a_base_is_needed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Bert", "Model")
    given = {"kind": "bidirectional", "tuning": "full", "lora": LORA, "config": {}}
    backbone = build_backbone("pretrained", given, 20, MAX_LENGTH, "test", source=tmp_path)
    with refused(ModelError, "unsupported", "classifier"):
        LanguageModel(backbone)
    with refused(ModelError, "unsupported", "bidirectional"):
        backbone.new_cache(1)
    with refused(ConfigError, "missing", "training.base"):
        build_backbone("pretrained", given, 20, MAX_LENGTH, "test")
    assert ARCHITECTURES.find("pretrained").needs_base
