"""The display of a run: a live region with bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from langmill.events import UP_TO_DATE, Event, StepState
from langmill.progress import State, clock, describe, read_state
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_LINE_SECONDS = 15.0
_REDRAW_SECONDS = 0.25


class Display:
    """Displays the steps of a run; a context manager."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        """Sentences of the steps that failed."""
        self.codes: set[int] = set()
        """Exit codes of their kinds of error."""
        self._steps: dict[str, Event] = {}
        self._started: dict[str, float] = {}
        self._unchanged = 0
        self._began = self._last_line = time.time()
        self._live = _live_region() if sys.stdout.isatty() else None
        self._waiting_for: str | None = None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a permanent line."""
        if self._live is not None:
            self._live.console.print(text, markup=False, soft_wrap=True)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def announce(self, text: str) -> None:
        """Display a text until the first step runs."""
        self._waiting_for = text
        if self._live is None:
            self.say(text)

    def follow(self, news: Callable[[], list[Event]], alive: Callable[[], bool]) -> None:
        """Display events until their source has ended."""
        while True:
            running = alive()  # before the last read, so that no event is missed
            for event in news():
                self.take(event)
            self.refresh()
            if not running:
                return
            time.sleep(_REDRAW_SECONDS)

    def take(self, event: Event) -> None:
        """Display one event."""
        before = self._steps.get(event.step)
        self._steps[event.step] = event
        if event.state is StepState.running:
            self._waiting_for = None
            self._started.setdefault(event.step, event.when)
        elif event.state is StepState.waiting and before is not None:
            self.say(f"{event.title}: {event.note}")
        elif event.state is StepState.failed:
            self.failures.append(event.note)
            self.codes.add(event.code)
            self.say(f"{_symbol('failed')} {event.title}: failed after {self._duration(event)}")
        elif event.state is StepState.done and event.note == UP_TO_DATE:
            self._unchanged += 1
        elif event.state is StepState.done:
            note = f"  {event.note}" if event.note else ""
            self.say(f"{_symbol('done')} {event.title}: done in {self._duration(event)}{note}")

    def summary(self) -> str:
        """Summarise the steps that printed no line: `5 of 19 steps were up to date; 3 did not run […].`."""
        parts = [f"{self._unchanged} of {len(self._steps)} steps were up to date"] if self._unchanged else []
        skipped = sum(event.state is StepState.skipped for event in self._steps.values())
        if skipped:
            parts.append(f"{skipped} did not run: a step before them failed, or the run was stopped")
        return "; ".join(parts) + "." if parts else ""

    def refresh(self) -> None:
        """Display the progress of the running steps."""
        if self._live is not None:
            with contextlib.suppress(OSError):  # a closed terminal must not stop the run
                self._live.update(self._region(), refresh=True)
        elif time.time() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.time()
            for event, _, how_far in self._running():
                self.say(f"  {event.title}: {how_far}")

    def _running(self) -> Iterator[tuple[Event, State | None, str]]:
        """Yield the running steps with their progress, also in words."""
        now = time.time()
        for event in self._steps.values():
            if event.state is StepState.running:
                state = read_state(Workspace().progress(event.step))
                elapsed = f"{clock(now - self._started[event.step])} so far"
                yield event, state, elapsed if state is None else describe(state, now)

    def _region(self) -> RenderableType:
        """The live region: a line with a bar for each running step, and a count."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        for event, state, how_far in self._running():
            share = min(1.0, state.done / state.total) if state is not None and state.total else None
            bar = ProgressBar(total=1.0, completed=share or 0.0, width=20, pulse=share is None)
            grid.add_row(Text(event.title), bar, Text(how_far, overflow="ellipsis", no_wrap=True))
        grid.add_row(Text(f"{self.counts()}, {clock(time.time() - self._began)} so far", style="dim"))
        return grid

    def counts(self) -> str:
        """Number of steps done, for the live region."""
        if self._waiting_for is not None:
            return self._waiting_for
        ended = sum(event.state not in (StepState.waiting, StepState.running) for event in self._steps.values())
        return f"{ended} of {len(self._steps)} steps done"

    def _duration(self, event: Event) -> str:
        return clock(event.when - self._started.get(event.step, event.when))


def _live_region() -> Live:
    from rich.console import Console
    from rich.live import Live

    return Live(console=Console(highlight=False), auto_refresh=False, transient=True)


def _symbol(state: str) -> str:
    symbol, plain = {"done": ("✓", "+"), "failed": ("✗", "!")}[state]
    try:
        symbol.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return plain
    return symbol
