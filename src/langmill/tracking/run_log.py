"""The log of a run in its own folder: it needs no server, and survives `kill -9`."""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langmill.errors import BusyError, LangmillError
from langmill.files import atomic_file, canonical_json, exclusive_lock, explained_os_errors, sha256_bytes
from langmill.tracking.events import EVENTS_NAME, FILES_NAME, read_events, status_of

_LOCK_NAME = "run.lock"
_PARAM_CHARACTERS = 6000  # MLflow refuses longer ones


class RunLog:
    """The events of one run, in order, in a file of its own.

    A process that resumes a run opens the same folder and logs as if it were the first: events that are already in the
    file are not written again.

    Attributes:
        status: Status of the run by its log, as MLflow names it; None before it has started.
        description: What is made, in a sentence; "" where nobody said.
    """

    def __init__(self, folder: Path) -> None:
        """Open the log in a run's own folder, or make it; an incomplete last line of a killed process is removed."""
        self.folder = folder
        self._path = folder / EVENTS_NAME
        with explained_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._path.touch()
        events, whole = read_events(self._path, 0)
        if whole < self._path.stat().st_size:
            os.truncate(self._path, whole)
        self._started = any(event["kind"] == "start" for event in events)
        self.status = status_of(events)
        self._logged = {
            (name, event["step"]) for event in events if event["kind"] == "metrics" for name in event["values"]
        }
        self._files = {event["name"]: event["sha256"] for event in events if event["kind"] == "file"}
        self._datasets = {(event["name"], event["digest"]) for event in events if event["kind"] == "dataset"}
        self._shown = [event for event in events if event["kind"] == "show"]
        self.description = next((event.get("description", "") for event in events if event["kind"] == "start"), "")

    def start(
        self,
        *,
        experiment: str,
        name: str,
        provenance: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        description: str = "",
    ) -> None:
        """Log the start of the run, nested settings under dotted names; for a resumed run nothing is written.

        The provenance identifies the run; `name` and `description` are for people.
        """
        if self._started:
            return
        self._started, self.status, self.description = True, "RUNNING", description
        commit = _git_commit()
        extra = {"mlflow.source.git.commit": commit} if commit else {}
        self._append(
            {
                "kind": "start",
                "experiment": experiment,
                "name": name,
                "provenance": provenance,
                "params": {key: str(value)[:_PARAM_CHARACTERS] for key, value in flatten(params).items()},
                "tags": {"mlflow.user": user_name(), **extra, **tags},
                **({"description": description} if description else {}),
            }
        )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics of a step; those already in the log (a resumed run repeats some) are skipped.

        A metric that is not finite is kept in the file as a string and sent to MLflow as a tag: MLflow itself would
        turn infinity into 1.8e308.
        """
        numbers = ((name, float(value)) for name, value in values.items() if (name, step) not in self._logged)
        fresh = {name: number if math.isfinite(number) else str(number) for name, number in numbers}
        if fresh:
            self._logged.update((name, step) for name in fresh)
            self._append({"kind": "metrics", "step": step, "values": fresh})

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log a dataset that the run used, in the context of `training` or `evaluation`."""
        if (name, digest) not in self._datasets:
            self._datasets.add((name, digest))
            self._append({"kind": "dataset", "name": name, "digest": digest, "source": source, "context": context})

    def show(self, card: str, metrics: Sequence[str]) -> None:
        """Log what MLflow's pages are to show: of the run a card in Markdown, of its experiment columns of metrics."""
        shown = {"kind": "show", "card": card, "metrics": list(metrics)}
        if not any(shown.items() <= event.items() for event in self._shown[-1:]):
            self._shown.append(shown)
            self._append(shown)

    def text(self, text: str, name: str) -> None:
        """Log a text as a file among the run's artifacts, as in `samples/step-000100.txt`."""
        self._keep(text.encode(), name)

    def artifact(self, path: Path, folder: str) -> None:
        """Log a copy of a file, or of all files in a folder, to a folder among the run's artifacts; "" is the top."""
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        base = path if path.is_dir() else path.parent
        for file in files:
            self._keep(file.read_bytes(), (Path(folder) / file.relative_to(base)).as_posix())

    def finish(self) -> None:
        """Log that the run is finished, unless the log has it."""
        if self.status != "FINISHED":
            self._end("FINISHED")

    def fail(self, reason: str) -> None:
        """Log that the run failed, and why."""
        self._end("FAILED", reason)

    def kill(self, reason: str) -> None:
        """Log that the run was killed, and how."""
        self._end("KILLED", reason)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Log how the block ends, however it ends; a resumed run is running again.

        A process that is killed logs nothing, but its lock on the folder is released: `end_killed_runs` checks it.
        Raises BusyError where another process works on this run.
        """
        with exclusive_lock(self.folder / _LOCK_NAME, "A run"):
            if self.status in ("FAILED", "KILLED"):
                self.status = "RUNNING"
                self._append({"kind": "resume"})
            try:
                yield
            except LangmillError as error:
                self.fail(str(error))
                raise
            except (KeyboardInterrupt, SystemExit):
                self.kill("It was interrupted.")
                raise
            except BaseException as error:
                self.fail(f"{type(error).__name__}: {error}")
                raise
            self.finish()

    def _end(self, status: str, reason: str | None = None) -> None:
        self.status = status
        self._append({"kind": "finish", "status": status} | ({"reason": reason} if reason else {}))

    def _keep(self, data: bytes, name: str) -> None:
        digest = sha256_bytes(data)
        if self._files.get(name) == digest:
            return
        with atomic_file(self.folder / FILES_NAME / name) as file:
            file.write(data)
        self._files[name] = digest
        self._append({"kind": "file", "name": name, "sha256": digest})

    def _append(self, event: Mapping[str, Any]) -> None:
        line = canonical_json({**event, "time": time.time_ns() // 1_000_000}) + "\n"
        with explained_os_errors(self._path), self._path.open("ab", buffering=0) as file:
            file.write(line.encode())


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _git_commit() -> str | None:
    """Commit of the current code, with the suffix `-dirty` if files differ from it; None outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def user_name() -> str:
    """Who runs this process, by the system's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user
        return "unknown"


def end_killed_runs(runs: Path, *, but: Path | None = None) -> list[Path]:
    """Log the end of every run in `runs` whose process was killed; return their folders.

    Those are the runs without an end in their log and without a holder of the lock of `RunLog.recorded`. `but` is a
    folder to leave alone.
    """
    ended = []
    for path in sorted(runs.glob(f"*/{EVENTS_NAME}")):
        if path.parent == but or not path.with_name(_LOCK_NAME).exists():
            continue
        if status_of(read_events(path, 0)[0]) != "RUNNING":
            continue
        with contextlib.suppress(BusyError), exclusive_lock(path.with_name(_LOCK_NAME), "Ending a killed run"):
            RunLog(path.parent).kill("Its process was killed, or the machine went down.")
            ended.append(path.parent)
    return ended
