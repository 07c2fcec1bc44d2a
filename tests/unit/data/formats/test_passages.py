"""Passages join to the whole text again and keep their limit."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.data.formats.passages import cut
from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit


def test_passages_of_a_work() -> None:
    text = "\ufeffTITLE\r\n\r\n\r\nACT I\r\n  \r\nline one\r\nline two\r\n"
    assert good(read("passages", text, "plays/hamlet.txt", max_characters=14)) == [
        (1, {"text": "TITLE\n\nACT I", "work": "hamlet"}),
        (2, {"text": "line one", "work": "hamlet"}),
        (3, {"text": "line two", "work": "hamlet"}),
    ]


def test_gutenbergs_frame_is_taken_off() -> None:
    text = (
        "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nThe text.\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n\nlicence\n"
    )
    assert [row["text"] for _, row in good(read("passages", text, "x.txt", max_characters=99))] == ["The text."]


def test_a_file_that_is_no_text() -> None:
    assert bad(read("passages", b"\xff", "x.txt", max_characters=9)) == [(1, "undecodable")]
    assert read("passages", "\n \n", "x.txt", max_characters=9) == []


@given(st.text(st.sampled_from("ab \n"), max_size=120), st.integers(1, 20))
def test_nothing_is_lost_and_the_limit_is_kept(text: str, limit: int) -> None:
    passages = list(cut(text, limit))
    words = re.findall(r"\S+", text)
    assert re.findall(r"\S+", "\n".join(passages)) == words
    longest = max((len(line) for line in text.split("\n")), default=0)
    assert all(len(passage) <= max(limit, longest) for passage in passages)
    assert all(len(one) + 2 + len(two) > limit for one, two in itertools.pairwise(passages)) or longest > limit
