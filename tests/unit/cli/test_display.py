"""What a run says in a pipe."""

import json
import time

import pytest

from langmill.cli import display as display_module
from langmill.cli.display import Display
from langmill.events import Event, StepState
from langmill.workspace import Workspace

pytestmark = pytest.mark.unit


def test_a_pipe_gets_a_line_when_a_step_ends_and_one_for_a_long_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(display_module, "_LINE_SECONDS", 0.0)
    progress = Workspace().progress("train@x")
    progress.parent.mkdir(parents=True)
    state = {"title": "Training x", "done": 210, "total": 500, "unit": "steps", "note": "loss 4.21"}
    progress.write_text(json.dumps({**state, "started": time.time() - 10, "resumed_at": 0}))
    with Display() as display:
        for event in (
            Event("compose", "Resolve", StepState.waiting),
            Event("train@x", "Train x", StepState.waiting),
            Event("evaluate@x", "Judge x", StepState.waiting),
            Event("compose", "Resolve", StepState.running, when=0.0),
            Event("compose", "Resolve", StepState.done, "up to date", when=1.0),
            Event("train@x", "Train x", StepState.running, when=0.0),
        ):
            display.take(event)
        assert display.counts() == "1 of 3 steps done"
        display.refresh()
        display.take(
            Event("train@x", "Train x", StepState.waiting, "train@x: the disk hiccuped. Trying again.", when=50.0)
        )
        display.take(Event("train@x", "Train x", StepState.running, when=52.0))
        display.take(Event("train@x", "Train x", StepState.failed, "train@x: no luck.", when=61.0))
        display.take(Event("evaluate@x", "Judge x", StepState.skipped))
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("  Train x: 42%  210/500 steps  0:1")
    assert out[0].endswith("left  loss 4.21")
    assert out[1:] == ["Train x: train@x: the disk hiccuped. Trying again.", "✗ Train x: failed after 1:01"]
    assert display.failures == ["train@x: no luck."]
    assert (
        display.summary()
        == "1 of 3 steps were up to date; 1 did not run: a step before them failed, or the run was stopped."
    )
