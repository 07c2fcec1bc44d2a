"""Run one stage: `dvc repro --single-item` in a process group of its own (`python -m langmill.graph ADDRESS`).

So it can be stopped as a whole, and it ends with the process that started it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from langmill.errors import BusyError, GraphError, SpaceError, of_exit_code
from langmill.events import UP_TO_DATE
from langmill.files import explained_os_errors, full_disk_sentence
from langmill.graph.dvc_errors import DVC_BUSY
from langmill.lifetime import INTERRUPTED, PARENT_VARIABLE, end_group
from langmill.progress import FILE_VARIABLE

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_BUSY_ATTEMPTS = 20


class Outcome(StrEnum):
    """The result of running a stage."""

    made = "made"
    """It ran."""
    restored = "restored"
    """Its outputs for the same inputs were in DVC's cache."""
    unchanged = "unchanged"
    """It was up to date."""

    @property
    def note(self) -> str:
        """The reason why a stage did not run, for the display; empty if it did."""
        return {Outcome.unchanged: UP_TO_DATE, Outcome.restored: "restored from DVC's cache"}.get(self, "")


class Cancelled(GraphError):
    """The stage was stopped on request."""

    exit_code = INTERRUPTED
    code = "stopped"


def reproduce(address: str, *, root: Path, log: Path, progress: Path, cancel: threading.Event) -> Outcome:
    """Bring one stage up to date, its upstream being so already. The other arguments are those of `run_process`.

    Raises:
        Cancelled: `cancel` was set.
        BusyError: Another process kept using the stage's files.
        SpaceError: The disk of the workspace, or of DVC's cache, is full.
        TransientError: The stage failed for a temporary reason.
        GraphError: The stage failed otherwise; the message is the stage's own.
    """
    for attempt in range(_BUSY_ATTEMPTS):
        with explained_os_errors(log):
            command = [sys.executable, "-m", "langmill.graph", address]
            code, output = run_process(command, root=root, log=log, progress=progress, cancel=cancel)
        if cancel.is_set():
            raise Cancelled(f"{address} was stopped; the next run resumes from there.")
        if code == 0:
            if "didn't change, skipping" in output:
                return Outcome.unchanged
            return Outcome.restored if "skipping run" in output else Outcome.made
        if code != DVC_BUSY:
            if code != SpaceError.exit_code and shutil.disk_usage(log.parent).free == 0:
                raise SpaceError(full_disk_sentence(log))  # the process could not even say so
            kind = of_exit_code(code) or GraphError
            raise kind(failure_sentence(address, output, code, root), None if kind is SpaceError else "failed")
        if attempt + 1 < _BUSY_ATTEMPTS:  # someone's `dvc status` or `dvc repro`: it ends soon or it is real
            cancel.wait(1.0)
    raise BusyError(f"{address}: another DVC process is using its files; wait for it to end, or stop it.")


def failure_sentence(address: str, output: str, code: int, root: Path) -> str:
    """Find the error message in the output of a stage that failed.

    Our stages print `ADDRESS: sentence`; otherwise it is DVC's own error.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    own = [index for index, line in enumerate(lines) if line.startswith(f"{address}: ")]
    if own:
        following = [line for line in lines[own[-1] + 1 :] if not line.startswith(("ERROR", "WARNING"))]
        return " ".join([lines[own[-1]], *following])
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = [f"exit code {code}", *lines, *errors][-1].removeprefix(f"failed to reproduce '{address}': ")
    missing = re.search(r"missing data 'source': (.+)|No such file or directory: '(.+)'", said)
    if missing is not None:
        path = (missing[1] or missing[2]).removeprefix(f"{root.absolute()}/")
        return f"{address}: {path} does not exist, but the stage reads it; check the path in conf/ and in dvc.yaml."
    traced = [line for line in lines if ": " in line and line.split(":")[0].endswith(("Error", "Exception"))]
    return f"{address} failed: {(traced or [said])[-1].rstrip('.')}."


def run_process(
    command: Sequence[str], *, root: Path, log: Path, progress: Path, cancel: threading.Event
) -> tuple[int, str]:
    """Run a command in a process group of its own, which dies with this process; returns its exit code and output.

    Args:
        command: The command.
        root: The workspace.
        log: The file for its output; an existing one is replaced.
        progress: The file for its progress.
        cancel: Once set, the processes are interrupted and, after a few seconds, killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    progress.parent.mkdir(parents=True, exist_ok=True)
    progress.unlink(missing_ok=True)
    environment = {
        **os.environ,
        FILE_VARIABLE: str(progress.absolute()),
        PARENT_VARIABLE: str(os.getpid()),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "SHELL": "/bin/sh",  # DVC runs commands with the user's own shell, whichever that is
        "DVC_NO_ANALYTICS": "true",
    }
    with log.open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not cancel.wait(_POLL_SECONDS):
                pass
        finally:
            end_group(process, signal.SIGINT, _GRACE_SECONDS)
            progress.unlink(missing_ok=True)
        output.seek(0)
        return process.returncode, output.read().decode(errors="replace")
