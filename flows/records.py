"""Prefect's own records of the runs: whose each is, and whether its process is still there."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from langmill.events import LOG_VARIABLE
from langmill.files import sha256_bytes

PREFECT_ERRORS = (PrefectException, httpx.HTTPError)
"""What talking to Prefect's server raises."""
_PROCESS = "langmill-process"
"""The label of a run with its process; a tag of runs that older versions began."""
_LOG = "langmill-log"
"""The label with the file of its log."""
_SAME_START_SECONDS = 5.0  # the system tells when a process began relative to a clock that may be set meanwhile
logger = logging.getLogger("langmill.flow")


def _workspace_tags() -> list[str]:
    """The tag of this workspace's runs, and the one that older versions gave them.

    A colleague's runs on the same Prefect server have another one: the folder's name is for people.
    """
    folder = Path.cwd().resolve()
    digest = sha256_bytes(f"{socket.gethostname()}:{folder}".encode())
    return [f"{folder.name}-{digest[:8]}", f"langmill-workspace:{digest[:16]}"]


def tag_run() -> None:
    """Tag this run with its workspace, and label it with its process and its log, which the pages don't show."""
    own, log = psutil.Process(), os.environ.get(LOG_VARIABLE)
    labels = {_PROCESS: f"{own.pid}:{own.create_time():.0f}", **({_LOG: log} if log else {})}
    with get_client(sync_client=True) as client, suppress_prefect_errors("tagging the run"):
        run = UUID(runtime.flow_run.id)
        client.update_flow_run_labels(run, labels)  # before the tag, by which others find it and ask for its process
        client.update_flow_run(run, tags=[*runtime.flow_run.tags, _workspace_tags()[0]])


def mark_crashed(flow: str) -> None:
    """Mark as crashed the runs of a flow in this workspace that a `kill -9` left "running": their process is gone."""
    with get_client(sync_client=True) as client, suppress_prefect_errors("marking runs whose process was killed"):
        found = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
                tags=FlowRunFilterTags(any_=_workspace_tags()),
            ),
            sort=FlowRunSort.START_TIME_DESC,
            limit=100,
        )
        for run in found:
            processes = [tag.removeprefix(f"{_PROCESS}:") for tag in run.tags if tag.startswith(f"{_PROCESS}:")]
            if not any(map(_is_alive, [*processes, str(run.labels.get(_PROCESS, ""))])):
                _mark_crashed(client, run)


def _mark_crashed(client: SyncPrefectClient, run: FlowRun) -> None:
    """Say of a run, and of what was at work in it, that the process is gone."""
    running = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
        ),
        sort=TaskRunSort.NAME_ASC,
        limit=100,
    )
    while_at = f" during {', '.join(sorted(each.name for each in running))}" if running else ""
    why = f"The process was killed, or the machine went down{while_at}. The next run resumes from there."
    log = run.labels.get(_LOG)
    message = f"{why} {log_sentence(str(log) if log else None)}".rstrip()
    client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    for each in running:
        client.set_task_run_state(each.id, Crashed(message="The process was killed."), force=True)


def log_sentence(log: str | None) -> str:
    """Where a run's log is, as seen from the workspace; "" where it has none."""
    if log is None:
        return ""
    path = Path(log)
    return f"The log is {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}."


def _is_alive(process: str) -> bool:
    """Whether a process of this machine, as `PID:START`, is still there, and not another one with its number."""
    pid, _, began = process.partition(":")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(began)) < _SAME_START_SECONDS
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
