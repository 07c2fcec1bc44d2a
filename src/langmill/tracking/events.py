"""The events of a run: `events.jsonl` in the run's own folder, one JSON object a line, in order."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

EVENTS_NAME = "events.jsonl"
FILES_NAME = "files"

_logger = logging.getLogger(__name__)


def read_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Read the complete events of a log from a byte on; return them with the byte after the last.

    A line that is not an event (a power cut leaves some) is skipped with a warning.
    """
    events = []
    for event, end in events_from(path, offset):
        offset = end
        if event:
            events.append(event)
        else:
            _logger.warning("%s holds a line that is not an event; it is skipped.", path)
    return events, offset


def events_from(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the complete lines of a log from a byte on, each with the byte after it; a non-event is empty."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            yield (event if isinstance(event, dict) and "kind" in event else {}), offset


def status_of(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Status of a run after some events; a finished one stays so, whatever is added (an evaluation)."""
    status = None
    for event in events:
        if event["kind"] in ("start", "resume"):
            status = "RUNNING"
        elif event["kind"] == "finish":
            status = event["status"]
    return status
