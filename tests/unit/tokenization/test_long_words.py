"""Learning and encoding take time that grows with a word's length and not with its square."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit
SHORT, LONG = 12_500, 100_000
FACTOR, FLOOR = 3, 0.3  # of the square it would be eight times, not three, as long as eight times the short one


def word(kind: str, length: int) -> str:
    chosen = random.Random(1)
    if kind == "base64":
        return base64.b64encode(chosen.randbytes(3 * length // 4)).decode()
    if kind == "dna":
        return "".join(chosen.choices("ACGT", k=length))
    unit = {"a letter": "a", "spaces": " ", "emoji": "👩\u200d👩\u200d👧", "marks": "e\u0301\u0327", "digits": "1"}[
        kind
    ]
    return unit * (length // len(unit))


def require_linear(work: Callable[[int], object]) -> None:
    def seconds(length: int) -> float:
        began = time.process_time()
        work(length)
        return time.process_time() - began

    if (taken := seconds(LONG)) > FLOOR:
        short = min(seconds(SHORT) for _ in range(2))
        assert taken < LONG / SHORT * FACTOR * short + FLOOR


def learned(name: str, texts: list[str], file: Path) -> Tokenizer:
    size = None if TOKENIZER_ALGORITHMS.find(name).fixed_size else 600
    train_tokenizer(name, size, texts, file, lambda _: None)
    return Tokenizer.load(file)


@pytest.mark.parametrize("kind", ["base64", "dna", "emoji"])
@pytest.mark.parametrize("name", TOKENIZER_ALGORITHMS.names())
def test_learning(tmp_path: Path, name: str, kind: str) -> None:
    require_linear(lambda length: learned(name, [*sentences(20), word(kind, length)], tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("name", TOKENIZER_ALGORITHMS.names())
def test_encoding(tmp_path: Path, name: str) -> None:
    kinds = ["base64", "dna", "a letter", "spaces", "emoji", "marks", "digits"]
    tokenizer = learned(name, [*sentences(300), *(word(kind, 500) for kind in kinds)], tmp_path / "tokenizer.json")
    for kind in kinds:
        require_linear(lambda length, kind=kind: tokenizer.decode(tokenizer.encode(word(kind, length))))


def test_a_long_word_has_the_same_ids_in_both_engines(tokenizer: Tokenizer) -> None:
    for kind in ("base64", "dna", "spaces", "emoji", "marks"):
        text = f"the {word(kind, 20_000)} film"
        assert tokenizer.encode(text) == tokenizer._reference.encode(text, add_special_tokens=False).ids
