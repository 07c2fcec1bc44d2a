"""No process outlives the one that started it.

`python -m langmill.lifetime MODULE ARGUMENT...` is `python -m MODULE ARGUMENT...` with a watch on its parent, for
servers that are not ours.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

INTERRUPTED = 130
"""The exit code of a process that was stopped from outside, as shells have it."""
PARENT_VARIABLE = "LANGMILL_PARENT"
"""The environment variable in which a process may tell its child who started it: `os.getpid()`."""
_WATCH_SECONDS = 1.0


def end_with_parent() -> None:
    """End this process, and its process group if it leads one, when the process that started it is gone.

    `kill -9` of `dvc repro` would else leave an orphan that writes beside the next run, which DVC would then commit.
    A parent that died before this call is known by `PARENT_VARIABLE`, which is taken out of the environment: it is
    true of this process alone, not of those that it starts.
    """
    parent = int(os.environ.pop(PARENT_VARIABLE, 0)) or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        if os.getpgrp() == os.getpid():  # children of this process are in its group
            os.killpg(0, signal.SIGKILL)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
