"""The guide for one's own text: what its commands make, in the workspace that is made by them, smaller."""

from __future__ import annotations

import re

import pytest

from langmill.cli import call
from langmill.files import read_manifest
from tests.pipeline.workspace import CLASSIFIER, LM, guide_commands

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_the_guides_commands_make_models_of_ones_own_text(made_workspace, first_run, monkeypatch):
    commands = guide_commands()
    assert commands[:5] == [
        ["new", "corpus", "tiny", "--from", "data/tiny.csv"],
        ["new", "recipe", LM, "--corpus", "tiny"],
        ["run", LM],
        ["new", "recipe", CLASSIFIER, "--corpus", "tiny", "--task", "classification", "--base", LM],
        ["run", CLASSIFIER],
    ]
    monkeypatch.chdir(made_workspace)
    for command in commands[5:]:  # those that only look
        assert command[0] == "show"
        assert call(command) == (1 if "--dropped" in command else 0), command  # nothing was dropped of it
    for name in (LM, CLASSIFIER):  # one run made both
        assert re.search(rf"^{name} .* champion +1$", first_run, re.MULTILINE), first_run
        assert read_manifest(made_workspace / "build" / "models" / name, verify=True)
    report = (made_workspace / "build" / "documents" / "tiny" / "report.md").read_text(encoding="utf-8")
    assert "1,200" in report
