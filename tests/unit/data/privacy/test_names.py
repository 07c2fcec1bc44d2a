"""Names by Presidio: a list of names without a model, and what is said where a model or the extra is missing."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from langmill.data.cleaning.detectors import names
from langmill.data.cleaning.detectors.base import build_finder, default_kinds
from langmill.errors import ConfigError
from tests.refused import refused

pytestmark = pytest.mark.unit
needs_presidio = pytest.mark.skipif(
    importlib.util.find_spec("presidio_analyzer") is None, reason="no presidio_analyzer"
)


def test_names_are_looked_for_only_where_they_are_named() -> None:
    assert "names" not in default_kinds()


@needs_presidio
@pytest.mark.slow  # spaCy takes ten seconds to import
def test_names_of_a_list_are_found_without_a_model() -> None:
    finder = build_finder(["names", "email"], {"names": {"model": None, "deny_list": ["Ada Lovelace", "Grace Hopper"]}})
    text = "Ada Lovelace wrote to grace.hopper@example.org, and Grace Hopper answered; Adam did not."
    found = [(one.kind, text[one.start : one.end]) for one in finder.find(text)]
    assert found == [("names", "Ada Lovelace"), ("email", "grace.hopper@example.org"), ("names", "Grace Hopper")]


@needs_presidio
@pytest.mark.slow  # spaCy takes ten seconds to import
def test_a_long_text_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_CHARACTERS", 50)
    finder = build_finder(["names"], {"names": {"model": None, "deny_list": ["Ada"]}})
    text = "x " * 20 + "Ada and Ada\n" + "y" * 70 + " Ada"
    assert [text[one.start : one.end] for one in finder.find(text)] == ["Ada"] * 3


@needs_presidio
@pytest.mark.slow  # spaCy takes ten seconds to import
def test_a_missing_model_is_one_sentence_and_nothing_is_fetched() -> None:
    with refused(ConfigError, "missing", "en_core_web_none", "spacy download", "names.model"):
        build_finder(["names"], {"names": {"model": "en_core_web_none"}})


def test_a_missing_extra_is_one_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> Any:
        del name

    monkeypatch.setattr(names, "find_spec", find_nothing)
    with refused(ConfigError, "missing", 'pip install "langmill[names]"', "privacy.kinds"):
        build_finder(["names"])
