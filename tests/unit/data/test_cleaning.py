"""Clean text: what goes, what stays, and that workers make no difference."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from langmill.data.cleaning import DropReason, _without_hidden, clean_one, clean_rows, clean_text
from langmill.data.folding import nfc
from tests.unit.data.settings import settings

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
    assert clean_text(raw, markup=True) == clean


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
    assert _without_hidden(text) == HIDDEN.sub("", text)


@settings_of_hypothesis(deadline=None)
@given(
    st.text(st.sampled_from("aeé\u0301\u0327\u0345\u0344\u0f73\u0f71\u1100\u1161\u11a8\u0958"), max_size=30),
    st.integers(1, 40),
)
def test_nfc_is_unicodes(text: str, times: int) -> None:
    assert nfc(text * times) == unicodedata.normalize("NFC", text * times)


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
    assert clean_text(text, markup=True) == text


def test_markup_stays_when_it_is_wanted() -> None:
    assert clean_text("a<br />b &amp; c", markup=False) == "a<br />b &amp; c"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafe\u0301", "café"),
        ("a\tb  c\u00a0\u3000d", "a b c d"),
        ("  a \n  b\t\n\n\n\n c  \n", "a\nb\n\nc"),
        ("a\r\nb\rc\u2028d\x0be\x0cf\x85g", "a\nb\nc\nd\ne\nf\ng"),
        ("nu\x00ll be\x07ll esc\x1b[0m del\x7f c1\x9f", "null bell esc[0m del c1"),
        ("\ufeffbom zero\u200bwidth so\u00adft", "bom zerowidth soft"),
        ("half \ud83d a pair", "half a pair"),
        ("क्\u200dष 👨\u200d👩\u200d👧", "क्\u200dष 👨\u200d👩\u200d👧"),
        ("\n \t \n", ""),
    ],
)
def test_characters_are_evened_out(raw: str, clean: str) -> None:
    assert clean_text(raw, markup=False) == clean


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("def f():\r\n\tif x:\r\n\t\treturn  1\r\n", "def f():\n\tif x:\n\t\treturn  1"),
        ("\n \n    return x\n\n\n    # end   \n", "    return x\n\n\n    # end"),
        ("  nul\x00l cafe\u0301\ufeff", "  null café"),
        (" \t\n ", ""),
    ],
)
def test_layout_can_be_kept(raw: str, kept: str) -> None:
    assert clean_text(raw, markup=False, layout=True) == kept


@given(st.text())
def test_text_with_its_layout_is_clean_and_stays_so(text: str) -> None:
    clean = clean_text(text, markup=False, layout=True)
    assert clean_text(clean, markup=False, layout=True) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert {unicodedata.category(c) for c in clean if c not in "\n\t"}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert clean == clean.rstrip()
    assert not clean or clean.split("\n")[0].strip()


@given(st.text(), st.booleans())
def test_clean_text_is_clean_and_stays_so(text: str, markup: bool) -> None:
    clean = clean_text(text, markup=markup)
    assert clean_text(clean, markup=False) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert {unicodedata.category(c) for c in clean.replace("\n", "")}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert not any(bad in clean for bad in ("  ", " \n", "\n ", "\n\n\n"))
    assert clean == clean.strip()
    clean.encode()  # can be written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<br />", DropReason.empty),
        ("four", DropReason.too_short),
        ("fiver", None),
        ("ten chars!", None),
        ("eleven char", DropReason.too_long),
        ("<p>ten chars!</p>", None),
    ],
)
def test_length_is_judged_after_cleaning(text: str, reason: DropReason | None) -> None:
    assert clean_one(text, None, settings(min_characters=5, max_characters=10).cleaning).dropped is reason


def test_targets_are_cleaned_and_never_decide() -> None:
    cleaning = settings(min_characters=3).cleaning
    assert clean_one("text", "<b>T\u0301</b>", cleaning).target == "T\u0301"
    assert clean_one("text", "<br>", cleaning).target is None
    assert clean_one("text", "<br>", cleaning).dropped is None


def test_a_target_that_says_the_same_is_told() -> None:
    cleaning = settings(drop_same=True).cleaning
    assert clean_one("Click  here", "click here", cleaning).dropped is DropReason.same
    assert clean_one("Click here", "Hier klicken", cleaning).dropped is None
    assert clean_one("Click here", None, cleaning).dropped is None


def test_keys_tell_pairs_apart() -> None:
    cleaning = settings().cleaning
    pairs = [("a", None), ("a", "b"), ("a", "B "), ("a", "c"), ("ab", "c"), ("a", "bc")]
    cleaned = [clean_one(text, target, cleaning) for text, target in pairs]
    assert cleaned[0].pair_key == cleaned[0].key
    assert cleaned[1].pair_key == cleaned[2].pair_key
    assert len({one.pair_key for one in cleaned}) == 5
    assert len({one.key for one in cleaned}) == 2


def test_rows_come_in_order_and_alike_for_any_number_of_workers() -> None:
    rows = [f"<b>Row</b> {number} " + "x  y" * (number % 7) for number in range(4500)]

    def run(workers: int) -> list[tuple[str, object]]:
        return list(clean_rows(rows, lambda row: (row, None), settings(workers=workers).cleaning))

    alone = run(1)
    assert [row for row, _ in alone] == rows
    assert alone[2][1].text == "Row 2 x yx y"  # type: ignore[attr-defined]
    assert run(2) == alone


def test_reading_stays_only_a_few_batches_ahead() -> None:
    taken = 0

    def rows():  # type: ignore[no-untyped-def]
        nonlocal taken
        for number in range(50_000):
            taken += 1
            yield str(number)

    cleaned = clean_rows(rows(), lambda row: (row, None), settings(workers=1).cleaning)
    next(cleaned)
    assert taken <= 4000
