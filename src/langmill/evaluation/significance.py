"""How much of a metric is luck: bootstrap intervals, and paired comparisons on the same examples.

What is drawn, with replacement, is the groups that the split kept together (documents of one book are alike); where it
kept none, each document is its own. The metric is computed for each of many such resamples. The interval is what holds
the middle share of them, widened for few groups as Student's t is wider than the normal (the expanded percentile
interval; Hesterberg, 2015): the plain percentiles are too narrow there. Two models are compared on the
*same* resamples (Koehn, 2004), so that what makes an example hard for both does not blur their difference.

A bootstrap of few or two-valued scores is no test: two models that guess "beat" each other too often. So one that is
called better must also pass a permutation test (Fisher, 1935; Noreen, 1989): if the two were alike, each group's scores
could as well be swapped between them. With few groups all swaps are counted; with more, as many as there are resamples
are drawn, and the observed one counts among them (Phipson & Smyth, 2010). Both are exact: for a metric of right and
wrong answers, where every document is its own group, the first is McNemar's exact test.

Shape suffixes: R resamples, N examples, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from langmill.config.sections import Evaluation
from langmill.errors import EvaluationError
from langmill.evaluation.estimates import Comparison, Estimate
from langmill.scoring.base import Metric, Scorer

GROUP = "group"
"""The score table's column with each document's group; null, or no such column, where a document is its own."""
_CHUNK_BYTES = 32 * 1024 * 1024  # of weights in memory at once; about four arrays of this size are alive together
_EQUAL = 1e-9  # gains closer than this, relative to their size, are the same one, summed in another order


def groups_of(scores: pa.Table) -> tuple[np.ndarray, int]:
    """The number of each example's group, `(N,)` from 0, and how many groups there are."""
    if GROUP not in scores.column_names:
        return np.arange(scores.num_rows), scores.num_rows
    numbers: dict[str | int, int] = {}
    names = [index if name is None else name for index, name in enumerate(scores[GROUP].to_pylist())]
    group_N = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
    return group_N, len(numbers)


def resample_weights(seed: int, samples: int, drawn: int, wide: int | None = None) -> Iterator[np.ndarray]:
    """How often each of `drawn` things is drawn in each resample, in chunks `(R, drawn)` of `samples` rows together.

    Equal arguments give equal weights. The chunks keep memory small; `wide` is what a row will be spread to.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    for rows in _chunks(samples, wide or drawn):
        chosen = random.integers(drawn, size=(rows, drawn))
        chosen += np.arange(rows)[:, None] * drawn
        yield np.bincount(chosen.ravel(), minlength=rows * drawn).reshape(rows, drawn).astype(np.float64)


def _chunks(samples: int, wide: int) -> Iterator[int]:
    rows_at_once = max(1, _CHUNK_BYTES // (8 * wide))
    for start in range(0, samples, rows_at_once):
        yield min(rows_at_once, samples - start)


def _resampled(scores: pa.Table, evaluation: Evaluation) -> Iterator[np.ndarray]:
    """The weights of the examples in each resample of their groups, `(R, N)`."""
    group_N, groups = groups_of(scores)
    drawn = resample_weights(evaluation.seed, evaluation.bootstrap_samples, groups, scores.num_rows)
    for weights_RG in drawn:
        yield weights_RG if groups == scores.num_rows else weights_RG[:, group_N]


def plain_values(scorer: Scorer, scores: pa.Table) -> dict[str, float]:
    """Every metric over all examples. Raises EvaluationError without examples, or where one is not finite."""
    if scores.num_rows == 0:
        raise EvaluationError("There are no test documents to score; add some, or raise split.test.", "too_few")
    values = {name: float(values[0]) for name, values in scorer.measure(scores, np.ones((1, scores.num_rows))).items()}
    broken = [name for name, value in values.items() if not np.isfinite(value)]
    if broken:
        raise EvaluationError(
            f"The model's {', '.join(broken)} on the test documents is not a finite number. Train it again, with a "
            "lower learning rate.",
            "diverged",
        )
    return values


def estimate(scorer: Scorer, scores: pa.Table, evaluation: Evaluation) -> dict[str, Estimate]:
    """Every metric with its interval. Raises as `plain_values`."""
    values = plain_values(scorer, scores)
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for weights_RN in _resampled(scores, evaluation):
        for name, values_R in scorer.measure(scores, weights_RN).items():
            resampled[name].append(values_R)
    _, groups = groups_of(scores)
    return {
        name: _with_interval(value, np.concatenate(resampled[name]), evaluation.confidence, groups)
        for name, value in values.items()
    }


def estimate_means(values: Mapping[str, np.ndarray], evaluation: Evaluation) -> dict[str, Estimate]:
    """The mean of each column of numbers, `(N,)`, with its interval over resamples of the examples."""
    names, columns_NC = list(values), np.stack(list(values.values()), axis=1).astype(np.float64)
    examples = len(columns_NC)
    drawn = resample_weights(evaluation.seed, evaluation.bootstrap_samples, examples)
    means_RC = np.concatenate([weights_RN @ columns_NC / examples for weights_RN in drawn])
    return {
        name: _with_interval(float(columns_NC[:, number].mean()), means_RC[:, number], evaluation.confidence, examples)
        for number, name in enumerate(names)
    }


def compare(
    scorer: Scorer, challenger: pa.Table, champion: pa.Table, metric_name: str, evaluation: Evaluation
) -> Comparison:
    """A paired bootstrap and a permutation test of the difference of one metric.

    Args:
        scorer: What both were scored by.
        challenger: Scores of the one that wants to be better, with the groups.
        champion: Scores of the other (or of a baseline) on the same examples, in any order.
        metric_name: A metric of the scorer.
        evaluation: Resamples, seed and confidence.

    Raises:
        EvaluationError: The two were scored on other examples, or on other parts of all of them, there is no such
            metric, or it was computed otherwise (BLEU's tokenizer).
    """
    metric = find_metric(scorer, metric_name)
    mine, other = (metric_of(scorer, scores, metric_name) for scores in (challenger, champion))
    if mine != other:
        raise EvaluationError(
            f"{metric.title} was computed otherwise for the two ({mine.signature} and {other.signature}); evaluate "
            "both again.",
            "mismatch",
        )
    num_examples = num_measured(scorer, challenger, metric_name)
    challenger, champion = comparable(scorer, challenger, champion, metric_name)
    sign = 1.0 if metric.higher_is_better else -1.0
    new, old = plain_values(scorer, challenger)[metric_name], plain_values(scorer, champion)[metric_name]
    differences = [
        sign * (scorer.measure(challenger, weights_RN)[metric_name] - scorer.measure(champion, weights_RN)[metric_name])
        for weights_RN in _resampled(challenger, evaluation)
    ]
    _, groups = groups_of(challenger)
    return Comparison(
        metric_name,
        new,
        old,
        _with_interval(sign * (new - old), np.concatenate(differences), evaluation.confidence, groups),
        _swap_test(scorer, challenger, champion, metric, evaluation),
        challenger.num_rows,
        groups,
        evaluation.confidence,
        num_examples - challenger.num_rows,
    )


def compare_pairs(gains_N: np.ndarray, *, seed: int, samples: int, confidence: float) -> tuple[Estimate, float]:
    """Do as `compare` does for one number an example: the mean gain with its interval, and the swap test of it.

    Args:
        gains_N: What one of the two has more than the other on each example, `(N,)`; above zero is in its favour.
        seed: Of the draws.
        samples: Resamples, and swaps where there are more than can be counted.
        confidence: Mass of the interval.

    Returns:
        The mean and its interval, and how often two that are alike would differ as much, one-sided.
    """
    examples, observed = len(gains_N), float(gains_N.mean())
    means = [weights_RN @ gains_N / examples for weights_RN in resample_weights(seed, samples, examples)]
    found = _with_interval(observed, np.concatenate(means), confidence, examples)
    least = observed - _EQUAL * max(1.0, abs(observed))
    if examples < samples.bit_length():
        every_RN = 1 - 2.0 * ((np.arange(2**examples)[:, None] >> np.arange(examples)) % 2)
        return found, float(np.mean(every_RN @ gains_N / examples >= least))
    random = np.random.default_rng([seed, examples])
    reached = sum(
        int(np.count_nonzero((1 - 2.0 * (random.random((rows, examples)) < 0.5)) @ gains_N / examples >= least))
        for rows in _chunks(samples, examples)
    )
    return found, (reached + 1) / (samples + 1)


def num_measured(scorer: Scorer, scores: pa.Table, metric_name: str) -> int:
    """The examples that a metric is of."""
    measured = scorer.measured(scores, metric_name)
    return scores.num_rows if measured is None else int(pc.sum(measured).as_py())


def comparable(scorer: Scorer, challenger: pa.Table, champion: pa.Table, metric_name: str) -> tuple[pa.Table, pa.Table]:
    """Both tables in the challenger's order, with the rows that a metric can be compared on.

    Where a metric is of some of the texts only, those of both; where it is of the scored bytes, a text of which one
    model can read more than the other is left out: that part may be easier. Raises EvaluationError where the two were
    scored on other examples, or on other parts of all of them.
    """
    champion = _aligned(challenger, champion)
    metric = find_metric(scorer, metric_name)
    mine, others = (scorer.measured(scores, metric_name) for scores in (challenger, champion))
    if mine is not None or others is not None:
        both = mine if others is None else others if mine is None else pc.and_(mine, others)
        if not pc.any(both).as_py():
            raise EvaluationError(
                f"{metric.title} can't be compared: there is no test document for which both models wrote a text. "
                "Give both the same evaluation.max_generated and evaluation.seed.",
                "mismatch",
            )
        challenger, champion = challenger.filter(both), champion.filter(both)
    if not metric.of_scored_bytes:
        return challenger, champion
    same = pc.equal(challenger["bytes"], champion["bytes"])
    if not pc.any(same).as_py():
        raise EvaluationError(
            f"{metric.title} can't be compared: there is no test document of which both models can read the same part. "
            "Give them the same training.block_length, or choose a metric of whole texts.",
            "mismatch",
        )
    return challenger.filter(same), champion.filter(same)


def _swap_test(
    scorer: Scorer, challenger: pa.Table, champion: pa.Table, metric: Metric, evaluation: Evaluation
) -> float:
    """How often the gain is as large as it is, or larger, when each group's scores go to either model by chance."""
    group_N, groups = groups_of(challenger)
    shared = [name for name in challenger.column_names if name in champion.column_names]
    both = pa.concat_tables(
        [challenger.select(shared), champion.select(shared)], promote_options="permissive"
    ).combine_chunks()
    sign = 1.0 if metric.higher_is_better else -1.0

    def gains(stays_RG: np.ndarray) -> np.ndarray:
        stays_RN = stays_RG[:, group_N].astype(np.float64)
        mine = scorer.measure(both, np.hstack([stays_RN, 1 - stays_RN]))[metric.name]
        return np.asarray(sign * (mine - scorer.measure(both, np.hstack([1 - stays_RN, stays_RN]))[metric.name]))

    (observed,) = gains(np.ones((1, groups), dtype=bool))
    least = observed - _EQUAL * max(1.0, abs(observed))
    samples = evaluation.bootstrap_samples
    if groups < samples.bit_length():  # all 2^groups swaps are no more than the samples
        every_RG = (np.arange(2**groups)[:, None] >> np.arange(groups)) % 2 == 1
        return float(np.mean(gains(every_RG) >= least))
    random = np.random.default_rng([evaluation.seed, groups])  # not the draws of the intervals
    reached = sum(
        int(np.count_nonzero(gains(random.random((rows, groups)) < 0.5) >= least))
        for rows in _chunks(samples, 2 * challenger.num_rows)
    )
    return (reached + 1) / (samples + 1)


def find_metric(scorer: Scorer, name: str) -> Metric:
    """A metric of a scorer by its name. Raises EvaluationError where there is none."""
    return _named(scorer.metrics, name)


def metric_of(scorer: Scorer, scores: pa.Table, name: str) -> Metric:
    """A metric with the signature that it has for these scores; raises as `find_metric`."""
    return _named(scorer.metrics_of(scores), name)


def _named(metrics: Sequence[Metric], name: str) -> Metric:
    found = {metric.name: metric for metric in metrics}
    if name not in found:
        raise EvaluationError(f"There is no metric {name!r}; the task has {', '.join(found)}.", "unknown")
    return found[name]


def _with_interval(value: float, resampled: np.ndarray, confidence: float, groups: int) -> Estimate:
    tail = _tail(confidence, groups)
    low, high = np.nanquantile(resampled, [tail, 1 - tail])  # a resample may have nothing that the metric is of
    return Estimate(value + 0.0, float(low) + 0.0, float(high) + 0.0)  # no zero below zero


def _tail(confidence: float, groups: int) -> float:
    """The share of the resamples to leave out at each end: less with few groups (Hesterberg, 2015)."""
    from scipy.special import ndtr, stdtrit

    if groups < 2:
        return 0.0
    return float(ndtr(math.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, (1 - confidence) / 2)))


def _aligned(challenger: pa.Table, champion: pa.Table) -> pa.Table:
    """The champion's rows in the order of the challenger's."""
    wanted, there = challenger["id"].to_pylist(), champion["id"].to_pylist()
    if wanted == there:
        return champion
    place = {name: index for index, name in enumerate(there)}
    if len(wanted) != len(there) or len(place) != len(there) or set(place) != set(wanted):
        raise EvaluationError(
            f"The two score tables are of other test sets ({len(wanted):,} and {len(there):,} examples, "
            f"{len(set(place) & set(wanted)):,} in common); score both models on the same documents.",
            "mismatch",
        )
    return champion.take(pa.array([place[name] for name in wanted]))
