"""Every pattern takes time that grows with the text and not with its square, whatever the text is.

Those of all modules of `langmill` are found and tried, so that a new one is too. The texts to be feared are repetitions
of what a pattern begins with, so these are made from the pattern itself.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import langmill
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit
_ALTERNATIVES = 6  # of a pattern that are tried
# Looked through for one that a set of signs holds. Two sets side by side that share one, as flags and digits do the 0,
# are the danger, so there is more than one order.
_SIGNS = [first + " a1_-.\n<&*é句\ud800\xad\u200b\x00\u0301A" for first in ("", "0:")]


def patterns() -> dict[str, re.Pattern[str]]:
    found = {}
    for module in pkgutil.walk_packages(langmill.__path__, "langmill."):
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
    return {_sample(parsed, number, signs)[:32] for number in range(_ALTERNATIVES) for signs in _SIGNS}


def _sample(parsed: Any, alternative: int, signs: str) -> str:
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
                text += _member(argument, signs)
            case _constants.MAX_REPEAT | _constants.MIN_REPEAT | _constants.POSSESSIVE_REPEAT:
                least, most, inner = argument
                text += _sample(inner, alternative, signs) * min(max(least, 2), most)
            case _constants.SUBPATTERN:
                text += _sample(argument[-1], alternative, signs)
            case _constants.ATOMIC_GROUP:
                text += _sample(argument, alternative, signs)
            case _constants.BRANCH:
                text += _sample(argument[1][alternative % len(argument[1])], alternative, signs)
            case _:  # anchors and looks around
                pass
    return text


def _member(members: list[Any], signs: str) -> str:
    allowed = re.compile("[" + "".join(map(_written, members)) + "]")
    kind, value = members[0]
    own = value if kind is _constants.LITERAL else value[0] if kind is _constants.RANGE else 0x4E00
    return next(sign for sign in signs + chr(own) if allowed.fullmatch(sign))


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


def test_the_patterns_are_found() -> None:
    assert len(PATTERNS) > 50
    assert {"langmill.data.cleaning.markup._TAG.0", "langmill.errors._CREDENTIALS.0"} <= set(PATTERNS)
    found = samples(PATTERNS["langmill.data.cleaning.markup._HIDING.0"])
    assert found == {"<!--", *(f"<{tag}{twice}>" for tag in ("!doctype", "script", "style") for twice in ("  ", "00"))}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_linear_time(name: str) -> None:
    try_out(PATTERNS[name])


def try_out(pattern: re.Pattern[str]) -> None:
    for make in feared(pattern):
        for work in (lambda text: pattern.sub("", text), pattern.fullmatch):
            require_linear(work, make)


@pytest.mark.parametrize(
    "pattern",
    [
        r"%[-+#0]*[0-9]*s",
        r"[a-z][a-z0-9+.-]*://[^\s/]*@",
        "<!--.*?-->",
        r"<!doctype\b[^<>]*>|<(script|style)\b[^<>]*>.*?</\1\s*>",
        r"%\([^)]*\)",
        r"\s+$",
    ],
)
def test_the_square_is_noticed(pattern: str) -> None:
    with pytest.raises(AssertionError, match="for a quarter of"):
        try_out(re.compile(pattern, re.DOTALL))
