# ruff: noqa: RUF001
"""Gopher's rules by hand on small texts, and by datatrove's own code on random ones."""

from __future__ import annotations

import random
from typing import Any

import pytest

from langmill.data.cleaning.base import Draft, Dropped
from langmill.data.cleaning.c4 import C4Options
from langmill.data.cleaning.fineweb import Fineweb, FinewebOptions
from langmill.data.cleaning.gopher_quality import GopherQuality, GopherQualityOptions
from langmill.data.cleaning.gopher_repetition import (
    GopherRepetition,
    GopherRepetitionOptions,
    duplicate_characters,
    duplicates,
    top_characters,
)
from langmill.data.cleaning.identification import KNOWN
from langmill.data.cleaning.language_thresholds import LOOSEST, THRESHOLDS
from langmill.data.cleaning.languages import STOP_WORDS, for_language
from langmill.errors import FieldError
from tests.refused import refused

pytestmark = pytest.mark.unit
PROSE = "The cat that lives with us is old and it sleeps on the chair next to a window of the house all day. " * 3
HURTING = ["x", "...", "#", "a" * 200_000, "a " * 50_000, "词" * 50_000, "\n" * 99 + "x", "นี่คือ" * 9, "🙂 " * 200]


def reason(step: Any, text: str, **metadata: str) -> str | None:
    made = step.clean(Draft(text, None, metadata))
    return made.reason if isinstance(made, Dropped) else None


def test_measures_of_repetition() -> None:
    assert duplicates(["a", "bb", "bb", "c", "bb"]) == (2, 4)
    assert top_characters(list("abcabd"), 2) == (2 * len("a b"), True)
    assert top_characters(list("abc"), 2) == (len("a b"), False)
    assert top_characters(list("abc"), 4) == (0, False)
    # The second `a b c d e` counts with its five letters; the n-grams that overlap it do not count again.
    assert duplicate_characters(list("abcde" * 2), 5) == 5
    assert duplicate_characters(list("abcdef" * 3), 5) == 10
    assert duplicate_characters(list("abcdefg"), 5) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one line\ntwo line\nthree line", None),
        ("same same\nsame same\nother thing here", "duplicate_lines"),  # 1 of 3 lines
        ("a b\n\nc d\n\na b\n\nc d", "duplicate_paragraphs"),
        ("x\ny\nz\nw\n" + "a long line with many words in it\n" * 2 + "v", "duplicate_line_characters"),
        ("buy now buy now buy now and so on for ever", "top_2_gram"),
        (" ".join(f"w{n}" for n in range(60)), None),
        ("one two three four five " * 2 + " ".join(f"word{n}" for n in range(8)), "duplicate_5_grams"),
    ],
)
def test_repetition(text: str, expected: str | None) -> None:
    only = {name: None for name in vars(GopherRepetitionOptions()) if name.startswith("max_top")}
    told = {} if expected == "top_2_gram" else only
    assert reason(GopherRepetition(GopherRepetitionOptions(**told)), text) == expected


def test_what_was_measured_is_kept() -> None:
    quality, repetition = GopherQuality(GopherQualityOptions()), GopherRepetition(GopherRepetitionOptions())
    for step, text, expected in (
        (quality, "Only four words here", Dropped("too_few_words", 4)),
        (quality, "a b c d " * 20, Dropped("short_words", 1)),
        (repetition, "same same\nsame same\nother thing here", Dropped("duplicate_lines", 1 / 3)),
    ):
        assert step.clean(Draft(text)) == expected


OURS = {
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_characters",
    "dup_line_frac": "duplicate_lines",
    "dup_line_char_frac": "duplicate_line_characters",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"duplicate_{n}_grams" for n in range(5, 11)},
}


def test_repetition_is_judged_as_by_datatrove(monkeypatch: pytest.MonkeyPatch) -> None:
    """On words of one length, so that n-grams that it joins without a space can't be taken for others."""
    module = pytest.importorskip("datatrove.pipeline.filters.gopher_repetition_filter")
    from datatrove.data import Document

    monkeypatch.setattr(module, "split_into_words", lambda text, language: text.split())
    theirs, ours = module.GopherRepetitionFilter(), GopherRepetition(GopherRepetitionOptions())
    rng, seen = random.Random(12), set()
    for number in range(700):
        words = [f"{rng.randrange(rng.choice((3, 9, 40, 400))):04}" for _ in range(rng.choice((1, 8, 40, 150, 400)))]
        if rng.random() < 0.5:  # a passage that comes again
            start, length = rng.randrange(len(words)), rng.randrange(1, 20)
            words[rng.randrange(len(words)) : 0] = words[start : start + length]
        text = "".join(word + rng.choice([" "] * rng.choice((3, 30, 300)) + ["\n", "\n\n"]) for word in words).strip()
        verdict = theirs.filter(Document(text=text, id=str(number)))
        expected = None if verdict is True else OURS[verdict[1]]
        assert reason(ours, text) == expected, text
        seen.add(expected)
    assert len(seen) >= 8  # most rules were tried


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, None),
        ("The cat is old.", "too_few_words"),
        ("- - - " * 60, "too_few_words"),  # punctuation is no word
        ("a b to of it " * 30, "short_words"),
        ("internationalisation and of the antidisestablishmentarianism the incomprehensibilities " * 12, "long_words"),
        (PROSE + "# " * 20, "hashes"),
        (PROSE + "... " * 12, "ellipses"),
        ("\n".join(f"• {line}" for line in PROSE.split(". ")), "bullet_lines"),
        ("\n".join(f"{PROSE[:90]} and more…" for _ in range(4)), "ellipsis_lines"),
        (PROSE + "1234 4567 " * 30, "symbols"),
        ("cat dog bird fish horse mouse snake tiger zebra whale " * 6, "stop_words"),
    ],
)
def test_quality(text: str, expected: str | None) -> None:
    assert reason(GopherQuality(GopherQualityOptions()), text) == expected


def test_rules_go_by_the_language() -> None:
    step = GopherQuality(GopherQualityOptions())
    german = (
        "Die Lebensversicherungsgesellschaft und das Bundesverfassungsgericht entscheiden nicht in Rechtsfragen. " * 6
    )
    assert reason(step, german) == "long_words"
    assert reason(step, german, language="de") is None
    assert reason(GopherQuality(GopherQualityOptions(per_language=False)), german, language="de") == "long_words"
    own = GopherQuality(GopherQualityOptions(languages={"de": {"max_mean_word_length": 5}}))
    assert reason(own, german, language="de") == "long_words"
    assert reason(GopherQuality(GopherQualityOptions(language="de")), german, language="en") is None
    chinese = "这是一个关于北京的故事，里面有很多人和他们的生活。" * 6
    assert reason(step, chinese, language="zh") is None
    assert reason(step, "鱼鸟马牛羊" * 40, language="zh") == "stop_words"
    assert reason(step, "นี่คือเรื่องของคนที่อยู่ในเมืองและเป็นครู" * 9, language="th") is None
    unknown = PROSE.replace("the", "xhe").replace("and", "xnd").replace("to", "xo").replace("of", "xf").lower()
    assert reason(step, unknown.replace("that", "xhat").replace("with", "xith"), language="eo") is None  # none known


def test_thresholds_of_a_language_are_those_of_fineweb_2() -> None:
    assert THRESHOLDS["de"]["max_duplicate_lines"] == 0.263
    assert THRESHOLDS["zh"]["max_top_2_gram"] == 0.256
    assert THRESHOLDS["sw"]["max_mean_word_length"] == 9
    assert THRESHOLDS["ha"]["max_top_2_gram"] is None  # 2.82 there, which no share reaches
    assert set(THRESHOLDS) == KNOWN - {"en"}
    assert set(STOP_WORDS) <= KNOWN
    for told in (GopherRepetitionOptions(), GopherQualityOptions(), FinewebOptions()):
        for language in (*THRESHOLDS, "en", "und"):
            for_language(told, language)  # refuses what is no threshold


def test_what_nobody_knows_the_language_of_is_judged_by_the_loosest_thresholds() -> None:
    quality, repetition = GopherQuality(GopherQualityOptions()), GopherRepetition(GopherRepetitionOptions())
    long_words = "internationalisation and of the antidisestablishmentarianism the incomprehensibilities " * 12
    assert [reason(quality, long_words, language=one) for one in ("en", "fr", "und", "ceb")] == [
        "long_words", "long_words", None, None,
    ]  # fmt: skip
    assert reason(GopherQuality(GopherQualityOptions(per_language=False)), long_words, language="und") == "long_words"
    own = GopherQualityOptions(language="ceb", languages={"ceb": {"max_mean_word_length": 5}})
    assert reason(GopherQuality(own), long_words) == "long_words"
    assert reason(repetition, "klm opq rst uvw xyz " * 30, language="und") == "duplicate_5_grams"
    assert reason(Fineweb(FinewebOptions()), "no end\nnone here\n" * 3, language="und") == "duplicate_characters"
    assert LOOSEST["min_alphabetic_words"] == 0.62
    assert LOOSEST["max_short_lines"] is None
    assert [quality.takes_loosest(one) for one in ("en", "de", "und", "ceb")] == [False, False, True, True]
    assert not GopherQuality(GopherQualityOptions(language="de")).takes_loosest("und")


def test_syllables_are_the_words_of_tibetan() -> None:
    assert reason(GopherQuality(GopherQualityOptions()), "བོད་ཀྱི་སྐད་ཡིག་ནི་རྒྱ་གར་ " * 12, language="dz") is None


@pytest.mark.parametrize("options", [C4Options, FinewebOptions, GopherQualityOptions, GopherRepetitionOptions])
def test_a_language_that_is_no_code_is_refused(options: Any) -> None:
    with refused(FieldError, "impossible", "german", "de", "und"):
        options(language="german")


def test_stop_words_are_case_folded() -> None:
    assert all(word == word.casefold() for words in STOP_WORDS.values() for word in words)


@pytest.mark.parametrize(
    ("values", "told"), [({"max_words": 3.0, "nonsense": 1}, "nonsense"), ({"max_hashes_per_word": 2.0}, "1")]
)
def test_thresholds_that_do_not_exist_are_refused(values: dict[str, float], told: str) -> None:
    with pytest.raises(FieldError, match=told):
        GopherQualityOptions(languages={"de": values})


@pytest.mark.parametrize("text", HURTING)
@pytest.mark.parametrize("step", [GopherQuality(GopherQualityOptions()), GopherRepetition(GopherRepetitionOptions())])
@pytest.mark.parametrize("language", ["en", "zh", "th", "und"])
def test_nothing_breaks_them(step: Any, text: str, language: str) -> None:
    assert reason(step, text, language=language) is None or isinstance(reason(step, text, language=language), str)


def test_bounds_are_refused_with_their_names() -> None:
    with refused(FieldError, "impossible", "max_top_2_gram"):
        GopherRepetitionOptions(max_top_2_gram=1.5)
