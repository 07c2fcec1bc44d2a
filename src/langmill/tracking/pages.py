"""What MLflow's pages show of our experiments, and the addresses at which they open.

An experiment's kind is one of its tags (MLflow guesses otherwise, and opens on pages for traces of agents); so is a
view that can be linked to, with the columns of its table of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from langmill.files import canonical_json
from langmill.tracking.connection import connect
from langmill.tracking.explained import explained_tracking_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NOTE_TAG = "mlflow.note.content"
"""The tag of an experiment or a run that the pages show as its description, in Markdown."""
_KIND_TAG = "mlflow.experimentKind"
_MODEL_TRAINING = "custom_model_development"
_VIEW = "langmill"
_VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
_MODE = "workflowType=machine_learning"
_ALWAYS = ("attributes.`Created`", "attributes.`Duration`")
_FIRST = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
"""What the table calls the columns before the metrics, where it orders columns."""


def experiment_tags(description: str) -> dict[str, str]:
    """The tags of a new experiment: what kind it is, and what is made in it."""
    return {_KIND_TAG: _MODEL_TRAINING} | ({NOTE_TAG: description} if description else {})


def show_metrics(client: MlflowClient, experiment_id: str, metrics: Sequence[str], description: str = "") -> None:
    """Make metrics the columns of an experiment's view; only what differs is written, and no description of others.

    Args:
        client: Of the server.
        experiment_id: Of the experiment.
        metrics: Names of metrics, the most important one first.
        description: What is made in it.
    """
    columns = {f"metrics.`{name}`": _width(name) for name in metrics}
    view = canonical_json(
        {
            "selectedColumns": [*_ALWAYS, *columns],
            "columnOrder": [*_FIRST, *columns],  # else the alphabet's, and MLflow would leave the widths alone
            "columnWidths": columns,
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
        }
    )
    known = client.get_experiment(experiment_id).tags
    wanted = {**experiment_tags("" if NOTE_TAG in known else description), _VIEW_TAG: view}
    for key, value in wanted.items():
        if known.get(key) != value:
            client.set_experiment_tag(experiment_id, key, value)


def _width(name: str) -> int:
    """The width of a metric's column in pixels, for a baseline's name is long."""
    return 20 + 7 * max(len(name), 11)


def has_view(tags: Mapping[str, str]) -> bool:
    """Whether an experiment with these tags has its columns."""
    return _VIEW_TAG in tags


def experiment_paths(tracking_uri: str) -> dict[str, str]:
    """Where each experiment's runs are in MLflow's pages, by its name, with the columns of its view if it has one.

    Raises as `connect`.
    """
    client = connect(tracking_uri)
    with explained_tracking_errors(tracking_uri):
        found = client.search_experiments()
    return {str(each.name): _runs_path(str(each.experiment_id), each.tags) for each in found}


def _runs_path(experiment_id: str, tags: Mapping[str, str]) -> str:
    view = f"&viewStateShareKey={_VIEW}" if has_view(tags) else ""
    return f"/#/experiments/{experiment_id}/runs?{_MODE}{view}"


def experiments_path() -> str:
    """Where the list of experiments is in MLflow's pages."""
    return f"/#/experiments?{_MODE}"


def model_path(name: str) -> str:
    """Where a registered model is in MLflow's pages."""
    return f"/#/models/{quote(name, safe='')}?{_MODE}"
