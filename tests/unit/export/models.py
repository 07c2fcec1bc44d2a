"""Model folders of every architecture, small, with weights large enough to have opinions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from langmill.config.sections import TokenizerPattern
from langmill.export.base import VerifiedVersion
from langmill.files import read_json, write_manifest
from langmill.models.base import Backbone, build_backbone
from langmill.models.folder import save_model, write_generation_config
from langmill.registry.versions import ModelVersion
from langmill.tasks.loading import LoadedModel, interface_of, load_model
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.unit.models.checkpoints import SIZES, write_checkpoint
from tests.unit.tasks.settings import CONF, shipped_scorer, shipped_sections, tiny_options
from tests.unit.tokenization.conftest import sentences

MAX_LENGTH = 48
LABELS = ("negative", "positive", "好评")
TEXTS = (
    "the film was good",
    "",
    "I'd watch it again in 1999 , naïve café 映画",
    "really wonderful and don't miss it !!!",
)
GREEDY = {"max_new_tokens": 8, "num_beams": 1}
_FILES = {
    "encoder_decoder": "encoder-decoder-small",
    "gru": "gru-small",
    "lstm": "lstm-small",
    "rnn": "rnn-small",
    "bag_of_ngrams": "bag-of-ngrams",
    "naive_bayes_ngrams": "naive-bayes-ngrams",
}


def vocabulary(folder: Path, pattern: TokenizerPattern = TokenizerPattern.langmill, *special: str) -> Tokenizer:
    """A tokenizer of 400 entries."""
    file = folder / "tokenizer.json"
    train_tokenizer("bpe", 400, sentences(200), file, lambda _: None, special_tokens=special, pattern=pattern)
    return Tokenizer.load(file)


def options_of(architecture: str) -> dict[str, Any]:
    """The options of an architecture, made small."""
    if architecture in ("decoder", "encoder"):
        return {**tiny_options(), "num_kv_heads": 1, "num_layers": 1}
    options = yaml.safe_load((CONF / "model" / f"{_FILES[architecture]}.yaml").read_text())["options"]
    small: dict[str, Any] = {
        "dim": 16,
        "embedding_dim": 16,
        "num_heads": 2,
        "hidden_dim": 32,
        "num_buckets": 8,
        "dropout": 0.0,
    }
    if architecture in ("bag_of_ngrams", "naive_bayes_ngrams"):
        small["num_buckets"] = 50
    elif architecture == "encoder_decoder":
        small |= {"num_layers": 1, "num_decoder_layers": 1}
    return {**options, **{name: value for name, value in small.items() if name in options}}


def saved(
    folder: Path,
    tokenizer: Tokenizer,
    task_name: str,
    architecture: str,
    source: Path | None = None,
    model_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> LoadedModel:
    """A model of random weights, or of those in `source`, written as training and evaluation would."""
    labels = LABELS if task_name == "classification" else ()
    scorer = shipped_scorer(task_name, labels, **options)
    task, own_options = scorer.task, dict(model_options or options_of(architecture))
    torch.manual_seed(4)
    backbone = build_backbone(architecture, own_options, tokenizer.vocab_size, MAX_LENGTH, "test", source=source)
    network = task.network(backbone)
    if source is not None:
        backbone.start_from(source)
    else:
        with torch.no_grad():
            for weight in network.parameters():
                weight.normal_(0.0, 0.3) if weight.dim() > 1 else weight.normal_(1.0, 0.1)
    own = {
        "recipe": "tiny",
        "task": {**shipped_sections(task_name, **options)["task"], "labels": list(labels)},
        "model": {"architecture": architecture, "options": own_options},
        "max_length": MAX_LENGTH,
        "eot_id": tokenizer.eot_id,
    }
    _save(folder, network, own, tokenizer, interface_of(task, backbone, MAX_LENGTH, tokenizer))
    if scorer.generation_config is not None:  # as a package has it
        write_generation_config(folder, read_json(folder / "config.json"), scorer.generation_config.to_json())
    return load_model(folder, verify=False)


def _save(folder: Path, network: Any, own: dict[str, Any], tokenizer: Tokenizer, interface: Any) -> None:
    facts = {"provenance": "ab" * 32, "corpus": {"name": "reviews"}}
    save_model(folder, network, {"langmill": own}, tokenizer.file, facts, interface=interface)


def registered(model: LoadedModel) -> VerifiedVersion:
    """The version that a model folder would be."""
    from datetime import UTC, datetime

    version = ModelVersion("tiny", 1, (), "ab" * 32, None, {}, datetime(2026, 11, 26, tzinfo=UTC))
    return VerifiedVersion(version, "A model of a test.", model.folder)


def backbone_of(model: LoadedModel) -> Backbone:
    """A model's backbone."""
    found = model.network.get_submodule("model")
    assert isinstance(found, Backbone)
    return found


PRETRAINED = {
    "kind": "auto",
    "tuning": "full",
    "lora": {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": ["all-linear"]},
    "config": {},
}
"""Options of the architecture `pretrained`."""


def fine_tuned(
    folder: Path, tokenizer: Tokenizer, family: str, task_name: str = "language_modelling", head: str = "ForCausalLM",
    **changes: Any,
) -> LoadedModel:  # fmt: skip
    """A model of a family of `transformers` over a vocabulary of ours, as if it had been fine-tuned."""
    size = {"vocab_size": tokenizer.vocab_size, "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    write_checkpoint(folder / "published", family, head, **{**size, **SIZES.get(family, SIZES["Llama"]), **changes})
    shutil.copyfile(tokenizer.file, folder / "published" / "tokenizer.json")
    write_manifest(folder / "published", {"recipe": "published", "provenance": "0" * 64})
    options = {"decoding": GREEDY} if task_name == "text_to_text" else {}
    return saved(folder / "m", tokenizer, task_name, "pretrained", folder / "published", PRETRAINED, **options)
