"""How much of a figure is luck: bootstrap intervals, and paired comparisons on the same examples.

As many examples as there are in the test set are drawn from it, with replacement; a figure is computed for each of many
such resamples, and the interval is what holds the middle share of them (the percentile method; Efron and Tibshirani,
1993, chapter 13). Two models are compared on the *same* resamples (Koehn, 2004), so that what makes an example hard for
both does not blur their difference.

Shape suffixes: R resamples, N examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from langmill.config.sections import Evaluation
from langmill.errors import EvaluationError
from langmill.tasks.base import Metric, Task

_CHUNK_BYTES = 32 * 1024 * 1024  # of weights in memory at once; about four arrays of this size are alive together


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that its resamples lie in."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """How much better one model is than another on the same examples."""

    metric: str
    challenger: float
    champion: float
    improvement: Estimate
    """Challenger against champion in the metric's unit; above zero is better, whichever way the metric points."""
    p_value: float
    """Share of resamples in which the challenger is not better, one-sided, never below 1 / (resamples + 1)."""
    examples: int

    def beats(self, min_effect: float) -> bool:
        """Whether the whole interval lies beyond an effect."""
        return self.improvement.low > min_effect


def resample_weights(seed: int, samples: int, examples: int) -> Iterator[np.ndarray]:
    """How often each example is drawn in each resample, in chunks `(R, N)` that add up to `samples` rows.

    Equal arguments give equal weights; the chunks only keep memory small.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    rows_at_once = max(1, _CHUNK_BYTES // (8 * examples))
    for start in range(0, samples, rows_at_once):
        rows = min(rows_at_once, samples - start)
        drawn = random.integers(examples, size=(rows, examples))
        drawn += np.arange(rows)[:, None] * examples
        yield np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples).astype(np.float64)


def plain_figures(task: Task, scores: pa.Table) -> dict[str, float]:
    """Every metric over all examples.

    Raises:
        EvaluationError: There are no examples, or a figure is not a finite number.
    """
    if scores.num_rows == 0:
        raise EvaluationError(
            "There are no test documents to score; add documents, raise split.test, or check the labels."
        )
    figures = {name: float(values[0]) for name, values in task.measure(scores, np.ones((1, scores.num_rows))).items()}
    broken = [name for name, value in figures.items() if not np.isfinite(value)]
    if broken:
        raise EvaluationError(
            f"The model's {', '.join(broken)} on the test documents is not a finite number: its weights are of no use. "
            "Train it again, with a lower learning rate."
        )
    return figures


def estimate(task: Task, scores: pa.Table, evaluation: Evaluation) -> dict[str, Estimate]:
    """Every metric with its interval.

    Raises:
        EvaluationError: As `plain_figures`.
    """
    values = plain_figures(task, scores)
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for weights_RN in resample_weights(evaluation.seed, evaluation.bootstrap_samples, scores.num_rows):
        for name, figures in task.measure(scores, weights_RN).items():
            resampled[name].append(figures)
    return {
        name: _with_interval(value, np.concatenate(resampled[name]), evaluation.confidence)
        for name, value in values.items()
    }


def compare(
    task: Task, challenger: pa.Table, champion: pa.Table, metric_name: str, evaluation: Evaluation
) -> Comparison:
    """A paired bootstrap of the difference of one metric.

    Args:
        task: The task that both were scored in.
        challenger: Scores of the one that wants to be better.
        champion: Scores of the other (or of a baseline) on the same examples, in any order.
        metric_name: One of the task's metrics.
        evaluation: Resamples, seed and confidence.

    Raises:
        EvaluationError: The two were scored on other examples, or the task has no such metric.
    """
    metric = find_metric(task, metric_name)
    champion = _aligned(challenger, champion)
    sign = 1.0 if metric.higher_is_better else -1.0
    new, old = plain_figures(task, challenger)[metric_name], plain_figures(task, champion)[metric_name]
    differences = np.concatenate(
        [
            sign * (task.measure(challenger, weights_RN)[metric_name] - task.measure(champion, weights_RN)[metric_name])
            for weights_RN in resample_weights(evaluation.seed, evaluation.bootstrap_samples, challenger.num_rows)
        ]
    )
    not_better = int(np.count_nonzero(differences <= 0))
    return Comparison(
        metric_name,
        new,
        old,
        _with_interval(sign * (new - old), differences, evaluation.confidence),
        (not_better + 1) / (len(differences) + 1),
        challenger.num_rows,
    )


def find_metric(task: Task, name: str) -> Metric:
    """A metric of a task by its name.

    Raises:
        EvaluationError: The task has no such metric.
    """
    for metric in task.metrics:
        if metric.name == name:
            return metric
    raise EvaluationError(
        f"There is no metric {name!r}; the task has {', '.join(metric.name for metric in task.metrics)}."
    )


def _with_interval(value: float, resampled: np.ndarray, confidence: float) -> Estimate:
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def _aligned(challenger: pa.Table, champion: pa.Table) -> pa.Table:
    """The champion's rows in the order of the challenger's."""
    wanted, there = challenger["id"].to_pylist(), champion["id"].to_pylist()
    if wanted == there:
        return champion
    place = {name: index for index, name in enumerate(there)}
    if len(wanted) != len(there) or len(place) != len(there) or set(place) != set(wanted):
        raise EvaluationError(
            f"The two score tables are of other test sets ({len(wanted):,} and {len(there):,} examples, "
            f"{len(set(place) & set(wanted)):,} in common); score both models on the same documents."
        )
    return champion.take(pa.array([place[name] for name in wanted]))
