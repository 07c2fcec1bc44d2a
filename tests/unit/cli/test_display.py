"""What a run says in a pipe, and the events that it is told by."""

import json
import time

import pytest

from langmill.cli import display as display_module
from langmill.cli.display import Display
from langmill.cli.results import COLUMNS, Row, all_settled, read_row, settle, settled, table
from langmill.events import Event, StepState, progress_file
from langmill.files import write_json

pytestmark = pytest.mark.unit


def test_a_pipe_gets_a_line_when_a_step_ends_and_one_for_a_long_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(display_module, "_LINE_SECONDS", 0.0)
    progress = progress_file("train@x")
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
    assert display.summary() == "1 of 3 steps were up to date; 1 did not run because a step before them failed."


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A workspace with the folders of one recipe."""
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "build/models/lm/manifest.json", {"files": {}})
    write_json(tmp_path / "build/evaluation/lm/manifest.json", {"files": {}})
    figures = {"value": 2.25, "low": 2.125, "high": 2.375}
    write_json(
        tmp_path / "build/evaluation/lm/metrics.json",
        {
            "primary": "bits_per_byte",
            "bits_per_byte": figures,
            "baselines": {
                "trigram": {"strength": "serious", "bits_per_byte": {"value": 2.5}},
                "unigram": {"strength": "trivial", "bits_per_byte": {"value": 4.5}},
            },
        },
    )
    return tmp_path


def test_the_table_tells_metric_interval_baseline_verdict_and_version(made):
    settle("lm", 3, 3, "passed", "lm version 3 is the champion now.")
    row = read_row("lm")
    assert row == Row(
        "lm",
        "bits_per_byte",
        2.25,
        2.125,
        2.375,
        "unigram 4.5",
        "trigram 2.5",
        "champion",
        3,
        "lm version 3 is the champion now.",
    )
    head, line = table([row]).splitlines()
    assert head.split() == " ".join(COLUMNS).split()
    assert line.split("  ") == [
        part for part in line.split("  ") if part is not None
    ]  # two spaces between columns, one inside
    assert [cell.strip() for cell in line.split("  ") if cell.strip()] == [
        "lm", "bits_per_byte 2.25", "2.125 to 2.375", "unigram 4.5", "trigram 2.5", "champion", "3",
    ]  # fmt: skip


def test_a_note_holds_only_for_the_files_and_the_champion_it_was_made_for(made):
    uri = f"sqlite:///{made}/.langmill/mlflow.db"
    assert settled("lm") is None
    settle("lm", 3, None, "refused", "Not better.")
    assert settled("lm").outcome == "refused"
    assert all_settled(["lm"], uri)  # no registry: no champion, as noted
    assert not all_settled(["lm", "other"], uri)
    settle("lm", 3, 2, "refused", "Not better.")
    assert not all_settled(["lm"], uri)  # the champion that was noted is gone
    assert read_row("lm").verdict == "refused"
    settle("lm", 3, None, "cannot tell", "The files are damaged.")
    assert not all_settled(["lm"], uri)  # asked again
    assert read_row("lm").verdict == "cannot tell"
    write_json(made / "build/evaluation/lm/manifest.json", {"files": {"new": ""}})
    assert settled("lm") is None
    assert read_row("lm") is None
