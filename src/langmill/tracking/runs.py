"""Runs in MLflow: found by their provenance, or made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmill.errors import TrackingError
from langmill.files import exclusive_lock
from langmill.tracking.addresses import artifact_root, database_path
from langmill.tracking.connection import connect, open_database
from langmill.tracking.explained import explained_tracking_errors, first_line, missing_as_none
from langmill.tracking.pages import NOTE_TAG, experiment_tags

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PROVENANCE_TAG = "langmill.provenance"


def find_run(client: MlflowClient, provenance: str) -> str | None:
    """The id of the run with a provenance, the oldest if there are several; None if there is none.

    Raises TrackingError for what is no provenance.
    """
    if not re.fullmatch(r"[\w.-]+", provenance):
        raise TrackingError(f"{provenance!r} is no provenance: those are letters and digits.", "impossible")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    filter_string = f"tags.`{_PROVENANCE_TAG}` = '{provenance}'"
    runs = client.search_runs(experiments, filter_string, max_results=1, order_by=["attributes.start_time ASC"])
    return str(runs[0].info.run_id) if runs else None


def last_metric(tracking_uri: str, run_id: str, name: str) -> float | None:
    """Read the last value of a run's metric; None if the run or the metric does not exist. Raises as `connect`."""
    client = connect(tracking_uri)
    with explained_tracking_errors(tracking_uri):
        if not has_run(client, run_id):
            return None
        value = client.get_run(run_id).data.metrics.get(name)
    return None if value is None else float(value)


def has_run(client: MlflowClient, run_id: str) -> bool:
    """Whether MLflow has the run and it is not deleted."""
    with missing_as_none() as found:
        found.append(client.get_run(run_id).info.lifecycle_stage)
    return found == ["active"]


def still_there(tracking_uri: str, run_id: str) -> bool:
    """Whether a local database has a run, read without MLflow, whose import takes seconds; else False."""
    path = database_path(tracking_uri)
    if path is None or not path.is_file():
        return False
    with open_database(path, tracking_uri) as database:
        query = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
        return database.execute(query, (run_id,)).fetchone() is not None


def open_run(client: MlflowClient, tracking_uri: str, folder: Path, start: Mapping[str, Any]) -> str:
    """Find the run of a start event by its provenance, or make it; return its id."""
    database = database_path(tracking_uri)
    lock = (database.parent / "locks" if database else folder) / "new-run.lock"
    with exclusive_lock(lock, "Opening a run in MLflow", wait=True):
        found = find_run(client, start["provenance"])
        if found is not None:
            return found
        run = client.create_run(
            _experiment(client, tracking_uri, start["experiment"], description := start.get("description", "")),
            start_time=start["time"],
            tags={_PROVENANCE_TAG: start["provenance"], **({NOTE_TAG: description} if description else {})},
            run_name=start["name"],
        )
        return str(run.info.run_id)


def _experiment(client: MlflowClient, tracking_uri: str, name: str, description: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        root = artifact_root(tracking_uri)
        try:
            place = (root / name).as_uri() if root else None
            return str(client.create_experiment(name, place, experiment_tags(description)))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                reason = first_line(str(error))
                raise TrackingError(f"MLflow refused to make the experiment {name}: {reason}", "refused") from error
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
