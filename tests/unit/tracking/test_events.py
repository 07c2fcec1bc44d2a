from __future__ import annotations

from pathlib import Path

import pytest

from langmill.tracking.events import read_events
from langmill.tracking.run_log import RunLog
from tests.unit.tracking.logs import events_of

pytestmark = pytest.mark.unit


def test_a_half_written_line_is_cut_off(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.metrics({"loss": 1.0}, 0)
    path = tmp_path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"metrics","step":1,"val')
    assert read_events(path, 0)[1] == len(whole)

    RunLog(tmp_path).metrics({"loss": 0.5}, 1)
    assert [event["values"] for event in events_of(tmp_path)] == [{"loss": 1.0}, {"loss": 0.5}]


def test_a_line_that_is_no_event_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = RunLog(tmp_path)
    log.metrics({"loss": 1.0}, 0)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\0\0\0\0\n")
    log.metrics({"loss": 0.5}, 1)
    assert [event["step"] for event in events_of(tmp_path)] == [0, 1]
    assert "is not an event" in caplog.text
