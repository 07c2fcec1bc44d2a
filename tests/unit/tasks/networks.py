"""Networks of pairs and of masked tokens with drawn weights, and their data, for the tests of tasks and of scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from langmill.data.document import Document
from langmill.models.base import build_backbone
from langmill.models.heads import LanguageModel
from langmill.tasks.base import Task
from langmill.tasks.completion import Completion
from langmill.tasks.masked_language_modelling import MASK
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer

from .conftest import sentences
from .settings import CONF, tiny_backbone, tiny_options

PAIR_LENGTH = 48
"""Context length of the networks of pairs, in tokens."""
MASKED_LENGTH = 128
"""Context length of the networks of masked tokens, in tokens."""
PAIRS = [
    Document(f"d{number}", f"the film was {word}", target=f"{word} plot", metadata={"source": "imdb"})
    for number, word in enumerate(["good", "bad", "dull", "good good", "bad dull bad"])
]


def tiny_pair_backbone(vocab_size: int) -> Any:
    """An encoder-decoder of the shipped kind, small."""
    values = yaml.safe_load((CONF / "model" / "encoder-decoder-small.yaml").read_text())
    options = {**values["options"], "dim": 16, "num_heads": 2, "hidden_dim": 32, "dropout": 0.0}
    return build_backbone("encoder_decoder", options, vocab_size, PAIR_LENGTH, "test")


def pair_network(task: Task, tokenizer: Tokenizer) -> torch.nn.Module:
    """A network of a task that writes a target for a text."""
    torch.manual_seed(3)
    size = tokenizer.vocab_size
    causal = isinstance(task, Completion)
    network = task.network(tiny_backbone(size, PAIR_LENGTH) if causal else tiny_pair_backbone(size))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return network.eval()


def masking_tokenizer(folder: Path) -> Tokenizer:
    """A tokenizer with a mask token, trained into a folder."""
    file = folder / "tokenizer.json"
    train_tokenizer("bpe", 300, sentences(50, 20, 0), file, lambda _: None, special_tokens=[MASK])
    return Tokenizer.load(file)


def masked_network(task: Task, tokenizer: Tokenizer) -> LanguageModel:
    """A network that predicts masked tokens."""
    torch.manual_seed(2)
    network = task.network(build_backbone("encoder", tiny_options(), tokenizer.vocab_size, MASKED_LENGTH, "test"))
    assert isinstance(network, LanguageModel)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return network.eval()
