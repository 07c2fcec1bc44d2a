"""Commands and functions in processes forked from the tests' own, which has imported everything."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FORK = multiprocessing.get_context("fork")


def fork(work: Callable[[], object]) -> int:
    """Run a function in a forked process; gives its exit code: what the function returns, if that is a number."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both processes write what is held back
    child = os.fork()
    if child == 0:
        code: object = 70
        try:
            code = work()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code if isinstance(code, int) else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_dvc(folder: Path, *arguments: str, prepare: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Run a command of DVC in a folder, after `prepare`; gives the exit code, and what it and its processes said."""
    import dvc.logger
    from dvc.cli import main

    def work() -> object:
        os.chdir(folder)
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        for name in ("dvc", "dvc_objects", "dvc_data"):
            logging.getLogger(name).handlers.clear()
        dvc.logger.setup()  # it holds on to what were the standard streams
        prepare()
        return main(list(arguments))

    with tempfile.TemporaryFile("a+") as said:
        code = fork(work)
        said.seek(0)
        return code, said.read()


class Waiting:
    """A function in a forked process that begins when it is told to.

    Fork before the test asks MLflow for anything: a connection to a database is not to be shared.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self._begin, self._told = _FORK.Event(), _FORK.SimpleQueue()
        self._process = _FORK.Process(target=self._run, args=(work,))
        self._process.start()

    def _run(self, work: Callable[[], Any]) -> None:
        self._begin.wait()
        self._told.put(work())

    def begin(self) -> None:
        """Have it begin."""
        self._begin.set()

    def end(self) -> tuple[int | None, Any]:
        """Wait for its end, two minutes at most; gives its exit code, and what the function returned."""
        self._process.join(120)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        return code, self._told.get() if code == 0 else None
