"""Characters and white space are evened out, once and for all."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from langmill.data.cleaning.characters import clean_characters
from langmill.data.cleaning.markup import strip_markup
from langmill.data.folding import nfc

pytestmark = pytest.mark.unit


@settings_of_hypothesis(deadline=None)
@given(
    st.text(st.sampled_from("aeé\u0301\u0327\u0345\u0344\u0f73\u0f71\u1100\u1161\u11a8\u0958"), max_size=30),
    st.integers(1, 40),
)
def test_nfc_is_unicodes(text: str, times: int) -> None:
    assert nfc(text * times) == unicodedata.normalize("NFC", text * times)


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
    assert clean_characters(raw) == clean


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("def f():\r\n\tif x:\r\n\t\treturn  1\r\n", "def f():\n\tif x:\n\t\treturn  1"),
        ("\n \n    return x\n\n\n    # end   \n", "    return x\n\n\n    # end"),
        ("  nul\x00l cafe\u0301\ufeff", "  null café"),
        (" \t\n ", ""),
    ],
)
def test_white_space_can_be_preserved(raw: str, kept: str) -> None:
    assert clean_characters(raw, preserve_whitespace=True) == kept


@given(st.text())
def test_text_with_its_white_space_is_clean_and_stays_so(text: str) -> None:
    clean = clean_characters(text, preserve_whitespace=True)
    assert clean_characters(clean, preserve_whitespace=True) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert {unicodedata.category(c) for c in clean if c not in "\n\t"}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert clean == clean.rstrip()
    assert not clean or clean.split("\n")[0].strip()


@given(st.text(), st.booleans())
def test_clean_text_is_clean_and_stays_so(text: str, markup: bool) -> None:
    clean = clean_characters(strip_markup(text) if markup else text)
    assert clean_characters(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert {unicodedata.category(c) for c in clean.replace("\n", "")}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert not any(bad in clean for bad in ("  ", " \n", "\n ", "\n\n\n"))
    assert clean == clean.strip()
    clean.encode()  # can be written
