"""Stale locks in DVC's lock file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.files import explained_os_errors, write_text
from langmill.graph.dvc_errors import explained_dvc_errors


def clear_stale_locks(root: Path) -> None:
    """Remove the entries of dead processes from DVC's lock file.

    DVC drops entries of dead processes itself, but not an incomplete file, nor a process id that another program has
    since got. The file is only written while DVC's own lock on it is held. Raises BusyError where another DVC process
    holds that lock.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists() or ((living := _living(path)) is not None and living == _holders(path)):
        return
    with explained_dvc_errors():
        from dvc.config import Config
        from dvc.lock import make_lock
        from dvc.rwlock import RWLOCK_LOCK

        guard = make_lock(
            str(path.with_name(RWLOCK_LOCK)),
            tmp_dir=str(path.parent),
            hardlink_lock=Config(str(root / ".dvc"))["core"].get("hardlink_lock", False),
        )
        with guard, explained_os_errors(path):
            living = _living(path)  # an incomplete file may be complete now
            if living is None:
                path.unlink(missing_ok=True)
            elif living != _holders(path):
                write_text(path, json.dumps(living))


def _holders(path: Path) -> Any:
    """Read DVC's lock file; None if it is missing or incomplete."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _living(path: Path) -> dict[str, Any] | None:
    """Select the entries of living DVC processes in DVC's lock file; None if it can't be read."""
    import psutil

    def alive(holder: Mapping[str, Any]) -> bool:
        try:
            command = " ".join(psutil.Process(int(holder["pid"])).cmdline())
        except psutil.Error:
            return False
        return "dvc" in command or "langmill" in command

    try:
        content = _holders(path)
        living: dict[str, Any] = {}
        for mode, paths in content.items():
            kept = {
                path: [one for one in holders if alive(one)] if mode == "read" else holders
                for path, holders in paths.items()
                if mode == "read" or alive(holders)
            }
            living[mode] = {path: holders for path, holders in kept.items() if holders}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return living
