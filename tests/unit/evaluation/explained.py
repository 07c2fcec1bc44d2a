"""Models small enough to explain in a test, in networks whose answers are known by construction."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from langmill.models.base import build_backbone
from langmill.models.folder import save_model
from langmill.models.heads import Classifier
from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.tasks.settings import CONF, shipped_task

LABELS = ("negative", "positive")
SHRUNK: dict[str, dict[str, Any]] = {
    "decoder-small": {"dim": 16, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "hidden_dim": 32},
    "encoder-small": {"dim": 16, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "hidden_dim": 32},
    "gru-small": {"dim": 16, "embedding_dim": 16, "num_layers": 1},
    "lstm-small": {"dim": 16, "embedding_dim": 16, "num_layers": 1},
    "rnn-small": {"dim": 16, "embedding_dim": 16, "num_layers": 1},
    "bag-of-ngrams": {"num_buckets": 97},
    "naive-bayes-ngrams": {"num_buckets": 97},
    "encoder-decoder-small": {"dim": 16, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2, "hidden_dim": 32},
}


def model(folder: Path, task_name: str, model_name: str, tokenizer: Tokenizer, max_length: int = 48) -> LoadedModel:
    """A saved and loaded model of a shipped task and a shrunk shipped network, its weights drawn at random."""
    labels = LABELS if task_name == "classification" else ()
    task = shipped_task(task_name, labels)
    values = yaml.safe_load((CONF / "model" / f"{model_name}.yaml").read_text())
    dropout = {"dropout": 0.0} if "dropout" in values["options"] else {}
    options = {**values["options"], **SHRUNK[model_name], **dropout}
    torch.manual_seed(3)
    backbone = build_backbone(values["architecture"], options, tokenizer.vocab_size, max_length, "test")
    network = task.network(backbone)
    with torch.no_grad():  # a fresh network's blocks do nothing yet
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.25)
    own = {
        "recipe": "tiny",
        "task": {"name": task_name, "options": _plain(task.options), "labels": list(labels)},
        "model": {"architecture": values["architecture"], "options": options},
        "max_length": max_length,
        "eot_id": tokenizer.eot_id,
    }
    save_model(folder, network, {"langmill": own}, tokenizer.file, {"provenance": "ab" * 32})
    return load_model(folder, verify=True)


def plant(loaded: LoadedModel, token: int) -> None:
    """Let one token, and it alone, speak for the second label."""
    network = loaded.network
    assert isinstance(network, Classifier)
    opt = torch.optim.Adam(network.parameters(), lr=1e-2)
    random = torch.Generator().manual_seed(0)
    others = torch.tensor([each for each in range(loaded.tokenizer.vocab_size) if each != token])
    for step in range(150):
        tokens_BT = others[torch.randint(len(others), (16, 10), generator=random)]
        labels_B = torch.arange(16) % 2
        tokens_BT[labels_B == 1, step % 10] = token
        loss = nn.functional.cross_entropy(network(tokens_BT), labels_B)
        opt.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        opt.step()


def _plain(options: Any) -> Any:
    if isinstance(options, Enum):
        return str(options)
    if hasattr(options, "__dict__"):
        return {key: _plain(value) for key, value in vars(options).items()}
    return options
