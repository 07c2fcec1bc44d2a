"""`langmill trial` shows what a server noted, and `langmill serve --retry` asks one to look again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill import cli
from langmill.files import write_json
from langmill.serving.alias_state import RETRY_NAME
from langmill.serving.trial.state import STATE_NAME
from langmill.workspace import Workspace

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
STATE = {
    "candidate": 4, "baseline": 3, "provenance": "p", "promoted": False, "mode": "canary", "share": 0.1,
    "began": "2026-11-26T15:00:00+00:00", "pairs": 40, "next_look": 80, "outcome": "running", "reason": "",
    "measures": [
        {"name": "errors", "candidate": 0.025, "baseline": 0.0, "limit": 0.01, "breached": False,
         "difference": {"value": 0.025, "low": -0.01, "high": 0.1}},
        {"name": "other answers", "candidate": 0.5, "baseline": None, "limit": 1.0, "breached": False,
         "difference": {"value": 0.5, "low": 0.3, "high": 0.7}},
    ],
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    return Workspace()


def test_shows_how_trials_stand(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["trial"]) == 0
    assert "No trial yet; serving.trial.mode is off." in capsys.readouterr().out
    write_json(workspace.serving / "sentiment" / STATE_NAME, STATE)
    assert cli.call(["trial"]) == 0
    shown = capsys.readouterr().out
    assert "sentiment: version 4 beside the champion, 3 (canary, 10% of the requests)" in shown
    assert "40 requests compared; the next look is after 80" in shown
    assert "errors: 0.025 beside 0 of the requests fail; difference 0.025 [-0.01, 0.1], up to 0.01 is allowed" in shown
    assert "other answers: 0.5 of the answers differ" in shown
    ended = {**STATE, "outcome": "breached", "promoted": True, "reason": "It fails."}
    write_json(workspace.serving / "sentiment" / STATE_NAME, ended)
    assert cli.call(["trial", "sentiment", "none"]) == 0
    shown = capsys.readouterr().out
    assert "beside the previous version, 3" in shown
    assert "40 requests compared. It fails." in shown
    assert "none: no trial yet." in shown


def test_asks_a_server_to_try_again(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["serve", "--retry"]) == 0
    assert "looks again" in capsys.readouterr().out
    assert (workspace.serving / RETRY_NAME).exists()


def test_retry_is_for_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.call(["serve", "--retry"]) == 1
    assert list(tmp_path.iterdir()) == []
