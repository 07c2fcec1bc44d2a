"""Runs to log."""

from __future__ import annotations

from pathlib import Path

from langmill.tracking.events import read_events
from langmill.tracking.run_log import RunLog

URI = "sqlite:///.langmill/mlflow.db"


def start(log: RunLog, provenance: str = "abc123", **params: object) -> None:
    log.start(experiment="reviews-lm", name="run", provenance=provenance, params=params, tags={"langmill.recipe": "r"})


def events_of(folder: Path) -> list[dict[str, object]]:
    return read_events(folder / "events.jsonl", 0)[0]
