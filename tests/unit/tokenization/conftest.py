"""A small vocabulary, trained once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer

WORDS = [
    *("the", "film", "was", "really", "wonderful", "and", "I'd", "watch", "it", "again", "in", "1999", "or", "2026"),
    *(
        "don't",
        "miss",
        "it",
        "great",
        "acting",
        "naïve",
        "café",
        "überraschend",
        "映画",
        "は",
        "良い",
        "фильм",
        "हिन्दी",
    ),
    *("aaaa", "!!!", "...", "--", "\n"),
]


def sentences(count: int) -> list[str]:
    chosen = random.Random(7)
    return [" ".join(chosen.choices(WORDS, k=12)) for _ in range(count)]


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer("bpe", 500, sentences(300), file, lambda _: None)
    return file


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_file)
