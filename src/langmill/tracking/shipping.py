"""Sends a run's events to MLflow: each arrives exactly once.

The offset of the events sent is kept beside them and advanced only after the server has confirmed. A process that dies
in between sends its last batch again; each value is sent with the time and step at which it was logged, and MLflow's
store keeps one of equal (name, time, step, value). The run itself is found again by its provenance tag, so it is not
made twice either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmill.errors import TrackingError
from langmill.files import canonical_json, exclusive_lock, write_json
from langmill.tracking.addresses import public_address
from langmill.tracking.connection import connect
from langmill.tracking.events import EVENTS_NAME, FILES_NAME, events_from, read_events
from langmill.tracking.explained import explained_tracking_errors
from langmill.tracking.pages import NOTE_TAG, show_metrics
from langmill.tracking.runs import has_run, open_run, still_there

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_STATE_NAME = "shipped.json"
_BATCH_METRICS = 500  # MLflow takes 1,000 in one call


@dataclass
class _Shipped:
    """The events that a server has."""

    tracking_uri: str
    """Without user and password."""
    run_id: str
    offset: int
    """Bytes of the events that were sent."""


def ship(folder: Path, tracking_uri: str) -> str:
    """Send the events that MLflow does not have yet of the run in `folder`; return the run's id.

    Raises TrackingError where the server can't be reached or refused; the events that were not sent are kept.
    """
    run_id = ship_if_begun(folder, tracking_uri)
    if run_id is None:
        raise TrackingError(f"{folder} holds no run: nothing was logged there.", "missing")
    return run_id


def ship_if_begun(folder: Path, tracking_uri: str) -> str | None:
    """Do as `ship`; return None if nothing was logged yet.

    MLflow, whose import takes seconds, is not imported if a local database has everything.
    """
    path = folder / EVENTS_NAME
    if not path.is_file():
        return None
    with exclusive_lock(folder / "ship.lock", "Sending a run to MLflow", wait=True):
        state = _read_state(folder, tracking_uri)
        if state is not None and not read_events(path, state.offset)[0] and still_there(tracking_uri, state.run_id):
            return state.run_id
        client = connect(tracking_uri)
        with explained_tracking_errors(tracking_uri):
            if state is None or not has_run(client, state.run_id):
                start = next((event for event in read_events(path, 0)[0] if event["kind"] == "start"), None)
                if start is None:
                    return None
                state = _Shipped(public_address(tracking_uri), open_run(client, tracking_uri, folder, start), 0)
                write_json(folder / _STATE_NAME, vars(state))
            _send(client, folder, state)
        return state.run_id


def _read_state(folder: Path, tracking_uri: str) -> _Shipped | None:
    try:
        state = _Shipped(**json.loads((folder / _STATE_NAME).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # sending all of it again is safe
    size = (folder / EVENTS_NAME).stat().st_size
    return state if state.tracking_uri == public_address(tracking_uri) and state.offset <= size else None


def _send(client: MlflowClient, folder: Path, state: _Shipped) -> None:
    """Send the events from `state.offset` on, advancing it with every batch that arrived."""
    from mlflow.entities import Metric

    waiting: list[Metric] = []
    not_finite: dict[str, str] = {}

    def flush(offset: int) -> None:
        if waiting:
            client.log_batch(state.run_id, metrics=waiting)
            waiting.clear()
        for name, value in not_finite.items():
            client.set_tag(state.run_id, f"langmill.not_finite.{name}", value)
        not_finite.clear()
        if offset != state.offset:
            state.offset = offset
            write_json(folder / _STATE_NAME, vars(state))

    offset = state.offset
    for event, end in events_from(folder / EVENTS_NAME, offset):
        if event.get("kind") == "metrics":
            if len(waiting) + len(event["values"]) > _BATCH_METRICS:
                flush(offset)
            for name, value in event["values"].items():
                if isinstance(value, str):
                    not_finite[name] = f"{value} at step {event['step']}"
                else:
                    waiting.append(Metric(name, value, event["time"], event["step"]))
        elif event:
            flush(offset)
            _send_other(client, folder, state.run_id, event)
        offset = end
    flush(offset)


def _send_other(client: MlflowClient, folder: Path, run_id: str, event: Mapping[str, Any]) -> None:
    """Send an event that is not a metric; sending it twice changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    match event["kind"]:
        case "start":
            _send_params(client, run_id, event["params"])
            for key, value in event["tags"].items():
                client.set_tag(run_id, key, value)
        case "file":
            path = folder / FILES_NAME / event["name"]
            parent = Path(event["name"]).parent.as_posix()
            if path.is_file():
                client.log_artifact(run_id, str(path), None if parent == "." else parent)
        case "dataset":
            source = canonical_json({"source": event["source"]})
            data = Dataset(name=event["name"], digest=event["digest"][:36], source_type="langmill", source=source)
            tags = [InputTag("mlflow.data.context", event["context"])]
            client.log_inputs(run_id, [DatasetInput(data, tags)])
        case "show":
            client.set_tag(run_id, NOTE_TAG, event["card"])
            show_metrics(client, client.get_run(run_id).info.experiment_id, event["metrics"])
        case "resume":
            client.update_run(run_id, "RUNNING")
        case "finish":
            if event.get("reason"):
                client.set_tag(run_id, "langmill.reason", event["reason"])
            client.set_terminated(run_id, event["status"], event["time"])


def _send_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Send settings; one that MLflow has with another value becomes a tag, since MLflow refuses to change it."""
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params
    fresh = [Param(key, value) for key, value in params.items() if key not in known]
    others = {key: value for key, value in params.items() if known.get(key, value) != value}
    changed = [RunTag(f"langmill.later.{key}", value) for key, value in others.items()]
    for start in range(0, max(len(fresh), len(changed)), 100):
        client.log_batch(run_id, params=fresh[start : start + 100], tags=changed[start : start + 100])
