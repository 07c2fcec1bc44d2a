"""HTML is taken out, and what only looks like it stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmill.data.cleaning.characters import clean_characters
from langmill.data.cleaning.markup import strip_markup, without_hidden

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Good.<br /><br />Bad.", "Good.\n\nBad."),
        ("one<BR>two<br/>three", "one\ntwo\nthree"),
        ("<p>First</p><p class='x' id=\"y\">Second</p>", "First\n\nSecond"),
        ("an <i>excellent</i> <a href='http://x/?a=1&b=2' target=_blank>film</a>", "an excellent film"),
        ("<tr><td>a</td><td nowrap>b</td></tr>", "a b"),
        ("a<!-- <b>not</b> shown -->b<script type='x'>var a = '<p>';</script>c<STYLE>p {}</STYLE>d", "abcd"),
        ("Tom &amp; Jerry &lt;3 &#233;&#x65; &quot;hi&quot;", 'Tom & Jerry <3 ée "hi"'),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&lt;b&gt;bold&lt;/b&gt;", "<b>bold</b>"),
    ],
)
def test_markup_is_taken_out(raw: str, clean: str) -> None:
    assert clean_characters(strip_markup(raw)) == clean


HIDDEN = re.compile(r"<!--.*?-->|<!doctype\b[^<>]*>|<(script|style)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
PIECES = [
    "<!--",
    "-->",
    "<!-->",
    "<!doctype x>",
    "<script>",
    "</script >",
    "<STYLE>",
    "</style>",
    "a",
    "<",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_what_is_hidden_is_found_as_by_one_pattern(text: str) -> None:
    assert without_hidden(text) == HIDDEN.sub("", text)


@pytest.mark.parametrize(
    "text",
    [
        "i <3 u",
        "a < b and c > d",
        "a<b",
        "x <y and y> z",
        "<sarcasm>great</sarcasm>",
        "if x <a and b> y",
        "www.films.com/?a=1&region=2&copy=3",
        "AT&T; &nosuchentity;",
        "Dungeons & Dragons",
        ">:-< and <>",
        "1 <! 2",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert strip_markup(text) == text
