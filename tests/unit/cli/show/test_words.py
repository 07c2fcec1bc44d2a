"""Differences of texts, and texts that a terminal can show."""

from __future__ import annotations

import sys

import pytest

from langmill.cli.show.words import Part, compared, excerpt, printable, visible
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit


def test_words_are_compared_and_what_is_the_same_is_shortened() -> None:
    words = " ".join(f"w{number}" for number in range(60))
    parts = compared(f"{words} old {words}", f"{words} new {words}")
    assert [kind for kind, _ in parts] == ["skipped", "same", "removed", "added", "same", "skipped"]
    assert [text for kind, text in parts if kind in {"removed", "added"}] == ["old", "new"]


@pytest.mark.parametrize(
    ("before", "after"), [("a b c", "a x c"), ("", "new"), ("old", ""), ("a\n\nb", "a b"), ("a a", "a")]
)
def test_both_texts_can_be_read_from_a_comparison(before: str, after: str) -> None:
    parts = compared(before, after)
    assert "".join(text for kind, text in parts if kind != "added") == before
    assert "".join(text for kind, text in parts if kind != "removed") == after


def test_equal_texts_have_no_difference() -> None:
    assert compared("a b", "a b") == [Part("same", "a b")]


def test_a_terminal_is_told_nothing_by_a_text() -> None:
    assert printable("a\x1b[31m\u202eb\n\u0301") == "a\\x1b[31m\\u202eb\n\u0301"
    assert visible("\n\t ") == "⏎⇥·"
    assert excerpt("word " * 9, 10) == "word word […35 more characters]"


def test_long_texts_are_compared_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package has a command of the same name. The square of the shipped limit takes seconds.
    monkeypatch.setattr(sys.modules[compared.__module__], "_MOST_TOKENS", 300)
    require_linear(lambda text: compared("a" + text, text + "b"), lambda size: "x " * size)
