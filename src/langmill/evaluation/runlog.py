"""An evaluation's metrics and plots in the run of the model that it judges."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.errors import EvaluationError, TrackingError
from langmill.evaluation.card import card, columns
from langmill.evaluation.estimates import METRICS_NAME, Metrics
from langmill.evaluation.folder import PLOTS_NAME, REPORT_NAME
from langmill.files import read_json, read_manifest
from langmill.tracking.events import EVENTS_NAME, read_events
from langmill.tracking.run_log import RunLog
from langmill.tracking.shipping import ship

ARTIFACTS = "evaluation"
"""The folder among the run's artifacts."""
DATA_ARTIFACTS = "data"
"""That of what is said of the corpus."""
SPEED = "evaluation_tokens_per_second"
"""The run's metric of how fast answers were written to be judged, several side by side."""
_TRAINING = ("validation/loss", "train/loss", "tokens_per_second", "training_minutes")
"""What training logs of every model that one compares runs by."""
_LONGEST_NAME = 250  # MLflow's MAX_ENTITY_KEY_LENGTH
_logger = logging.getLogger(__name__)


def log_evaluation(
    folder: Path,
    corpus: str,
    run_folder: Path,
    tracking_uri: str,
    *,
    tokens_per_second: float | None = None,
    data_report: Path | None = None,
) -> None:
    """Add an evaluation to the model's run, and send it to MLflow if that answers.

    `tokens_per_second` is how fast the model wrote, which is no metric of it; None where it wrote nothing.
    `data_report` is the page of the corpus's data report, for those who look at the run; a file that is not there is
    left out.

    A tracking server that does not answer is no failure: the metrics stay in the run's folder, and the next shipment
    sends them. A second evaluation of the same model is logged as a further step of each metric.
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
    values = run_metrics(read_json(folder / METRICS_NAME))
    step = _next_step(run_folder, values)
    if step is not None:
        run.metrics(values, step)
        if tokens_per_second is not None:
            run.metrics({SPEED: tokens_per_second}, step)
    metrics = Metrics.read(folder)
    run.show(
        card(run.description, metrics, {"trained on": corpus}),
        [*(_name(*parts) for parts in columns(metrics)), *_TRAINING],
    )
    run.artifact(folder / METRICS_NAME, ARTIFACTS)
    run.artifact(folder / REPORT_NAME, ARTIFACTS)
    run.artifact(folder / PLOTS_NAME, f"{ARTIFACTS}/{PLOTS_NAME}")
    if data_report is not None and data_report.is_file():
        run.artifact(data_report, DATA_ARTIFACTS)
    run.finish()  # said already, unless the run was made here
    try:
        ship(run_folder, tracking_uri)
    except TrackingError as error:
        _logger.warning("The evaluation is not in MLflow yet; it is kept in %s. %s", run_folder, error)


def run_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a `metrics.json` under names that MLflow takes, as in `test/unigram/bits_per_byte`.

    A metric whose name is too long for MLflow stays in `metrics.json` alone, with a warning. Raises EvaluationError
    where two metrics have the same name.
    """
    found: dict[str, float] = {}

    def add(*parts: str, value: float) -> None:
        name = _name(*parts)
        if name in found:
            raise EvaluationError(f"Two metrics would be {name} in MLflow; rename a label or a metric.", "duplicate")
        if len(name) > _LONGEST_NAME:
            _logger.warning("The metric %s stays out of MLflow, whose names end at %d letters.", parts, _LONGEST_NAME)
        else:
            found[name] = value

    for name, estimate in metrics.items():
        if isinstance(estimate, Mapping) and "value" in estimate:
            add(name, value=estimate["value"])
            add(name, "low", value=estimate["low"])
            add(name, "high", value=estimate["high"])
    for baseline, estimates in metrics["baselines"].items():
        for name, estimate in estimates.items():
            if isinstance(estimate, Mapping):
                add(baseline, name, value=estimate["value"])
    return found


def _name(*parts: str) -> str:
    return "/".join(["test", *map(tracked_name, parts)])


def tracked_name(name: str) -> str:
    """A metric's name, a label in it perhaps, in characters that MLflow takes: `f1_C#` becomes `f1_C.23.`.

    What MLflow refuses, the slash (which parts names) and the point itself become their code point in hexadecimal
    between two points, so that other names stay other ones.
    """
    return re.sub(r"[^\w\- ]", lambda found: f".{ord(found[0]):x}.", name, flags=re.ASCII)


def _next_step(run_folder: Path, values: Mapping[str, float]) -> int | None:
    """The step to log metrics at; None if the last evaluation had the same ones."""
    for event in reversed(read_events(run_folder / EVENTS_NAME, 0)[0]):
        if event["kind"] == "metrics" and not values.keys().isdisjoint(event["values"]):
            return None if event["values"] == values else int(event["step"]) + 1
    return 0
