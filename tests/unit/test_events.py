"""What the flow says to whoever watches it."""

import json
from pathlib import Path

import pytest

from langmill.events import Event, EventLog, EventReader, StepState

pytestmark = pytest.mark.unit


def test_events_pass_through_a_file_one_whole_line_at_a_time(tmp_path):
    path = tmp_path / "events.jsonl"
    reader, log = EventReader(path), EventLog(path)
    assert reader.new() == []
    first = Event("train@x", "Train x", StepState.running, when=1.0)
    log.write(first)
    with path.open("a") as file:
        file.write('{"step": "half')
    assert reader.new() == [first]
    assert reader.new() == []
    with path.open("a") as file:
        file.write('", "title": "Half", "state": "done", "note": "", "when": 2.0}\n')
    assert reader.new() == [Event("half", "Half", StepState.done, when=2.0)]
    EventLog(None).write(first)


def test_an_event_that_a_full_disk_cut_short_stops_neither_side(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log, reader = EventLog(path), EventReader(path)
    log.write(Event("a", "A", StepState.running))
    with path.open("a") as file:
        file.write('{"step": "b", "ti')
    log.write(Event("c", "C", StepState.failed, "It is full.", 74))
    log.write(Event("d", "D", StepState.done))
    assert [(event.step, event.code) for event in reader.new()] == [("a", 0), ("d", 0)]
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    log.write(Event("e", "E", StepState.done))
    monkeypatch.undo()
    assert json.loads(path.read_text().splitlines()[-1])["step"] == "d"
