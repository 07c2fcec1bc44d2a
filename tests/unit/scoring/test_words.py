"""Words in any script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenize import tokenize

from langmill.scoring.words import pieces, unspaced_scripts, words

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't stop: foo_bar, 3.14!", ["don", "t", "stop", "foo", "bar", "3", "14"]),
        ("Größe, Grüße", ["größe", "grüße"]),
        ("cafe\u0301", ["café"]),
        ("Привет, мир!", ["привет", "мир"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("静夜思。", ["静", "夜", "思"]),
        ("iPhoneを買う", ["iphone", "を", "買", "う"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("…%", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_further_characters_may_belong_to_words() -> None:
    assert words("foo_bar-baz", joined="_") == ["foo_bar", "baz"]


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_english_words_are_those_of_rouge(text: str) -> None:
    assert words(text) == tokenize(text, None)
    assert pieces(text) == text.split()


@given(st.text())
def test_words_are_the_same_beside_other_scripts(text: str) -> None:
    """A text without letters of unspaced scripts is read by a simpler pattern."""
    assert words(f"静 {text}", joined="_") == ["静", *words(text, joined="_")]


def test_pieces_stand_as_they_are() -> None:
    assert pieces("Hello, 世界! Größe") == ["Hello,", "世", "界", "!", "Größe"]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["a film"], (False, False)),
        ([], (False, False)),
        (["静夜思"], (True, False)),
        (["静夜思", "ひらがな"], (True, True)),
        (["สวัสดี"], (True, True)),
        (["a film that was called 明"], (False, False)),
        (["한국어", "Привет"], (False, False)),
    ],
)
def test_scripts_without_spaces_are_told(texts: list[str], found: tuple[bool, bool]) -> None:
    assert unspaced_scripts(texts) == found
