"""The shipped settings, shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from omegaconf import OmegaConf

from langmill.config.compose import plain
from langmill.config.sections import Evaluation, Training
from langmill.config.typed import typed
from langmill.data.document import Document
from langmill.models.base import Backbone, build_backbone
from langmill.models.folder import save_model
from langmill.scoring.base import Scorer, TrainingData, build_scorer
from langmill.tasks.base import Task, build_task
from langmill.tokenization.tokenizer import Tokenizer

CONF = Path(__file__).parents[3] / "conf"


def training(**changes: Any) -> Training:
    values = yaml.safe_load((CONF / "training" / "from-scratch.yaml").read_text())
    return typed(Training, {**values, **changes}, "test")


def evaluation(**changes: Any) -> Evaluation:
    values = yaml.safe_load((CONF / "evaluation" / "default.yaml").read_text())
    return typed(Evaluation, {**values, **changes}, "test")


def shipped_sections(name: str, **options: Any) -> dict[str, Any]:
    """The sections of a file in conf/task/, with some options of the task or its scorer changed."""
    read = OmegaConf.create((CONF / "task" / f"{name}.yaml").read_text())
    # What is trained on is not told here: a chat's length is another section's.
    values: Any = OmegaConf.to_container(OmegaConf.merge({"training": {"block_length": 48}}, read), resolve=True)
    del values["training"]
    known = [section["options"] for section in values.values()]
    for key, value in options.items():
        for section in [each for each in known if key in each] or known[:1]:
            there = section.get(key)
            section[key] = {**there, **value} if key == "decoding" else value
    return values


def shipped_scorer(name: str, labels: tuple[str, ...] = (), **options: Any) -> Scorer:
    values = shipped_sections(name, **options)
    task = build_task(values["task"]["name"], values["task"]["options"], labels, "test")
    return build_scorer(task, values["scoring"]["options"], "test")


def shipped_task(name: str, labels: tuple[str, ...] = (), **options: Any) -> Task:
    return shipped_scorer(name, labels, **options).task


def tiny_options() -> dict[str, Any]:
    values = yaml.safe_load((CONF / "model" / "decoder-small.yaml").read_text())
    return {**values["options"], "dim": 16, "num_heads": 2, "num_kv_heads": 2, "hidden_dim": 32}


def tiny_backbone(vocab_size: int, max_length: int) -> Backbone:
    return build_backbone("decoder", tiny_options(), vocab_size, max_length, "test")


def save_tiny_model(
    folder: Path, task_name: str, labels: tuple[str, ...], tokenizer: Tokenizer, max_length: int, **changes: Any
) -> None:
    """A model folder as training writes it, with random weights."""
    torch.manual_seed(0)
    task = shipped_task(task_name, labels, **changes)
    network = task.network(tiny_backbone(tokenizer.vocab_size, max_length))
    options = plain(task.options)
    own = {
        "recipe": "tiny",
        "task": {"name": task_name, "options": options, "labels": list(labels)},
        "model": {"architecture": "decoder", "options": tiny_options()},
        "max_length": max_length,
        "eot_id": tokenizer.eot_id,
    }
    save_model(folder, network, {"langmill": own}, tokenizer.file, {"provenance": "ab" * 32})


@dataclass
class TinyShard:
    """What tasks read of a shard, made from lists; 0 ends every document."""

    documents: list[list[int]]
    labels: list[str | None]

    @property
    def tokens(self) -> np.ndarray:
        return np.array([token for document in self.documents for token in (*document, 0)], dtype=np.uint16)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(document) for document in self.documents], dtype=np.int64)

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.lengths + 1) - self.lengths - 1

    @property
    def num_sequences(self) -> int:
        return len(self.documents)

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)


def training_data(shard: Any, documents: Sequence[Document] = ()) -> TrainingData:
    """What baselines are fitted on."""
    return TrainingData(shard, lambda: documents)


def shard(documents: list[list[int]], labels: list[str | None] | None = None) -> Any:
    return TinyShard(documents, labels or [None] * len(documents))
