"""What the flow says to whoever watches it, as lines of JSON in a file.

The flow runs in a process of its own, since Prefect takes the terminal and Ctrl-C for itself; the command that started
it reads the file and draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

EVENTS_VARIABLE = "LANGMILL_FLOW_EVENTS"
LOCK_VARIABLE = "LANGMILL_RUN_LOCK"
"""Set to `held` for a flow whose starter holds the workspace's lock for it."""
LOG_VARIABLE = "LANGMILL_RUN_LOG"
SERVER_VARIABLE = "LANGMILL_RUN_SERVER"
"""Set to `own` for a flow whose starter has a Prefect server for it, and closes its standard input when that is up."""
UP_TO_DATE = "up to date"
"""The note of a step that had nothing to do: a display counts such steps instead of listing them."""


class StepState(StrEnum):
    """Where a step of the flow stands."""

    waiting = "waiting"
    running = "running"
    done = "done"
    failed = "failed"
    skipped = "skipped"
    """A step before it failed."""


@dataclass(frozen=True)
class Event:
    """One step's new state."""

    step: str
    """The step's key: a stage's address, or `register reviews-lm`."""
    title: str
    """As a person reads it."""
    state: StepState
    note: str = ""
    """What there is to say: an error's sentence, the verdict."""
    code: int = 0
    """The exit code of a failed step's kind of error."""
    when: float = field(default_factory=time.time)
    """Seconds since the epoch."""


class EventLog:
    """Appends events to a file; without a file, to nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> EventLog:
        """The log that the starter of this process reads, if it reads one."""
        name = os.environ.get(EVENTS_VARIABLE)
        return cls(Path(name) if name else None)

    def write(self, event: Event) -> None:
        """Append one event; on a full disk the watcher sees less, and the step goes on."""
        if self._path is None:
            return
        with contextlib.suppress(OSError), self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")


class EventReader:
    """Reads what was appended since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Event]:
        """The events since the last call; a line that is still being written waits for the next one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # cut short by a full disk
                found.append(_event(json.loads(line)))
        return found


def _event(values: Mapping[str, Any]) -> Event:
    return Event(**{**values, "state": StepState(values["state"])})
