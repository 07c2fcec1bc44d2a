"""Cleaning's steps: only what is done is kept of them, and the keys from before there were steps are still read."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from langmill.config.sections import Cleaning
from langmill.config.typed import typed

pytestmark = pytest.mark.unit
OLD = {
    "strip_markup": True, "keep_layout": False, "min_characters": 2, "max_characters": 9, "drop_same": False,
    "drop_duplicates": True, "fold": "text", "near_duplicates": None, "leakage": None, "engine": "processes",
    "workers": 1,
}  # fmt: skip
BASE = {
    "steps": ["markup", "characters", "length", "copies"],
    "options": {
        "markup": None,
        "characters": {"preserve_whitespace": False},
        "length": {"min_characters": 10, "max_characters": 100},
        "copies": None,
    },
    "drop_duplicates": True,
    "fold": "text",
    "near_duplicates": None,
    "leakage": None,
    "engine": "processes",
    "workers": 2,
}


def test_only_what_is_done_is_kept() -> None:
    """A step that some corpora turn on is no change of the others' settings, and so reruns nothing of theirs."""
    cleaning = typed(Cleaning, BASE | {"steps": ["foreign", "length", "markup", "copies", "characters"]}, "x.yaml")
    assert cleaning.steps == ["foreign", "length", "characters"]
    assert cleaning.options == {
        "foreign": {},
        "length": {"min_characters": 10, "max_characters": 100},
        "characters": {"preserve_whitespace": False},
    }


def test_a_file_from_before_there_were_steps_says_all_of_its_cleaning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cleaning = typed(Cleaning, OLD, "x.yaml", "cleaning", {f"cleaning.{key}": (0, "x.yaml") for key in OLD}.get)
    assert cleaning.steps == ["markup", "characters", "length"]
    assert cleaning.options == {
        "markup": {},
        "characters": {"preserve_whitespace": False},
        "length": {"min_characters": 2, "max_characters": 9},
    }
    assert "x.yaml: cleaning.keep_layout is cleaning.options.characters.preserve_whitespace now." in caplog.messages
    assert len(caplog.messages) == 5


@pytest.mark.parametrize(
    ("old", "steps", "options"),
    [
        ({"drop_same": True}, ["characters", "length", "copies"], {"copies": {}}),
        ({"min_characters": 3}, ["characters", "length"], {"length": {"min_characters": 3, "max_characters": 100}}),
        ({"keep_layout": True, "strip_markup": False}, ["characters", "length"],
         {"characters": {"preserve_whitespace": True}}),
    ],
)  # fmt: skip
def test_an_old_key_wins_over_what_is_inherited(old: dict[str, Any], steps: list[str], options: dict[str, Any]) -> None:
    cleaning = typed(Cleaning, BASE | old, "x.yaml")
    assert cleaning.steps == steps
    inherited = {name: given for name, given in BASE["options"].items() if given is not None}  # type: ignore[attr-defined]
    assert cleaning.options == inherited | options
