"""End a process when its parent ends, and those that a process has started.

`python -m langmill.lifetime MODULE ARGUMENT...` is `python -m MODULE ARGUMENT...` that ends with its parent, for
servers that are not ours; `python -m langmill.lifetime -- PROGRAM ARGUMENT...` is a program that does, such as one in
another environment.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time

INTERRUPTED = 130
"""The exit code of a process that was stopped from outside, as shells have it."""
PARENT_VARIABLE = "LANGMILL_PARENT"
"""The environment variable by which a process may pass its child its own `os.getpid()`."""
_WATCH_SECONDS = 1.0


def end_with_parent() -> None:
    """End this process, and its process group if it leads one, when its parent ends.

    Otherwise `kill -9` of `dvc repro` would leave an orphan that writes the same files as the next run, and DVC would
    commit them. A parent that died before this call is known by `PARENT_VARIABLE`, which is removed from the
    environment: it applies to this process alone, not to its children.
    """
    parent = int(os.environ.pop(PARENT_VARIABLE, 0)) or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        if os.getpgrp() == os.getpid():  # children of this process are in its group
            os.killpg(0, signal.SIGKILL)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def end_group(process: subprocess.Popen[bytes], number: signal.Signals, seconds: float) -> None:
    """Signal the group that a process leads, and kill what of it is left when the process has ended, or in time."""
    for each in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _run_program(command: list[str]) -> int:
    """Run a program in this process's group until it ends, and pass on SIGTERM; returns its exit code."""
    program = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    code = program.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    end_with_parent()
    if sys.argv[1] == "--":
        sys.exit(_run_program(sys.argv[2:]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
