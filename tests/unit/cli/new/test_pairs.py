"""A folder of pairs of files is one corpus of translations."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmill.cli.new.decision import decide
from langmill.cli.new.survey import survey

pytestmark = pytest.mark.unit


def test_pairs_of_files_are_recognised_by_their_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.de").write_text("Guten Morgen, Welt.\nGute Nacht.\n")
        (tmp_path / f"{name}.en").write_text("Good morning, world.\nGood night.\n")
    (tmp_path / "README").write_text("x")
    found = survey(tmp_path)
    decision = decide(found, {})
    assert (decision.format_name, decision.options) == ("moses", {"source": "en", "target": "de"})
    assert {role: decision.roles.fields[role] for role in ("text", "target")} == {"text": "source", "target": "target"}
    assert found.left_out == {"no ending": 1}
