"""`python -m langmill.graph ADDRESS`: the process of `dvc repro --single-item ADDRESS`, which also reads DVC's log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from langmill.errors import BusyError, LangmillError
from langmill.files import full_disk_sentence
from langmill.graph.dvc_errors import DVC_BUSY, NOT_KEPT, watched_dvc_log
from langmill.graph.locks import clear_stale_locks
from langmill.lifetime import end_with_parent


def main(arguments: Sequence[str]) -> int:
    """Run `dvc repro --single-item ADDRESS` in this process.

    Returns:
        The exit code: the stage's own if it failed; that of `SpaceError` where DVC met a full disk, its cache's
        included; `DVC_BUSY`, `NOT_KEPT`; DVC's own for anything else.
    """
    from dvc.cli import main as dvc

    end_with_parent()
    (address,) = arguments
    try:
        clear_stale_locks(Path())
        with watched_dvc_log() as log:
            code = dvc(["--wait-for-lock", "repro", "--single-item", address])
    except LangmillError as error:
        sys.stderr.write(f"{address}: {error}\n")
        return DVC_BUSY if isinstance(error, BusyError) else error.exit_code
    with contextlib.suppress(OSError):  # where the log's disk is full too, the exit code has to do
        if log.full:
            sys.stderr.write(f"{address}: {full_disk_sentence(f'DVC and its cache ({_cache_folder()})')}\n")
        elif log.code == NOT_KEPT:
            sys.stderr.write(f"{address}: DVC could not keep in its cache what the stage made: {log.reason}.\n")
        sys.stderr.flush()
    assert isinstance(code, int)
    return log.code or code


def _cache_folder() -> str:
    """Path of DVC's cache by its settings, relative to the workspace if it is inside."""
    from dvc.repo import Repo

    path = Path(Repo().cache.local.path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
