"""What is noted of a trial, for whoever asks without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langmill.errors import LangmillError
from langmill.files import read_json

STATE_NAME = "trial.json"


def read_state(cache: Path, name: str) -> dict[str, Any]:
    """What is noted of a model's last trial; nothing if there was none."""
    try:
        found = read_json(cache / name / STATE_NAME)
    except (LangmillError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
