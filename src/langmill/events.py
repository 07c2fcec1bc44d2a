"""Events of the flow, as lines of JSON in a file.

The flow runs in a process of its own, since Prefect takes over the terminal and Ctrl-C; the command that started it
reads the file and displays it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

EVENTS_VARIABLE = "LANGMILL_FLOW_EVENTS"
LOCK_VARIABLE = "LANGMILL_RUN_LOCK"
"""Set to `held` for a flow whose starter holds the workspace's lock for it."""
LOG_VARIABLE = "LANGMILL_RUN_LOG"
SERVER_VARIABLE = "LANGMILL_RUN_SERVER"
"""Set to `own` for a flow whose starter has a Prefect server for it, and closes its standard input when that is up."""
UP_TO_DATE = "up to date"
"""The note of a step that had nothing to do: the display counts such steps instead of listing them."""


class StepState(StrEnum):
    """State of a step of the flow."""

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
    """The step's display name."""
    state: StepState
    note: str = ""
    """Details: an error's sentence, the verdict."""
    code: int = 0
    """The exit code of a failed step's kind of error."""
    when: float = field(default_factory=time.time)
    """Seconds since the epoch."""


class EventLog:
    """Appends events to a file; without a file it drops them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> EventLog:
        """Open the log that the parent process reads, if any."""
        name = os.environ.get(EVENTS_VARIABLE)
        return cls(Path(name) if name else None)

    def write(self, event: Event) -> None:
        """Append one event; a full disk drops it, and the step continues."""
        if self._path is None:
            return
        with contextlib.suppress(OSError), self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")


class EventReader:
    """Reads the events appended since the last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Event]:
        """Read the events since the last call; an incomplete line is left for the next one."""
        data = self._path.read_bytes()[self._offset :] if self._path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # cut short by a full disk
                values = json.loads(line)
                found.append(Event(**{**values, "state": StepState(values["state"])}))
        return found
