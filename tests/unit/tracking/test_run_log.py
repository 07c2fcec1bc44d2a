from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from langmill.errors import TrackingError
from langmill.tracking.run_log import RunLog, end_killed_runs, flatten
from tests.unit.tracking.logs import events_of, start

pytestmark = pytest.mark.unit


def test_a_resumed_run_logs_nothing_twice(tmp_path: Path) -> None:
    first = RunLog(tmp_path)
    start(first, seed=1)
    for step in range(5):
        first.metrics({"loss": 5.0 - step, "rate": 0.1}, step)
    first.text("once upon", "samples/4.txt")
    before = (tmp_path / "events.jsonl").read_bytes()

    second = RunLog(tmp_path)
    start(second, seed=1)
    for step in range(3, 5):
        second.metrics({"loss": 5.0 - step, "rate": 0.1}, step)
    second.text("once upon", "samples/4.txt")
    assert (tmp_path / "events.jsonl").read_bytes() == before

    second.metrics({"loss": 0.0, "accuracy": 0.5}, 4)  # loss of step 4 is there, accuracy is not
    assert events_of(tmp_path)[-1]["values"] == {"accuracy": 0.5}


def test_figures_that_are_not_finite_are_kept_as_words(tmp_path: Path) -> None:
    RunLog(tmp_path).metrics({"loss": float("nan"), "norm": float("inf"), "rate": -float("inf")}, 7)
    assert events_of(tmp_path)[0]["values"] == {"loss": "nan", "norm": "inf", "rate": "-inf"}


def test_artifacts_outlive_their_originals(tmp_path: Path) -> None:
    report = tmp_path / "report"
    (report / "plots").mkdir(parents=True)
    (report / "a.md").write_text("A")
    (report / "plots" / "b.csv").write_text("B")
    log = RunLog(tmp_path / "run")
    log.artifact(report, "evaluation")
    log.artifact(report / "a.md", "")
    (report / "a.md").unlink()
    names = [event["name"] for event in events_of(tmp_path / "run")]
    assert names == ["evaluation/a.md", "evaluation/plots/b.csv", "a.md"]
    assert (tmp_path / "run" / "files" / "a.md").read_text() == "A"


def test_an_artifact_is_logged_again_only_when_it_changed(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for text in ("one", "one", "two"):
        log.text(text, "note.txt")
    assert len(events_of(tmp_path)) == 2


def test_a_run_ends_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.fail("the loss is not a number")
    log.finish()
    log.finish()
    RunLog(tmp_path).finish()
    assert [event["status"] for event in events_of(tmp_path)] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (None, "FINISHED", None),
        (TrackingError("A sentence."), "FAILED", "A sentence."),
        (MemoryError("no memory"), "FAILED", "MemoryError: no memory"),
        (KeyError("bug"), "FAILED", "KeyError: 'bug'"),
        (KeyboardInterrupt(), "KILLED", "It was interrupted."),
        (SystemExit(1), "KILLED", "It was interrupted."),
    ],
)
def test_every_end_is_told(tmp_path: Path, raised: BaseException | None, status: str, reason: str | None) -> None:
    log = RunLog(tmp_path)
    with contextlib.suppress(TrackingError, MemoryError, KeyError, KeyboardInterrupt, SystemExit), log.recorded():
        start(log)
        if raised is not None:
            raise raised
    assert log.status == status
    (end,) = [event for event in events_of(tmp_path) if event["kind"] == "finish"]
    assert (end["status"], end.get("reason")) == (status, reason)


def test_a_killed_run_is_ended_by_the_next_start_and_a_living_one_is_not(tmp_path: Path) -> None:
    program = "import os; from pathlib import Path; from langmill.tracking.run_log import RunLog\n"
    program += "log = RunLog(Path('killed')); told = log.recorded(); told.__enter__()\n"
    program += "log.start(experiment='e', name='n', provenance='p', params={}, tags={})\nos._exit(9)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    start(RunLog(tmp_path / "of an evaluation"))
    with (living := RunLog(tmp_path / "living")).recorded():
        start(living)
        assert end_killed_runs(tmp_path) == [tmp_path / "killed"]
        assert end_killed_runs(tmp_path) == []
    assert RunLog(tmp_path / "killed").status == "KILLED"
    assert RunLog(tmp_path / "living").status == "FINISHED"


def test_nested_settings_get_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2], "e": {}}) == {"a.b.c": 1, "d": [1, 2]}
