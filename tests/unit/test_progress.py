"""What is said of how far a piece of work is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from langmill import progress
from langmill.progress import FILE_VARIABLE, State, clock, describe, read_state, track

pytestmark = pytest.mark.unit


def state(**changes: object) -> State:
    values = {
        "title": "Work",
        "done": 30,
        "total": 120,
        "unit": "steps",
        "note": "",
        "started": 1000.0,
        "resumed_at": 0,
    }
    return State(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (9.6, "0:10"), (65, "1:05"), (3661, "1:01:01"), (-3, "0:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_end_is_foretold_from_the_speed_so_far() -> None:
    assert state().remaining_seconds(now=1010.0) == 30.0
    assert state(done=0).remaining_seconds(now=1010.0) is None


def test_a_resumed_piece_counts_only_what_this_process_did() -> None:
    """30 of 120 done, 20 of them long ago: 10 in 10 s, so 90 s are left."""
    assert state(resumed_at=20).remaining_seconds(now=1010.0) == 90.0


def test_describe() -> None:
    assert describe(state(note="loss 4.21"), now=1010.0) == "25%  30/120 steps  0:30 left  loss 4.21"
    assert describe(state(done=120), now=1010.0) == "100%  120/120 steps"
    assert describe(replace(state(done=0.034), total=0.034, unit="MB"), now=1010.0) == "100%  0.034/0.034 MB"


def test_the_state_goes_to_the_file_that_the_flow_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    assert read_state(path) is None
    with track("Work", total=3, unit="steps") as bar:
        found = read_state(path)
        assert found is not None
        assert (found.title, found.done, found.total) == ("Work", 0, 3)
        for _ in range(3):
            bar.advance(note="going")
    found = read_state(path)
    assert found is not None
    assert (found.done, found.note) == (3, "going")


def test_a_pipe_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setattr(progress.time, "time", lambda: now)
    with track("Work", total=100, unit="steps") as bar:
        for _ in range(50):
            now += 1.0
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Work: 15%  15/100 steps  1:25 left"
    assert len(lines) == 3
