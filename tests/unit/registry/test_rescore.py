"""What becomes of a process that scores a champion again and does not come to its end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from langmill.config.sections import Accelerator, Evaluation, Gate
from langmill.errors import SpaceError, TransientError
from langmill.graph.process import Cancelled
from langmill.registry import rescore
from langmill.registry.gathering import Case
from langmill.registry.store import ModelRegistry
from tests.refused import refused
from tests.unit.registry.building import URI
from tests.unit.registry.test_status import version

pytestmark = pytest.mark.unit


def ended(monkeypatch: pytest.MonkeyPatch, code: int, output: str = "", *, cancelled: bool = False) -> str:
    """What is said of a process that ends with a code."""
    cancel = threading.Event()

    def run(command: object, **given: object) -> tuple[int, str]:
        if cancelled:
            cancel.set()
        return code, output

    monkeypatch.setattr(rescore, "run_process", run)
    settings = Gate("accuracy", {}), Evaluation(4096, 100, 0.95, 1, [], 1, None, None)
    case = Case(ModelRegistry(URI), version(), *settings, Path("evaluation"), Path("documents"))
    return rescore.rescore(case, Accelerator.cpu, log=Path("log"), progress=Path("progress"), cancel=cancel)


def test_its_last_line_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, 0, "a warning") == ""
    assert ended(monkeypatch, 1, "a warning\n\nThe model is damaged.\n") == "The model is damaged."
    assert ended(monkeypatch, SpaceError.exit_code, "The disk is full.") == "The disk is full."
    assert ended(monkeypatch, 1, "Traceback\nZeroDivisionError: division by zero") == (
        "ZeroDivisionError: division by zero."
    )


def test_one_that_was_killed_said_nothing_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "killed (SIGKILL), as a machine without memory" in ended(monkeypatch, -9, "half a line")


def test_what_may_pass_by_itself_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(TransientError, "failed", "does not answer"):
        ended(monkeypatch, TransientError.exit_code, "The registry does not answer.")


def test_one_that_was_stopped_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Cancelled):
        ended(monkeypatch, 130, cancelled=True)
