"""docs/guides/data-versions.md: its commands run, and its table has every expectation."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.data.contract.base import EXPECTATIONS
from langmill.data.contract.findings import Outcome
from tests.unit.cli.test_diff import AFTER, BEFORE
from tests.unit.data.contract.corpora import evidence, labelled, write_corpus
from tests.unit.data.contract.versions import ROOT, dvc, keep_version, make_workspace

pytestmark = pytest.mark.contract
GUIDES = ROOT / "docs" / "guides"
TEXT = (GUIDES / "data-versions.md").read_text(encoding="utf-8")


def test_the_table_has_every_expectation() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", TEXT, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(EXPECTATIONS.names())


def test_the_commands_do_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What needs training is tried in tests/pipeline; the rest runs here, on a corpus of ten documents."""
    workspace = make_workspace(tmp_path / "workspace")
    shutil.copytree(ROOT / "conf/operation", workspace / "conf/operation")
    monkeypatch.chdir(workspace)
    keep_version(workspace, BEFORE, "v1.0")
    keep_version(workspace, AFTER, "v1.1")
    own = {"reviews": "tiny", "/mnt/shared/langmill": str(tmp_path / "remote")}
    blocks = re.findall(r"^```bash\n(.*?)^```", TEXT.partition("## Experiments")[0], re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    ran = []
    for line in lines:
        words = shlex.split(re.sub("|".join(own), lambda found: own[found[0]], line))
        if words[0] == "langmill":
            assert call(words[1:]) == 0, capsys.readouterr()
            ran.append(words[1])
        elif words[:2] == ["dvc", "push"]:
            assert dvc(workspace, "push") == 0
    assert ran == ["profile", "diff", "diff", "diff", "diff", "remote", "pull", "fsck", "fsck"]


def test_the_expectation_of_the_guide_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (GUIDES / "extending.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "EXPECTATIONS" in block]
    monkeypatch.setattr(EXPECTATIONS, "_classes", dict(EXPECTATIONS._classes))
    names: dict[str, type] = {}
    exec(code, names)
    folder = write_corpus(tmp_path, labelled(10, d3={"text": "LOUD"}, d4={"text": "LOUDER"}))
    rule = names["Shouting"](names["AtMost"](stop=0.1))
    (finding,) = rule.ask(evidence(folder))
    assert finding.outcome is Outcome.breached
    assert [row.id for row in finding.rows] == ["d3", "d4"]
