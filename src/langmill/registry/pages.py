"""MLflow's pages of the models that are registered."""

from __future__ import annotations

from langmill.registry.store import ModelRegistry
from langmill.registry.versions import Tag
from langmill.tracking.connection import connect
from langmill.tracking.explained import explained_tracking_errors, missing_as_none
from langmill.tracking.pages import has_view, show_metrics


def show_champions(tracking_uri: str) -> list[str]:
    """Give the experiments of versions that an alias names their columns, where they have none; return the models.

    Experiments that were made before evaluations said what is to be shown (`RunLog.show`) get the deciding metric and
    its baselines. Raises TrackingError where the server can't be asked.
    """
    registry = ModelRegistry(tracking_uri)
    versions = registry.overview()
    client = connect(tracking_uri)
    for version in versions:
        if version.run_id is None or version.decides is None:
            continue
        with explained_tracking_errors(tracking_uri), missing_as_none() as found:
            found.append(client.get_experiment(client.get_run(version.run_id).info.experiment_id))
        if found and not has_view(found[0].tags):
            metric = version.decides[0]
            baselines = [
                version.tags[tag].rpartition(" ")[0] for tag in (Tag.strong, Tag.trivial) if tag in version.tags
            ]
            names = [f"test/{metric}", *(f"test/{name}/{metric}" for name in baselines), "validation/loss"]
            with explained_tracking_errors(tracking_uri):
                show_metrics(client, found[0].experiment_id, names, version.description)
    return sorted({version.name for version in versions})
