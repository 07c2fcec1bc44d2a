"""The registry's memory: an append-only file of every move of a champion.

MLflow keeps an alias's present only. A move is written down twice: before (`begin`) and after (`done`), so that one
that was cut short by a crash can be told and put right (`langmill.registry.promote.repair`).
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langmill.files import canonical_json, explained_os_errors


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    event: str
    """`begin` or `done` of a move; `undone`: a move that had been cut short was taken back."""
    action: str
    """`promote` or `rollback`."""
    name: str
    """The registered model."""
    source: int | None
    """The champion before."""
    target: int
    """The champion after."""
    previous: int | None
    """What `previous` pointed to before the move."""
    reason: str
    """Why: the verdict's sentence, or what a person gave."""
    forced: bool
    """Whether it was done against the gate's verdict, or without one."""
    verdict: Mapping[str, Any] | None
    command: str
    """What was typed or which flow asked."""
    when: str
    """UTC, ISO 8601."""
    who: str
    """user@host."""


class Ledger:
    """The file; every entry is on the disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(
        self,
        event: str,
        action: str,
        name: str,
        *,
        source: int | None,
        target: int,
        previous: int | None,
        reason: str,
        forced: bool,
        verdict: Mapping[str, Any] | None,
        command: str,
    ) -> Entry:
        """Write an entry, with the time and the user added."""
        entry = Entry(
            event,
            action,
            name,
            source,
            target,
            previous,
            reason,
            forced,
            verdict,
            command,
            datetime.now(UTC).isoformat(timespec="seconds"),
            _who(),
        )
        with explained_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                torn = size > 0 and file.read(1) != b"\n"  # a crash left half a line: begin a new one
                file.write(b"\n" * torn + canonical_json(asdict(entry)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return entry

    def entries(self, name: str | None = None) -> list[Entry]:
        """What was written, oldest first, of one model or of all; a half-written line is passed over."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_bytes().splitlines():
            try:
                found.append(Entry(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return [entry for entry in found if name in (None, entry.name)]

    def unfinished(self, name: str) -> Entry | None:
        """The move of a model's champion that was begun and never ended, if there is one."""
        entries = self.entries(name)
        return entries[-1] if entries and entries[-1].event == "begin" else None


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
