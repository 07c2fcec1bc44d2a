"""The splits are disjoint after folding, keep their shares, and never change with the data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.config.sections import Split as Settings
from langmill.data.cleaning.characters import clean_characters
from langmill.data.document import Split
from langmill.data.folding import fold, key_of
from langmill.data.splits import split_of_key
from tests.unit.data.settings import settings

pytestmark = pytest.mark.unit
SPLIT = settings(split={"validation": 0.2, "test": 0.1}).split

GOLDEN = ["train", "validation", "train", "train", "train", "validation", "train", "train", "train"]


def split_of(text: str, split: Settings) -> Split:
    return split_of_key(key_of(text), split)


def test_shares_are_kept() -> None:
    splits = [split_of(f"document {number}", SPLIT) for number in range(20_000)]
    # Four standard deviations of a binomial with 20,000 draws are below 0.0115.
    assert splits.count(Split.test) / 20_000 == pytest.approx(0.1, abs=0.0115)
    assert splits.count(Split.validation) / 20_000 == pytest.approx(0.2, abs=0.0115)


def test_splits_are_part_of_the_contract() -> None:
    """Were these to change, every corpus would be split anew, and old test sets would leak into training."""
    splits = [
        split_of(text, SPLIT).value for text in ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog")
    ]
    assert splits == GOLDEN


def test_another_salt_gives_another_split() -> None:
    salted = settings(split={"validation": 0.2, "test": 0.1, "salt": "2"}).split
    texts = [f"document {number}" for number in range(200)]
    assert [split_of(text, SPLIT) for text in texts] != [split_of(text, salted) for text in texts]


@given(st.text(min_size=1))
def test_texts_that_read_alike_are_in_one_split(text: str) -> None:
    clean = clean_characters(text)
    for variant in (clean.upper().lower(), clean.replace(" ", "\n"), f"{clean} ", clean.replace("\n", "  ")):
        if fold(variant) == fold(clean):  # upper() of some letters is not reversible
            assert split_of(variant, SPLIT) is split_of(clean, SPLIT)
    assert split_of(clean.casefold(), SPLIT) is split_of(clean, SPLIT)
    assert split_of(clean.replace("\n", " "), SPLIT) is split_of(clean, SPLIT)


@given(st.text())
def test_folding_is_what_it_says(text: str) -> None:
    import unicodedata

    assert fold(text) == unicodedata.normalize("NFC", " ".join(text.casefold().split()))


@given(st.lists(st.sampled_from(["A b", "a  B", "a b!", "É", "e\u0301", "é ", "straße", "STRASSE", "x"]), max_size=9))
def test_splits_are_disjoint_after_folding(texts: list[str]) -> None:
    splits: dict[Split, set[str]] = {split: set() for split in Split}
    for text in texts:
        splits[split_of(text, SPLIT)].add(fold(text))
    assert sum(map(len, splits.values())) == len(set.union(*splits.values()))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("A  b", "a\nB", True), ("É", "e\u0301", True), ("straße", "STRASSE", True), ("a b", "ab", False)],
)
def test_keys(one: str, other: str, same: bool) -> None:
    assert (key_of(one) == key_of(other)) is same
