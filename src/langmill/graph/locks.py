"""DVC's lock file, cleared of what killed processes left in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.files import explained_os_errors, write_text
from langmill.graph.dvc_errors import explained_dvc_errors


def clear_stale_locks(root: Path) -> None:
    """Remove the entries of dead processes from DVC's lock file.

    DVC drops entries of dead processes itself, but not a half-written file, nor a number that the system has since
    given to a process of another kind. The file is only written under DVC's own guard, as DVC itself does.

    Raises:
        BusyError: Another DVC process holds the guard.
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
            living = _living(path)  # what was half written a moment ago may be whole now
            if living is None:
                path.unlink(missing_ok=True)
            elif living != _holders(path):
                write_text(path, json.dumps(living))


def _holders(path: Path) -> Any:
    """What DVC's lock file holds; None if it is missing or was cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _living(path: Path) -> dict[str, Any] | None:
    """What DVC's lock file should hold: the entries of living DVC processes; None if it can't be read."""
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
        for mode, places in content.items():
            kept = {
                place: [one for one in holders if alive(one)] if mode == "read" else holders
                for place, holders in places.items()
                if mode == "read" or alive(holders)
            }
            living[mode] = {place: holders for place, holders in kept.items() if holders}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return living
