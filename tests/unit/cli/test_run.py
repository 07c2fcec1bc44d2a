"""What `langmill run` looks at before and after the flow's process."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from langmill.cli.events import Event, EventLog, EventReader, StepState
from langmill.cli.run import _require_space
from langmill.errors import SpaceError

pytestmark = pytest.mark.unit
Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_for_the_databases_is_told_before_anything_starts(tmp_path, monkeypatch):
    _require_space(tmp_path / "state")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1_500_000))
    with pytest.raises(SpaceError, match=r"Only 1\.5 MB are left on the disk that holds .*state, too little for a run"):
        _require_space(tmp_path / "state")


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
