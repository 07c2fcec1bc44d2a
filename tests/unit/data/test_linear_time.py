"""Cleaning and reading take time that grows with the text and not with its square, whatever the text is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import pytest

from langmill.data.cleaning.base import CLEANING_STEPS, Draft
from langmill.data.cleaning.characters import clean_characters
from langmill.data.cleaning.markup import strip_markup
from langmill.data.folding import fold, nfc
from langmill.data.formats import gettext, passages, python_functions
from langmill.data.labels import LabelTable
from tests.unit.data.settings import file_format
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit

UNITS = [
    "<!--", "</<script>", "<script>", "</script ", "<style></script>", "<!-- <script>", "<!doctype ", "<", "<a ",
    "<a x=1 ", '<a x="', "<a checked ", "</a \t", "&", "&amp", "&#1", " ", "\n", " \n", "\t\n", "\r", "\xad",
    "\u0301\u0327", "\u0327\u0301\u0345", "\u0f71\u0f72", "e\u0301", "\uac00\u11a8", "İ", "ß ", "a  ",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "work",
    [
        strip_markup,
        lambda text: clean_characters(strip_markup(text)),
        clean_characters,
        lambda text: clean_characters(strip_markup(text), preserve_whitespace=True),
        fold,
        nfc,
    ],
    ids=["markup", "clean", "no markup", "white space", "fold", "nfc"],
)
def test_cleaning_takes_linear_time(work: Callable[[str], str], unit: str) -> None:
    require_linear(work, lambda size: "x" + unit * (size // len(unit)))


STEPS = {name: CLEANING_STEPS.options(name, {}, "") for name in
         ("repair", "boilerplate", "c4", "gopher_repetition", "gopher_quality", "fineweb")}  # fmt: skip
STEPS["parallel"] = CLEANING_STEPS.options("parallel", {"max_length_ratio": None}, "")
STEPS["profanity"] = CLEANING_STEPS.options("profanity", {"words": ["a a b", "\u8bcd"], "max_share": 0.9}, "")


@pytest.mark.parametrize(
    "unit", ["a ", "ab. ", ".", "\n", "Home\n", "{", "%(a", "\xc3", "\xe2\x82\xac", "\x92", "词", "…", "|"]
)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_takes_linear_time(name: str, unit: str) -> None:
    step = CLEANING_STEPS.find(name)(STEPS[name])
    require_linear(lambda text: step.clean(Draft(text, text[::-1])), lambda size: "x" + unit * (size // len(unit)))


def rows_of(name: str, path: str, **options: Any) -> Callable[[str], object]:
    reader = file_format(name, **options)
    return lambda text: list(reader.read(io.BytesIO(text.encode("utf-8", "replace")), PurePosixPath(path)))


def say(text: str) -> str:
    return f'{{"role": "user", "content": "{text}"}}, '


READERS: list[tuple[Callable[[str], object], Callable[[int], str]]] = [
    (rows_of("auto", "a.csv"), lambda size: "a,b\n" + '"x""\n' * (size // 5)),
    (rows_of("auto", "a.csv"), lambda size: "a,b\n" + '"\n' * (size // 2)),
    (rows_of("auto", "a.csv"), lambda size: "a,b,c\n" + 'x,"\n' * (size // 4)),
    (rows_of("auto", "a.jsonl"), lambda size: "[" * size),
    (rows_of("auto", "a.jsonl"), lambda size: "\r" + "x" * 20 * size),
    (rows_of("email", "a.eml"), lambda size: "\n" + "SPAM: -- Start SpamAssassin results\n" * (size // 36)),
    (rows_of("email", "a.eml"), lambda size: "Subject: " + "=?x?q?" * (size // 6) + "\n\nx"),
    (rows_of("email", "a.eml"), lambda size: 'Content-Type: text/plain; a="' + '";a="' * (size // 4) + "\n\nx"),
    (rows_of("passages", "a.txt", max_characters=10**9), lambda size: "x\n" * size),
    (
        rows_of("passages", "a.txt", max_characters=100),
        lambda size: "*** START OF THE PROJECT GUTENBERG EBOOK" + "***" * size,
    ),
    (
        rows_of("messages", "a.jsonl"),
        lambda size: '{"messages": [' + say("x") * (size // 10) + '{"role": "assistant", "content": "y"}]}',
    ),
    (python_functions._summary, lambda size: "e.g. A " * size),
    (gettext._is_page_name, lambda size: "_" * size + " "),
    (gettext._masked, lambda size: "%({<" * (size // 4)),
    (lambda text: list(passages.cut(text, 10)), lambda size: "\n \n" * (size // 3)),
]


@pytest.mark.parametrize(("work", "make"), READERS)
def test_reading_takes_linear_time(work: Callable[[str], object], make: Callable[[int], str]) -> None:
    require_linear(work, make)


def test_a_table_of_labels_takes_linear_time() -> None:
    def work(text: str) -> object:
        table = LabelTable()
        for name in text.split():
            for written in (name, name.upper()):
                table.count(written, written, written)
        return table.as_json()

    require_linear(work, lambda size: " ".join(f"c{number}" for number in range(size // 4)))
