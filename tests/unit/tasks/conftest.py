from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from langmill.data.document import Document
from langmill.tokenization.chat_template import IM_END, IM_START
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer

WORDS = [
    "the",
    "film",
    "plot",
    "actor",
    "scene",
    "was",
    "is",
    "good",
    "bad",
    "dull",
    "very",
    "not",
    "and",
    "I",
    "liked",
]


def sentences(count: int, longest: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(1, longest))) for _ in range(count)]


@pytest.fixture(scope="session")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Of BPE, with the special tokens of our own chat template."""
    file: Path = tmp_path_factory.mktemp("chatml") / "tokenizer.json"
    train_tokenizer("bpe", 320, sentences(50, 20, 0), file, lambda _: None, special_tokens=[IM_START, IM_END])
    return Tokenizer.load(file)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer("bpe", 300, sentences(50, 20, 0), file, lambda _: None)
    return Tokenizer.load(file)


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    texts = [*sentences(30, 60, 1), "ü", "naïve café 映画"]
    return [
        Document(f"d{number}", text, label="pos" if number % 3 else "neg", metadata={"source": "ab"[number % 2]})
        for number, text in enumerate(texts)
    ]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose by sharing the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
