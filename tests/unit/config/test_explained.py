"""What `config --explain` prints: each value under its meaning, and in the order in which things are done."""

from __future__ import annotations

from typing import Any

import pytest

from langmill.config.explained import PlugInTable, explained
from langmill.config.typed import settings

pytestmark = pytest.mark.unit


@settings
class Deep:
    """Deep things."""

    depth: int
    """In metres."""


@settings
class Options:
    """What the plug-in types."""

    limit: int
    """In characters."""
    deep: Deep | None = None


@settings
class Section:
    """A section with tables that plug-ins type."""

    options: dict[str, Any]
    """The plug-in's own."""
    rules: dict[str, dict[str, Any] | None]
    anything: dict[str, Any]


def test_tables_of_plug_ins_are_explained_and_stay_in_their_order() -> None:
    rules: dict[str, dict[str, Any] | None] = {"second": {"limit": 2}, "first": {}, "third": None}
    section = Section({"limit": 1}, rules, {"b": 1, "a": [2]})
    tables = {
        "options": PlugInTable("", Options(1, Deep(3))),
        "rules.second": PlugInTable("Asks twice.", Options(2)),
    }
    assert explained(section, tables) == "\n".join(
        [
            "# The plug-in's own.", "options:", "  # In characters.", "  limit: 1", "  # Deep things.", "  deep:",
            "    # In metres.", "    depth: 3", "rules:", "  # Asks twice.", "  second:", "    # In characters.",
            "    limit: 2", "    # Deep things.", "    deep: null", "  first: {}", "  third: null", "anything:",
            "  b: 1", "  a:", "  - 2",
        ]
    )  # fmt: skip


@settings
class More(Options):
    """Options of a plug-in that goes on from another one's."""

    more: int = 0
    """In words."""


def test_what_is_inherited_is_explained_too() -> None:
    assert explained(More(1, more=2), {}).splitlines()[:2] == ["# In characters.", "limit: 1"]
    assert "# In words.\nmore: 2" in explained(More(1, more=2), {})
