"""Cleaning takes time that grows with the text and not with its square, whatever the text is.

Every pattern of `langmill.data` is found and tried, so that a new one is too. The texts to be feared are repetitions of
what a pattern begins with, so these are made from the pattern itself.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import langmill.data
from langmill.data.cleaning import clean_text, strip_markup
from langmill.data.folding import fold, nfc
from langmill.data.formats import gettext, passages, python_functions
from tests.unit.data.settings import file_format

pytestmark = pytest.mark.unit
SMALL, LARGE = 2_000, 8_000
# Of the square the ratio is 16, of what is linear 4; what is over in a few milliseconds is not judged.
RATIO, FLOOR = 8.0, 0.003
_ALTERNATIVES = 6  # of a pattern that are tried


def patterns() -> dict[str, re.Pattern[str]]:
    found = {}
    for module in pkgutil.walk_packages(langmill.data.__path__, "langmill.data."):
        for name, value in vars(importlib.import_module(module.name)).items():
            values = value.values() if isinstance(value, dict) else [value]
            for number, pattern in enumerate(values):
                if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
                    found[f"{module.name}.{name}.{number}"] = pattern
    return found


PATTERNS = patterns()


def samples(pattern: re.Pattern[str]) -> set[str]:
    """Texts that fit a pattern, by its alternatives, with two of whatever can be repeated."""
    parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    return {_sample(parsed, number)[:32] for number in range(_ALTERNATIVES)}


def _sample(parsed: Any, alternative: int) -> str:
    text = ""
    for operation, argument in parsed:
        match operation:
            case _constants.LITERAL:
                text += chr(argument)
            case _constants.NOT_LITERAL:
                text += "a" if argument != ord("a") else "b"
            case _constants.ANY:
                text += "a"
            case _constants.IN:
                text += _member(argument)
            case _constants.MAX_REPEAT | _constants.MIN_REPEAT | _constants.POSSESSIVE_REPEAT:
                least, most, inner = argument
                text += _sample(inner, alternative) * min(max(least, 2), most)
            case _constants.SUBPATTERN:
                text += _sample(argument[-1], alternative)
            case _constants.ATOMIC_GROUP:
                text += _sample(argument, alternative)
            case _constants.BRANCH:
                text += _sample(argument[1][alternative % len(argument[1])], alternative)
            case _:  # anchors and looks around
                pass
    return text


def _member(members: list[Any]) -> str:
    allowed = re.compile("[" + "".join(map(_written, members)) + "]")
    return next(
        sign
        for sign in " a1_-.\n<&*é句\ud800\xad\u200b\x00\u0301"
        + chr(members[0][1] if members[0][0] is _constants.LITERAL else 0x4E00)
        if allowed.fullmatch(sign)
    )


def _written(member: Any) -> str:
    kind, value = member
    if kind is _constants.NEGATE:
        return "^"
    if kind is _constants.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    if kind is _constants.CATEGORY:
        name = str(value).lower().removeprefix("category_")
        letter = {"space": "s", "word": "w", "digit": "d"}[name.removeprefix("not_")]
        return "\\" + (letter.upper() if name.startswith("not_") else letter)
    return re.escape(chr(value))


def feared(pattern: re.Pattern[str]) -> Iterator[Callable[[int], str]]:
    """Texts by their size: a beginning of what the pattern matches again and again, or its last sign drawn out."""
    for whole in sorted(samples(pattern)):
        for start in {whole[:end] for end in range(1, len(whole) + 1)}:
            yield lambda size, start=start: (start * (size // len(start) + 1))[:size]  # type: ignore[misc]
            yield lambda size, start=start: start + start[-1] * size + "\ue000"  # type: ignore[misc]


def seconds(work: Callable[[str], object], text: str, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        work(text)
        taken.append(time.process_time() - started)
    return min(taken)


def require_linear(work: Callable[[str], object], make: Callable[[int], str]) -> None:
    if seconds(work, make(LARGE), 1) > FLOOR:
        large, small = seconds(work, make(LARGE), 3), seconds(work, make(SMALL), 3)
        assert large < RATIO * small + FLOOR, f"{large:.3f} s, {small:.3f} s for a quarter of {make(60)!r}"


def test_the_patterns_are_found() -> None:
    assert len(PATTERNS) > 30
    assert "langmill.data.cleaning._TAG.0" in PATTERNS
    assert samples(PATTERNS["langmill.data.cleaning._HIDING.0"]) == {"<!--", "<!doctype  >", "<script  >", "<style  >"}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_linear_time(name: str) -> None:
    try_out(PATTERNS[name])


def try_out(pattern: re.Pattern[str]) -> None:
    for make in feared(pattern):
        for work in (lambda text: pattern.sub("", text), pattern.fullmatch):
            require_linear(work, make)


@pytest.mark.parametrize(
    "pattern",
    ["<!--.*?-->", r"<!doctype\b[^<>]*>|<(script|style)\b[^<>]*>.*?</\1\s*>", r"%\([^)]*\)", r"\s+$"],
)
def test_the_square_is_noticed(pattern: str) -> None:
    with pytest.raises(AssertionError, match="for a quarter of"):
        try_out(re.compile(pattern, re.DOTALL))


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
        lambda text: clean_text(text, markup=True),
        lambda text: clean_text(text, markup=False),
        lambda text: clean_text(text, markup=True, layout=True),
        fold,
        nfc,
    ],
    ids=["markup", "clean", "no markup", "layout", "fold", "nfc"],
)
def test_cleaning_takes_linear_time(work: Callable[[str], str], unit: str) -> None:
    require_linear(work, lambda size: "x" + unit * (size // len(unit)))


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
