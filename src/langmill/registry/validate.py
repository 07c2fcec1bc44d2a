"""Does a registered version load, answer, and say what the trained model says? The registry itself never asks.

The version's files are fetched and compared with their manifests. Then two fresh processes load it side by side: one
through MLflow with pickle disallowed and with the package's own code, one through Langmill's loader from the folder
that was trained. Both score the same fixed tokens. A version that fails is marked and can't become champion.

What says nothing about the version (no time, no memory, no room, no registry) neither passes nor fails it: it stays as
it was, with the reason noted, and is asked again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from langmill.errors import IntegrityError, RegistryError, SpaceError, TransientError, UndecidedError
from langmill.files import temporary_folder
from langmill.registry.probe import UNDECIDED
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import ModelVersion, State, Tag
from langmill.tracking.connection import quiet_mlflow

TOLERANCE = 1e-5
"""Largest allowed difference between two logits."""
_SECONDS = 300.0
_KILLED = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU}
"""Signals that come from outside, the kernel's out-of-memory killer among them; a crash of its own is another one."""


class Outcome(StrEnum):
    """What validation came to."""

    passed = "passed"
    failed = "failed"
    undecided = "undecided"


@dataclass(frozen=True)
class Validation:
    """What validation said of a version."""

    outcome: Outcome
    reason: str
    """Why it did not pass; "" if it did."""
    fresh: bool
    """Whether it was done now and not before."""


class _Refused(Exception):
    """A process says that its model is broken."""


def validate(registry: ModelRegistry, version: ModelVersion, model: Path, *, again: bool) -> Validation:
    """Validate a version, made from the folder `model`, and note the result on it.

    With `again` also one that was validated before; one that could not be decided on is always asked again.

    Raises:
        TrackingError: The registry can't be reached: nothing is said about the version.
        RegistryError: The model folder can't be compared with.
    """
    if version.state != State.registered and not again:
        outcome = Outcome.passed if version.state == State.validated else Outcome.failed
        return Validation(outcome, version.tags.get(Tag.reason, ""), fresh=False)
    try:
        answer, reference = _ask(registry, version, model)
    except (TransientError, SpaceError) as error:
        if version.state == State.registered:  # what was decided before stands
            registry.note(version, {Tag.reason: str(error)})
        return Validation(Outcome.undecided, str(error), fresh=True)
    except _Refused as error:
        reason, notes = str(error), {}
    else:
        # The median time of a short answer to the input example, on one thread.
        reason, notes = _complaint(answer, reference), {Tag.latency: f"{answer['latency_ms']:.1f}"}
    if reason:
        registry.note(version, {**notes, Tag.state: State.rejected, Tag.reason: reason})
        return Validation(Outcome.failed, reason, fresh=True)
    registry.note(version, {**notes, Tag.state: State.validated})
    registry.unnote(version, Tag.reason)
    return Validation(Outcome.passed, "", fresh=True)


def _ask(registry: ModelRegistry, version: ModelVersion, model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the packaged model answers, and what the trained one does."""
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(temporary_folder())
        started = {}

        def start(kind: str, folder: Path) -> None:
            answer = temporary / f"{kind}.json"
            started[kind] = _start(kind, folder, answer), answer
            stack.callback(_end, started[kind][0])

        start("folder", model)  # and reads it while the package is fetched and compared with its manifests
        try:
            package = stack.enter_context(registry.package(version))
        except (IntegrityError, RegistryError) as error:
            raise _Refused(f"It does not load or answer: {error}") from error
        start("packaged", package)
        try:
            reference = _answer(*started["folder"])
        except _Refused as error:
            raise RegistryError(
                f"The model in {model} can't be compared with {version.title}: {error}", "failed"
            ) from error
        return _answer(*started["packaged"]), reference


def _complaint(answer: dict[str, Any], reference: dict[str, Any]) -> str:
    """What is wrong with the packaged model's answer; "" if nothing is."""
    if answer["rows"] != answer["expected_rows"]:
        return f"It answers {answer['rows']} rows to an example of {answer['expected_rows']}."
    mine, theirs = (list(itertools.chain(*asked["logits"])) for asked in (answer, reference))
    if len(mine) != len(theirs):
        return f"It gives {len(mine)} logits where the trained model gives {len(theirs)}."
    if not all(map(math.isfinite, mine)):
        return "Its logits are not finite numbers."
    difference = max((abs(a - b) for a, b in zip(mine, theirs, strict=True)), default=0.0)
    if difference > TOLERANCE:
        return f"Its logits differ from the trained model's by up to {difference:.3g}; {TOLERANCE:g} is allowed."
    return ""


def _start(kind: str, model: Path, answer: Path) -> subprocess.Popen[str]:
    quiet_mlflow()
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONWARNINGS": "ignore"}
    environment |= {"TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # a package may be read where it lies
    command = [sys.executable, "-P", str(Path(__file__).with_name("probe.py")), kind, str(model), str(answer)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _answer(process: subprocess.Popen[str], answer: Path) -> dict[str, Any]:
    """What a probe wrote into its file."""
    try:
        _, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UndecidedError(f"It did not answer within {_SECONDS:.0f} seconds.") from error
    code = process.returncode
    if -code in _KILLED:
        raise UndecidedError(
            f"Its process was killed from outside ({signal.Signals(-code).name}), as a machine without memory does."
        )
    if code != 0 or not answer.is_file():
        lines = [line for line in errors.strip().splitlines() if line.strip()]
        said = lines[-1][:500] if lines else f"its process ended with code {code}"
        if code == UNDECIDED:
            raise UndecidedError(f"It could not be asked: {said}")
        raise _Refused(f"It does not load or answer: {said}")
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found
