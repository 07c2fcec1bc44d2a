from __future__ import annotations

import errno

import pytest

from langmill.registry import probe
from langmill.registry.probe import is_machines_fault, timed

pytestmark = pytest.mark.unit


def caused(cause: BaseException, *, suppressed: bool) -> Exception:
    """An error that wraps another one."""
    try:
        try:
            raise cause
        except BaseException as error:
            if suppressed:
                raise ValueError("can't load the model") from error
            raise ValueError("can't load the model")  # noqa: B904
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        TimeoutError(),
        ConnectionRefusedError(),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_what_the_machine_lacks_is_not_the_models_fault(error: Exception) -> None:
    assert is_machines_fault(error)
    for suppressed in (True, False):
        assert is_machines_fault(caused(error, suppressed=suppressed))


@pytest.mark.parametrize(
    "error",
    [ValueError("not a model"), FileNotFoundError(errno.ENOENT, "gone"), RuntimeError("size mismatch"), KeyError("x")],
)
def test_what_the_model_lacks_is(error: Exception) -> None:
    assert not is_machines_fault(error)
    assert not is_machines_fault(caused(error, suppressed=True))


@pytest.mark.parametrize(("seconds", "times"), [(0.1, 5), (0.4, 3), (30.0, 1)])
def test_a_slow_model_is_asked_less_often(monkeypatch: pytest.MonkeyPatch, seconds: float, times: int) -> None:
    clock, asked = [0.0], []

    def answer() -> str:
        clock[0] += seconds
        asked.append(seconds)
        return "rows"

    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    assert timed(answer) == ("rows", pytest.approx(1000 * seconds))
    assert len(asked) == times
