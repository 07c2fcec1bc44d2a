"""Does a registered version load, answer, and say what the trained model says? The registry itself never asks.

Two fresh processes load the version side by side: one through MLflow with pickle disallowed and with the package's own
code, one through Langmill's loader from the folder that was trained. Both check every file's digest and score the same
fixed tokens. A version that fails is marked and can't become champion.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmill.errors import RegistryError
from langmill.registry.store import ModelVersion, Registry, State, Tag
from langmill.tracking import quiet_mlflow, resolved_uri

TOLERANCE = 1e-5
"""Largest allowed difference between two logits."""
_SECONDS = 300.0


@dataclass(frozen=True)
class Validation:
    """What validation said of a version."""

    passed: bool
    reason: str
    """Why it was refused; "" if it was not."""
    latency_ms: float | None
    """Median time of an answer to the input example on one thread."""
    fresh: bool
    """Whether it was done now and not before."""


def validate(registry: Registry, version: ModelVersion, model: Path, *, again: bool) -> Validation:
    """Validate a version and note the result on it.

    Args:
        registry: Where the version is.
        version: The version.
        model: The model folder it was made from.
        again: Ask also if the version was validated before.

    Raises:
        TrackingError: The registry can't be reached: nothing is said about the version.
        RegistryError: Validation itself could not be run.
    """
    if version.state != State.registered and not again:
        latency = version.tags.get(Tag.latency)
        passed = version.state == State.validated
        reason = "" if passed else version.tags.get(Tag.reason, "")
        return Validation(passed, reason, float(latency) if latency else None, fresh=False)
    uri = f"models:/{version.name}/{version.version}"
    with tempfile.TemporaryDirectory() as temporary:
        packaged = _start("packaged", uri, resolved_uri(registry.tracking_uri), Path(temporary) / "packaged.json")
        folder = _start("folder", str(model), "", Path(temporary) / "folder.json")
        try:
            answer, reference = _wait(packaged), _wait(folder)
        finally:
            for process, _ in (packaged, folder):
                process.kill()
                process.wait()
    if isinstance(reference, str):
        raise RegistryError(f"The model in {model} can't be compared with {version.title}: {reference}")
    reason = answer if isinstance(answer, str) else _complaint(answer, reference)
    latency_ms = None if isinstance(answer, str) else float(answer["latency_ms"])
    state = State.rejected if reason else State.validated
    notes = {Tag.state: state, **({Tag.reason: reason} if reason else {})}
    if latency_ms is not None:
        notes[Tag.latency] = f"{latency_ms:.1f}"
    registry.note(version, notes)
    if not reason:
        registry.unnote(version, Tag.reason)
    return Validation(not reason, reason, latency_ms, fresh=True)


def _complaint(answer: dict[str, Any], reference: dict[str, Any]) -> str:
    """What is wrong with the packaged model's answer; "" if nothing is."""
    if answer["rows"] != answer["expected_rows"]:
        return f"It answers {answer['rows']} rows to an example of {answer['expected_rows']}."
    mine, theirs = _flat(answer["logits"]), _flat(reference["logits"])
    if len(mine) != len(theirs):
        return f"It gives {len(mine)} logits where the trained model gives {len(theirs)}."
    if not all(map(math.isfinite, mine)):
        return "Its logits are not finite numbers."
    difference = max((abs(a - b) for a, b in zip(mine, theirs, strict=True)), default=0.0)
    if difference > TOLERANCE:
        return f"Its logits differ from the trained model's by up to {difference:.3g}; {TOLERANCE:g} is allowed."
    return ""


def _flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


Started = tuple["subprocess.Popen[str]", Path]


def _start(kind: str, model: str, tracking_uri: str, answer: Path) -> Started:
    quiet_mlflow()
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONWARNINGS": "ignore"}
    environment["TQDM_DISABLE"] = "1"
    environment["MLFLOW_TRACKING_URI"] = environment["MLFLOW_REGISTRY_URI"] = tracking_uri  # `ps` shows a command line
    command = [sys.executable, "-P", str(Path(__file__).with_name("probe.py")), kind, model, str(answer)]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return process, answer


def _wait(started: Started) -> dict[str, Any] | str:
    """What a probe answered, or in a sentence why it could not."""
    process, answer = started
    try:
        _, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"It did not answer within {_SECONDS:.0f} seconds."
    if process.returncode != 0 or not answer.is_file():
        lines = [line for line in errors.strip().splitlines() if line.strip()]
        told = lines[-1][:500] if lines else "without a word"
        return f"It does not load or answer: {told}"
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found
