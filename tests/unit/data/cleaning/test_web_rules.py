# ruff: noqa: RUF001
"""C4's and FineWeb's rules, boilerplate and listed words."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from langmill.data.cleaning.base import LINE_CHARACTERS, Draft, Dropped
from langmill.data.cleaning.boilerplate import Boilerplate, BoilerplateOptions
from langmill.data.cleaning.c4 import C4, C4Options
from langmill.data.cleaning.fineweb import Fineweb, FinewebOptions
from langmill.data.cleaning.profanity import Profanity, ProfanityOptions
from langmill.data.cleaning.words import split_words
from langmill.errors import FieldError
from tests.refused import refused

pytestmark = pytest.mark.unit
SENTENCES = "The first sentence has six words.\nThe second one has them, too!\nIs the third one a question?"
TWICE = "It stands here twice, as it is the template's."


def test_c4_keeps_sentences() -> None:
    page = (
        f"Home\n{SENTENCES}\nThis line just goes on and on\nPlease enable JavaScript to read this page.\n"
        'Too short.\nOur site uses cookies to know who you are.\nHe said: "That is the end of it[1]."\n'
        f"It ends in three dots as teasers do...\n{'x' * 1001} is one word of this line."
    )
    made = C4(C4Options()).clean(Draft(page))
    assert isinstance(made, Draft)
    assert made.text == f'{SENTENCES}\nHe said: "That is the end of it."'
    assert made.changes == (
        "no_end_punctuation", "no_end_punctuation", "javascript", "few_words", "policy", "citation",
        "no_end_punctuation", "long_word",
    )  # fmt: skip
    assert made.removed_lines[:2] == ("Home", "This line just goes on and on")
    assert max(map(len, made.removed_lines)) == LINE_CHARACTERS
    assert C4(C4Options()).clean(Draft(SENTENCES)) == Draft(SENTENCES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{SENTENCES}\nLorem Ipsum dolor sit amet, consectetur adipiscing elit.", "lorem_ipsum"),
        (f"{SENTENCES}\nint main() {{ return 0; }}", "curly_bracket"),
        ("Only one sentence is in here.", "too_few_sentences"),
        ("x", "too_few_sentences"),
        ("a" * 200_000, "too_few_sentences"),
    ],
)
def test_c4_drops_pages(text: str, reason: str) -> None:
    assert C4(C4Options()).clean(Draft(text)) == Dropped(reason)


def test_c4_reads_other_scripts() -> None:
    chinese = "这是第一个很长的句子，里面有很多字。这是第二个很长的句子。\n第三个句子在这里也很长！"
    assert C4(C4Options(language="zh")).clean(Draft(chinese)) == Draft(chinese)


def test_every_rule_of_c4_can_be_off() -> None:
    off = C4Options(
        require_end_punctuation=False, min_words_per_line=0, max_word_length=None, remove_citations=False,
        remove_javascript=False, remove_policies=False, drop_lorem_ipsum=False, drop_curly_brackets=False,
        min_sentences=0,
    )  # fmt: skip
    text = f"lorem ipsum {{ javascript cookie policy [1]\n\n{'x' * 2000}"
    assert C4(off).clean(Draft(text)) == Draft(text)


@pytest.mark.parametrize(
    ("text", "reason", "score"),
    [
        (SENTENCES, None, None),
        ("\n".join(f"A line without any end that is long enough, number {n}" for n in range(9)), "unended_lines", 0),
        ("\n".join(f"Short line {n}." for n in range(9)), "short_lines", 1),
        ("\n".join([TWICE] * 2 + [SENTENCES]), "duplicate_characters", len(TWICE) / len(TWICE * 2 + SENTENCES[2:])),
        ("\n".join(f"{'x' * 40}{n}." for n in range(9)), "list", 8 / 9),
        ("x", "unended_lines", 0),
        ("x.", "short_lines", 1),
        ("a" * 200_000 + ".", None, None),
    ],
)  # fmt: skip
def test_fineweb(text: str, reason: str | None, score: float | None) -> None:
    made = Fineweb(FinewebOptions()).clean(Draft(text))
    assert made == (Draft(text) if reason is None else Dropped(reason, score))


def test_fineweb_judges_as_datatrove_does(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("datatrove.pipeline.filters.fineweb_quality_filter")
    from datatrove.data import Document

    monkeypatch.setattr(module, "split_into_words", lambda text, language: split_words(text))
    theirs = module.FineWebQualityFilter(char_duplicates_ratio=0.1, stop_chars=(".", "!", "?"))
    names = {
        "line_punct_ratio": "unended_lines",
        "short_line_ratio": "short_lines",
        "char_dup_ratio": "duplicate_characters",
    }
    rng, seen = random.Random(3), set()
    for number in range(500):
        lines = [
            " ".join("word" for _ in range(rng.choice((1, 4, 9, 20)))) + rng.choice(("", "", ".", "!"))
            + str(rng.choice(("", rng.randrange(50))))
            for _ in range(rng.randrange(1, 30))
        ]  # fmt: skip
        text = "\n".join(lines)
        verdict = theirs.filter(Document(text=text, id=str(number)))
        expected = None if verdict is True else names.get(verdict[1], "list")
        made = Fineweb(FinewebOptions()).clean(Draft(text))
        assert (made.reason if isinstance(made, Dropped) else None) == expected, text
        seen.add(expected)
    assert len(seen) >= 4


PAGE = """Skip to content
Home | News | Sport | Contact
This site uses cookies to improve your experience.
An article on cookies that people bake, with butter and sugar.
READ MORE »
Advertisement
The end of the article.
Share
Advertisement
© 2024 Example Ltd. All rights reserved."""


def test_boilerplate_goes_line_by_line() -> None:
    made = Boilerplate(BoilerplateOptions()).clean(Draft(PAGE))
    assert made.text == "An article on cookies that people bake, with butter and sugar.\nThe end of the article."
    assert made.changes == ("link", "navigation", "notice", "link", "link", "link", "link", "notice")
    assert made.removed_lines[:2] == ("Skip to content", "Home | News | Sport | Contact")
    assert len(made.removed_lines) == len(made.changes)


def test_boilerplate_of_other_languages_and_in_the_target() -> None:
    made = Boilerplate(BoilerplateOptions()).clean(Draft("Ein Satz.\nWeiterlesen", "Une phrase.\nLire la suite"))
    assert (made.text, made.target, made.changes) == ("Ein Satz.", "Une phrase.", ("link", "link"))
    assert Boilerplate(BoilerplateOptions()).clean(Draft("Привет.\nЧитать далее")).text == "Привет."


def test_repeated_lines_stay_once() -> None:
    step = Boilerplate(BoilerplateOptions())
    verse, chorus = "A line of the verse {}.", "And this is the chorus."
    three = "\n".join(f"{verse.format(n)}\n{chorus}" for n in range(3))
    assert step.clean(Draft(three)) == Draft(three)
    four = "\n".join(f"{verse.format(n)}\n{chorus}" for n in range(4))
    made = step.clean(Draft(four))
    assert made.text.count(chorus) == 1
    assert made.changes == ("repeated",) * 3
    brackets = "\n".join(["}"] * 9)
    assert step.clean(Draft(brackets)) == Draft(brackets)


@pytest.mark.parametrize(
    "text",
    [
        "Read more books, and you will know more.",
        "| a | b | c | d |\n| - | - | - | - |",
        "1 / 2 / 3 / 4 / 5",
        "https://example.org/a/b/c/d/e",
        "x",
        "Our policy on cookies is long. " * 20 + "privacy policy",
        "a" * 200_000,
        "你好",
    ],
)
def test_what_is_no_boilerplate_stays(text: str) -> None:
    document = Draft(text)
    assert Boilerplate(BoilerplateOptions()).clean(document) is document


def test_boilerplate_of_ones_own() -> None:
    step = Boilerplate(
        BoilerplateOptions(
            links=False, notices=False, navigation=False, lines=["Sent from my phone"], phrases=["List-Id"]
        )
    )
    assert step.clean(Draft("Hi.\n-- Sent from my phone --\nX list-id: y\nHome")).text == "Hi.\nHome"
    with refused(FieldError, "impossible", "phrases"):
        BoilerplateOptions(phrases=[" "])


LINES = ["Home", "A | B | C | D", "text here.", "", "again and again", "uses cookies", "}", "Share\t", "  x"]


@settings_of_hypothesis(deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=20).map("\n".join))
def test_boilerplate_is_gone_at_once(text: str) -> None:
    step = Boilerplate(BoilerplateOptions())
    once = step.clean(Draft(text))._replace(changes=(), removed_lines=())
    assert step.clean(once) is once


def test_profanity_is_a_share_of_words() -> None:
    step = Profanity(ProfanityOptions(words=["Darn", "holy cow", "糟糕"], max_share=0.2))
    assert step.share("Darn, it is a holy cow!") == 3 / 6
    assert step.share("darning is fine") == 0
    assert step.share("这很糟糕") == 2 / 4
    assert step.share("") == 0
    assert step.clean(Draft("Darn it all.")) == Dropped("profanity")
    assert step.clean(Draft("All is well here.", "darn")) == Dropped("profanity")
    fine = Draft("Darn it, all is well here, again.")
    assert step.clean(fine) is fine
    assert Profanity(ProfanityOptions(words=["darn"])).clean(fine) == Dropped("profanity")
    with refused(FieldError, "impossible", "words"):
        ProfanityOptions(words=[])
