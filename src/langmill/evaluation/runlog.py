"""An evaluation's figures and pictures in the run of the model that it judges."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.errors import TrackingError
from langmill.evaluation.evaluate import METRICS_NAME, PLOTS_NAME, REPORT_NAME
from langmill.files import read_json, read_manifest
from langmill.tracking import EVENTS_NAME, RunLog, read_events, ship

ARTIFACTS = "evaluation"
"""The folder among the run's artifacts."""
_logger = logging.getLogger(__name__)


def log_evaluation(folder: Path, corpus: str, run_folder: Path, tracking_uri: str) -> None:
    """Add an evaluation to the model's run, and send it to MLflow if that answers.

    A tracking server that does not answer is no failure: the figures stay in the run's folder, and the next shipment
    sends them. A second evaluation of the same model is logged as a further step of each figure.

    Args:
        folder: What `write_evaluation` wrote.
        corpus: The corpus that the test documents are of.
        run_folder: The run's own folder, `.langmill/runs/PROVENANCE`.
        tracking_uri: MLflow's address.
    """
    manifest = read_manifest(folder, verify=False)
    run = RunLog(run_folder)
    # A model that came out of DVC's cache has no log here; its run is found by the provenance, or made.
    run.start(
        experiment=manifest["recipe"],
        name=f"{manifest['recipe']}-{manifest['provenance'][:8]}",
        provenance=manifest["provenance"],
        params={},
        tags={"langmill.recipe": manifest["recipe"]},
    )
    run.dataset(corpus, manifest["test_set"], "the documents of the test split", "evaluation")
    figures = run_metrics(read_json(folder / METRICS_NAME))
    step = _next_step(run_folder, figures)
    if step is not None:
        run.metrics(figures, step)
    run.artifact(folder / METRICS_NAME, ARTIFACTS)
    run.artifact(folder / REPORT_NAME, ARTIFACTS)
    run.artifact(folder / PLOTS_NAME, f"{ARTIFACTS}/{PLOTS_NAME}")
    run.finish()  # said already, unless the run was made here
    try:
        ship(run_folder, tracking_uri)
    except TrackingError as error:
        _logger.warning("The evaluation is not in MLflow yet; it is kept in %s. %s", run_folder, error)


def run_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a `metrics.json` under names that MLflow takes, as in `test/unigram/bits_per_byte`."""
    found: dict[str, float] = {}
    for name, figure in metrics.items():
        if isinstance(figure, Mapping) and "value" in figure:
            found[f"test/{name}"] = figure["value"]
            found[f"test/{name}/low"] = figure["low"]
            found[f"test/{name}/high"] = figure["high"]
    for baseline, figures in metrics["baselines"].items():
        for name, figure in figures.items():
            if isinstance(figure, Mapping):
                found[f"test/{baseline}/{name}"] = figure["value"]
    return {re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII): value for name, value in found.items()}


def _next_step(run_folder: Path, figures: Mapping[str, float]) -> int | None:
    """The step to log figures at; None if the last evaluation had the same ones."""
    events, _ = read_events(run_folder / EVENTS_NAME, 0)
    earlier = [
        event for event in events if event["kind"] == "metrics" and any(name in event["values"] for name in figures)
    ]
    if not earlier:
        return 0
    if earlier[-1]["values"] == figures:
        return None
    return int(earlier[-1]["step"]) + 1
