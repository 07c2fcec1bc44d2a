"""Pieces of text while tokens arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.tokenization.text_stream import TextStream

pytestmark = pytest.mark.unit


def decode(ids: list[int]) -> str:
    return bytes(ids).decode(errors="replace")


def pieces(ids: bytes, *stop: str) -> tuple[list[str], bool]:
    stream = TextStream(decode, stop)
    found = []
    for token in ids:
        found.append(stream.push(token))
        if stream.stopped:
            return found, True
    return [*found, stream.finish()], stream.stopped


def test_a_character_is_sent_when_its_last_byte_is_there() -> None:
    assert pieces("aé€😀b".encode())[0] == ["a", "", "é", "", "", "€", "", "", "", "😀", "b", ""]


def test_what_never_becomes_a_character_comes_at_the_end() -> None:
    assert pieces(b"a\xe2\x82")[0] == ["a", "", "", "\ufffd"]


def test_a_broken_character_is_sent_with_what_follows() -> None:
    assert "".join(pieces(b"a\xe2\x82b\xffc")[0]) == "a\ufffdb\ufffdc"


def test_stops_before_a_stop_string_and_holds_its_beginning_back() -> None:
    assert pieces(b"one. END two", "END") == (["o", "n", "e", ".", " ", "", "", ""], True)
    assert "".join(pieces(b"one. EN two", "END")[0]) == "one. EN two"


def test_a_held_beginning_comes_at_the_end() -> None:
    assert pieces(b"one EN", "END") == (["o", "n", "e", " ", "", "", "EN"], False)


def test_the_first_of_several_stop_strings_counts() -> None:
    assert "".join(pieces(b"a, b; c.", ";", ".")[0]) == "a, b"
    assert "".join(pieces(b"aaab", "aab")[0]) == "a"


def test_one_token_may_hold_a_stop_string_in_its_middle() -> None:
    words = ["once", " upon a", " time. The", " end"]
    stream = TextStream(lambda ids: "".join(words[token] for token in ids), ["."])
    assert [stream.push(token) for token in range(3)] == ["once", " upon a", " time"]
    assert stream.stopped
    assert stream.finish() == ""


@given(st.binary(max_size=40))
def test_the_pieces_are_the_whole_text(data: bytes) -> None:
    assert "".join(pieces(data)[0]) == decode(list(data))


@given(st.text("ab. ", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3))
def test_the_pieces_are_the_text_before_the_stop_string_that_is_complete_first(text: str, stops: list[str]) -> None:
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    first = min((end for end, _ in ends), default=None)
    expected = text if first is None else text[: min(start for end, start in ends if end == first)]
    assert "".join(pieces(text.encode(), *stops)[0]) == expected
