"""The registry's memory: an append-only file of every move of a champion.

MLflow keeps an alias's present only. A move is written down twice: before (`begin`) and after (`done`), so that one
that was cut short by a crash can be recognised and put right (`langmill.registry.promote.repair`).

The entries of a model are a chain: each carries a digest of itself and of the one before it, so an entry that was
changed, inserted or taken out of the middle is noticed. What was cut off at the end, or the whole file, is noticed by
the `Witness` that the registry keeps on the registered model.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langmill.files import canonical_json, explained_os_errors, sha256_bytes
from langmill.tracking.run_log import user_name

STOPPED = "stopped"
"""The event of an entry that is no move: a version's trial on live traffic was stopped."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    event: str
    """`begin` or `done` of a move; `undone`: a move that had been cut short was taken back; `stopped`: a version was
    taken from live traffic before it was champion, which moves nothing."""
    action: str
    """`promote`, `rollback` or `trial`."""
    name: str
    """The registered model."""
    source: int | None
    """What `champion` pointed to before the move."""
    target: int
    """What it points to after."""
    previous: int | None
    """What `previous` pointed to before the move."""
    demoted: int | None
    """What it points to after; a rollback marks this version as rolled back."""
    reason: str
    """Why: the verdict's sentence, or what a person gave."""
    forced: bool
    """Whether it was done against the gate's verdict, or without one."""
    verdict: Mapping[str, Any] | None
    command: str
    """What was typed or which flow asked."""
    when: str = ""
    """UTC, ISO 8601."""
    who: str = ""
    """user@host."""
    restart: str = ""
    """Why a new chain begins with this entry: what was found wrong with the ledger, and accepted by force."""
    digest: str | None = None
    """Of this entry and the digest before it; None in what was written before there was a chain."""


@dataclass(frozen=True)
class Witness:
    """How long a model's chain is and where it ends, kept outside the file."""

    entries: int
    digest: str

    def text(self) -> str:
        """As a tag's value."""
        return f"{self.entries} {self.digest}"

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Witness from a tag's value; one that nothing can fit where the value makes no sense."""
        entries, _, digest = text.partition(" ")
        return cls(int(entries), digest) if entries.isdecimal() and int(entries) > 0 else cls(1, text)


class Ledger:
    """The file; every entry is on the disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parsed: tuple[bytes, list[tuple[Entry, str]]] = (b"", [])

    def append(self, entry: Entry, restart: str = "") -> Entry:
        """Write an entry at the end of its model's chain, with the time and the user; returns it as it was written.

        The caller holds the model's lock, so nobody else adds to this chain at the same time. Raises SpaceError where
        the disk is full.
        """
        entry = replace(
            entry,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            who=f"{user_name()}@{socket.gethostname()}",
            restart=restart,
        )
        values = asdict(entry)
        del values["digest"]
        chained = [one for one in self.entries(entry.name) if one.digest is not None]
        before = chained[-1].digest if chained and not restart else None
        digest = _link(before, canonical_json(values))
        with explained_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another model's move may write at the same time
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                torn = size > 0 and file.read(1) != b"\n"  # a crash left half a line: begin a new one
                file.write(b"\n" * torn + canonical_json({**values, "digest": digest}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return Entry(**values, digest=digest)

    def entries(self, name: str | None = None) -> list[Entry]:
        """What was written, oldest first, of one model or of all; a half-written line is skipped."""
        return [entry for entry, _ in self._read(name)]

    def complaint(self, name: str, witness: Witness | None) -> str | None:
        """What is wrong with the entries of a model: changed, cut or gone; None if nothing is.

        `witness` is what the registry remembers of the chain, if it remembers anything.
        """
        chain: list[str] = []
        for entry, text in self._chain(name):
            if entry.digest is None:
                if chain:
                    return f"its entry of {entry.when} has no digest, though older ones have"
                continue
            if _link(chain[-1] if chain else None, text) != entry.digest:
                return f"its entry of {entry.when} was changed, or one before it was"
            chain.append(entry.digest)
        if witness is None:
            return None
        if witness.entries > len(chain):
            return f"it has {len(chain)} entries of {name} where the registry remembers {witness.entries}"
        if chain[witness.entries - 1] != witness.digest:
            return f"its entry {witness.entries} of {name} is not the one that the registry remembers"
        return None

    def witness(self, name: str) -> Witness | None:
        """How long a model's chain is now; None while nothing is chained."""
        chain = [entry.digest for entry, _ in self._chain(name) if entry.digest is not None]
        return Witness(len(chain), chain[-1]) if chain else None

    def done(self, name: str) -> Entry | None:
        """The last finished move of a model's champion; None before the first."""
        found = [entry for entry in self.entries(name) if entry.event == "done"]
        return found[-1] if found else None

    def unfinished(self, name: str) -> Entry | None:
        """The move of a model's champion that was begun and never ended, if there is one."""
        moves = [entry for entry in self.entries(name) if entry.event != STOPPED]
        return moves[-1] if moves and moves[-1].event == "begin" else None

    def _chain(self, name: str) -> list[tuple[Entry, str]]:
        """A model's entries from the last one on that began a chain anew."""
        read = self._read(name)
        anew = [index for index, (entry, _) in enumerate(read) if entry.restart]
        return read[anew[-1] :] if anew else read

    def _read(self, name: str | None) -> list[tuple[Entry, str]]:
        """Entries, each with the text that its digest was made from."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        if data != self._parsed[0]:
            self._parsed = (data, _parse(data))
        return [(entry, text) for entry, text in self._parsed[1] if name in (None, entry.name)]


def _parse(data: bytes) -> list[tuple[Entry, str]]:
    found = []
    for line in data.splitlines():
        try:
            values = json.loads(line)
            entry = Entry(**{"demoted": values["source"], **values})  # older entries always demoted the champion
            text = canonical_json({key: value for key, value in values.items() if key != "digest"})
        except (ValueError, TypeError, KeyError):
            continue
        found.append((entry, text))
    return found


def _link(before: str | None, text: str) -> str:
    """The digest of an entry that follows the one with the digest `before`."""
    return sha256_bytes(f"{before or ''}\n{text}".encode())
