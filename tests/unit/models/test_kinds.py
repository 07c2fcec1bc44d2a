"""`kind: auto`: what a base is made for, by its config.json."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from langmill.errors import ModelError
from langmill.models.base import Kind, build_backbone
from langmill.models.huggingface.kinds import kind_of_config
from langmill.models.pretrained import FAMILIES
from tests.refused import refused
from tests.unit.models.checkpoints import SIZES, write_checkpoint
from tests.unit.models.pretrained import HEADS, KINDS, LORA

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("family", sorted(KINDS))
def test_the_kind_is_that_of_the_published_config(family: str) -> None:
    config = getattr(transformers, f"{family}Config")(**SIZES[family]).to_dict()
    assert kind_of_config(config, "config.json") is KINDS[family]


def test_the_head_does_not_matter() -> None:
    assert kind_of_config({"model_type": "bert", "architectures": ["BertForSequenceClassification"]}, "") is (
        Kind.bidirectional
    )
    assert kind_of_config({"model_type": "bert", "is_decoder": True}, "") is Kind.causal
    assert kind_of_config({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "") is (
        Kind.causal
    )


@pytest.mark.parametrize("model_type", ["vit", "frobnicator", None])
def test_what_is_no_model_of_texts_is_refused(model_type: str | None) -> None:
    with refused(ModelError, "unsupported", "gone/config.json", repr(model_type)):
        kind_of_config({"model_type": model_type}, "gone/config.json")


@pytest.mark.parametrize("family", ["Bert", "Llama", "T5"])
def test_auto_makes_the_base_s_network(family: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, family, HEADS[family])
    options = {"kind": "auto", "tuning": "full", "lora": LORA, "config": {}}
    backbone = build_backbone("pretrained", options, 20, 32, "test", source=tmp_path)
    assert type(backbone) is FAMILIES[KINDS[family]]
    assert backbone.kind is KINDS[family]
