# ruff: noqa: RUF001
"""Wrongly decoded text is put right as ftfy does it, and sound text is never touched."""

from __future__ import annotations

import ftfy
import pytest
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from langmill.data.cleaning import repair
from langmill.data.cleaning.base import Draft
from langmill.data.cleaning.characters import clean_characters
from langmill.data.cleaning.repair import Repair, RepairOptions

pytestmark = pytest.mark.unit
STEP = Repair(RepairOptions())
PIECES = [
    "schÃ¶n", "caf\x92s", "â€™", "naïve", "Größe", "Привет", "Р“Р", "“ja”", "½", "£5", "日本", "—", "œuvre", "Œ ", "Ã ",
    "a Â b", "à²", "\xa0", "ÃÂ¢", "вЂ", "Ð¿Ñ€", "√±", "ØÙ", "β€™", "ā€", "°", "x", " ", "\n", "\x1b[1m", "\ufffd", "é",
    "s quela is a run of ASCII that is longer than what ftfy is shown",
    "s quela e'te' ?quilo \x01 of a run that goes on and on",
]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "repaired"),
    [
        ("caf\x92s", "caf’s"),
        ("\x93Yes\x94 \x96 he said\x85", "“Yes” – he said…"),
        ("schÃ¶n und grÃ¶ÃŸer", "schön und größer"),
        ("l\u2019Ã©tÃ©", "l’été"),
        ("\ud83d\ude00 and \ud83d", "😀 and \ud83d"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("Ä Ö Ü ß é à ñ ç “ ” ‘ ’ … – — € £ ½ ° © ®", "Ä Ö Ü ß é à ñ ç “ ” ‘ ’ … – — € £ ½ ° © ®"),
        ("Привет, мир! 你好，世界。 สวัสดี नमस्ते שלום", "Привет, мир! 你好，世界。 สวัสดี नमस्ते שלום"),
        ("Ｆｕｌｌ ﬁnance &amp; <b>", "Ｆｕｌｌ ﬁnance &amp; <b>"),
        ("", ""),
    ],
)
def test_text_is_repaired(raw: str, repaired: str) -> None:
    assert STEP.repaired(raw) == repaired


def test_it_must_come_before_control_characters_go() -> None:
    raw = "caf\x92s"
    assert clean_characters(STEP.repaired(raw)) == "caf’s"
    assert STEP.repaired(clean_characters(raw)) == "cafs"


def test_options_repair_more() -> None:
    step = Repair(RepairOptions(straight_quotes=True, latin_ligatures=True, character_width=True))
    assert step.repaired("Ｆｕｌｌ “ﬁnance”") == 'Full "finance"'


def test_target_is_repaired_too() -> None:
    assert STEP.clean(Draft("a", "schÃ¶n")) == Draft("a", "schön")
    sound = Draft("schön")
    assert STEP.clean(sound) is sound


@settings_of_hypothesis(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_the_fast_path_changes_no_result(text: str) -> None:
    joined = repair._PAIR.sub(repair._joined, text)
    assert STEP.repaired(text) == ftfy.fix_text(joined, STEP._config)


def _mojibake_characters() -> list[str]:
    """Every character that ftfy's pattern names."""
    import re

    category = re.compile(f"[{''.join(MOJIBAKE_CATEGORIES.values())}]")
    every = map(chr, [*range(0x80, 0xD800), *range(0xE000, 0x10000)])
    return [sign for sign in every if category.match(sign) or sign in BADNESS_RE.pattern]


@settings_of_hypothesis(max_examples=1000, deadline=None)
@given(st.text(st.sampled_from([*_mojibake_characters(), *"aZ .,x1日"]), min_size=2, max_size=8))
def test_what_is_not_suspicious_is_not_bad_to_ftfy(text: str) -> None:
    assert STEP.suspicious(text) == bool(BADNESS_RE.search(text)) or repair._QUOTED.search(text)


def test_ftfys_own_defaults_play_no_part() -> None:
    assert set(STEP._config._fields) == {
        "unescape_html", "remove_terminal_escapes", "fix_encoding", "restore_byte_a0", "replace_lossy_sequences",
        "decode_inconsistent_utf8", "fix_c1_controls", "fix_latin_ligatures", "fix_character_width", "uncurl_quotes",
        "fix_line_breaks", "fix_surrogates", "remove_control_chars", "normalization", "max_decode_length", "explain",
    }  # fmt: skip
