"""Every error that is raised on purpose says what kind of fault it tells: its class does, or the one who raises it."""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmill.errors import Code, LangmillError
from langmill.plugins import PlugInError

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]
OTHERS = {"FieldError", "RequestError"}  # the one has a default, the other OpenAI's words


def test_every_error_has_a_code() -> None:
    needing = {kind.__name__ for kind in _classes(LangmillError) if kind.code is None} - OTHERS
    assert {"ConfigError", PlugInError.__name__} <= needing
    without = []
    for path in (path for folder in ("src", "flows") for path in (ROOT / folder).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in needing:
                named = [*call.args[1:], *(keyword for keyword in call.keywords if keyword.arg == "code")]
                if not named:
                    without.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert not without, 'say what kind of fault it is, as in ConfigError(..., code="missing"); errors.py has the words'


def test_a_class_says_a_word_that_is_one() -> None:
    said = {kind.code for kind in _classes(LangmillError)} - {None}
    assert said
    assert said <= set(typing.get_args(Code))


def _classes(kind: type[LangmillError]) -> Iterator[type[LangmillError]]:
    yield kind
    for derived in kind.__subclasses__():
        if derived.__module__.startswith(("langmill.", "flows.")):
            yield from _classes(derived)
