"""Prefect's own records of the runs: whose each is, and whether its process is still there."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from langmill.files import sha256_bytes

PREFECT_ERRORS = (PrefectException, httpx.HTTPError)
"""What talking to Prefect's server raises."""
_PROCESS_TAG = "langmill-process"
_SAME_START_SECONDS = 5.0  # the system tells when a process began relative to a clock that may be set meanwhile
logger = logging.getLogger("langmill.flow")


def _workspace_tag() -> str:
    """The tag of this workspace's runs: a colleague's runs on the same Prefect server have another one."""
    place = f"{socket.gethostname()}:{Path.cwd().resolve()}"
    return f"langmill-workspace:{sha256_bytes(place.encode())[:16]}"


def tag_run() -> None:
    """Tag this run with the workspace and the process that it works in."""
    own = psutil.Process()
    tags = [_workspace_tag(), f"{_PROCESS_TAG}:{own.pid}:{own.create_time():.0f}"]
    with get_client(sync_client=True) as client, suppress_prefect_errors("tagging the run"):
        client.update_flow_run(UUID(runtime.flow_run.id), tags=[*runtime.flow_run.tags, *tags])


def mark_crashed(flow: str) -> None:
    """Mark as crashed the runs of a flow in this workspace that a `kill -9` left "running": their process is gone."""
    with get_client(sync_client=True) as client, suppress_prefect_errors("marking runs whose process was killed"):
        found = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
                tags=FlowRunFilterTags(all_=[_workspace_tag()]),
            ),
            sort=FlowRunSort.START_TIME_DESC,
            limit=100,
        )
        for run in found:
            if not any(_is_alive(tag) for tag in run.tags):
                client.set_flow_run_state(run.id, Crashed(message="The process was killed."), force=True)


def _is_alive(tag: str) -> bool:
    """Whether a run's tag names a process of this machine that is still there, and not another one with its number."""
    name, _, rest = tag.partition(":")
    pid, _, began = rest.partition(":")
    try:
        return name == _PROCESS_TAG and abs(psutil.Process(int(pid)).create_time() - float(began)) < _SAME_START_SECONDS
    except (psutil.NoSuchProcess, ValueError):
        return False
    except psutil.Error:  # another user's
        return True


@contextlib.contextmanager
def suppress_prefect_errors(what: str) -> Iterator[None]:
    """Let what only Prefect's pages need fail without failing the run; `what` goes to the log with the trace."""
    try:
        yield
    except PREFECT_ERRORS:
        logger.warning("%s failed", what, exc_info=True)
