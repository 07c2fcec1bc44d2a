"""Progress and remaining time of long work.

On a terminal it is a bar, in a pipe a line every fifteen seconds; a process that was started by the flow writes its
state to the file that `LANGMILL_PROGRESS_FILE` names, which the flow displays.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

FILE_VARIABLE = "LANGMILL_PROGRESS_FILE"
_LINE_SECONDS = 15.0
_FILE_SECONDS = 0.25


@dataclass
class State:
    """The progress of a piece of work."""

    title: str
    done: float
    total: float
    unit: str
    note: str
    started: float
    """Seconds since the epoch."""
    resumed_at: float
    """Units done before this process began (a resumed training)."""

    def remaining_seconds(self, now: float) -> float | None:
        """Estimate the seconds left by the speed so far; None before anything is done."""
        fresh = self.done - self.resumed_at
        if fresh <= 0 or now <= self.started:
            return None
        return (self.total - self.done) * (now - self.started) / fresh


def clock(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe(state: State, now: float) -> str:
    """Format the state as a short line: `42%  210/500 steps  1:10 left  loss 4.21`."""
    share = f"{100 * state.done / state.total:.0f}%" if state.total else ""
    small = state.total < 10 and not float(state.total).is_integer()  # megabytes of a small corpus
    done, total = (f"{amount:.2g}" if small else f"{amount:,.0f}" for amount in (state.done, state.total))
    parts = [share, f"{done}/{total} {state.unit}" if state.total else f"{done} {state.unit}"]  # 0: nobody knows
    remaining = state.remaining_seconds(now)
    if remaining is not None and state.done < state.total:
        parts.append(f"{clock(remaining)} left")
    if state.note:
        parts.append(state.note)
    return "  ".join(part for part in parts if part)


def read_state(path: Path) -> State | None:
    """Read the state that another process wrote; None if there is none."""
    try:
        return State(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


class Progress:
    """Reports on one piece of work; made by `track`."""

    def __init__(self, title: str, total: float, unit: str, initial: float) -> None:
        self.state = State(title, initial, total, unit, "", time.time(), initial)
        name = os.environ.get(FILE_VARIABLE)
        self._file = Path(name) if name else None
        self._last_report = 0.0 if self._file else time.time()
        self._bar = _bar(self.state) if not self._file and sys.stderr.isatty() else None
        self._report(force=True)

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Add `amount` units done, with a note to display."""
        self.state.done += amount
        if note is not None:
            self.state.note = note
        self._report()

    def _report(self, force: bool = False) -> None:
        now = time.time()
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self.state.done, line=describe(self.state, now))
        elif self._file is not None:
            if force or now - self._last_report >= _FILE_SECONDS:
                self._last_report = now
                temporary = self._file.with_suffix(".tmp")
                with contextlib.suppress(OSError):  # a failure here must not stop the work
                    temporary.write_text(json.dumps(asdict(self.state)), encoding="utf-8")
                    os.replace(temporary, self._file)
        elif now - self._last_report >= _LINE_SECONDS:
            self._last_report = now
            sys.stderr.write(f"{self.state.title}: {describe(self.state, now)}\n")

    def close(self) -> None:
        """Display the last state and release the terminal."""
        self._report(force=True)
        if self._bar is not None:
            self._bar[0].stop()


def _bar(state: State) -> tuple[RichProgress, TaskID]:
    """A bar on the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[line]}")
    bar = RichProgress(*columns, console=Console(stderr=True), refresh_per_second=4)
    bar.start()
    return bar, bar.add_task(state.title, total=state.total, line="")


@contextlib.contextmanager
def track(title: str, total: float, unit: str, initial: float = 0) -> Iterator[Progress]:
    """Report on a piece of work of `total` units, `initial` of which were done before."""
    progress = Progress(title, total, unit, initial)
    try:
        yield progress
    finally:
        progress.close()
