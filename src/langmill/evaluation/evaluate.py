"""Score a model and its baselines on test documents: metrics with intervals, slices and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from torch import nn

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.errors import EvaluationError
from langmill.evaluation.base_model import BaseModel
from langmill.evaluation.estimates import BASE, Comparison, Estimate
from langmill.evaluation.protocol import protocol_digest
from langmill.evaluation.scoring import EvaluationSet, score_model, usable, with_groups
from langmill.evaluation.significance import compare, estimate, groups_of, num_measured
from langmill.evaluation.slices import slices_of
from langmill.progress import track
from langmill.scoring.base import Baseline, Metric, Plot, Scorer, Strength, TrainingData
from langmill.scoring.pace import Pace
from langmill.tasks.base import Generates
from langmill.tasks.loading import LoadedModel


@dataclass(frozen=True)
class Evaluated:
    """What is known about a model after its evaluation."""

    scorer: Scorer
    test_set: EvaluationSet
    group_by: str | None
    """The metadata field whose equal values make a group; None where each document is its own."""
    groups: int
    """Groups of test documents: what the intervals draw."""
    protocol: str
    """Digest of what decides a score; scores of another protocol do not stand beside these."""
    scores: pa.Table
    estimates: dict[str, Estimate]
    metrics: tuple[Metric, ...]
    """What the estimates are of."""
    examples_of: dict[str, int]
    """The documents of each metric that is of some of them only."""
    baselines: list[Baseline]
    baseline_estimates: dict[str, dict[str, Estimate]]
    """By the baseline's name."""
    base: BaseModel | None
    """What the model was fine-tuned from; it is the baseline `base` unless its head was a new one."""
    before_after: list[tuple[str, str, str]]
    """A question, what the base as it came answered, and what the model answers."""
    against: dict[str, Comparison]
    """The model against each baseline, in the metric that decides; by the baseline's name."""
    slices: dict[str, dict[str, tuple[int, dict[str, Estimate]]]]
    """By field and value: examples and estimates."""
    plots: list[Plot]
    tokens_per_second: float | None
    """How fast the model wrote; None for one that writes nothing. It is logged, and in no output of the stage."""
    truncated: Mapping[str, Mapping[str, int]]
    """Of each split, how many sequences did not fit whole, by what was truncated."""


def evaluate(
    model: LoadedModel,
    documents: Iterable[Document],
    train: TrainingData,
    evaluation: Evaluation,
    decides: str,
    *,
    scorer: Scorer,
    group_by: str | None = None,
    base: BaseModel | None = None,
    questions: Sequence[str] = (),
) -> Evaluated:
    """Score a model and its baselines on test documents.

    Args:
        model: What is judged.
        documents: The test split.
        train: What the baselines are fitted on.
        evaluation: How to judge.
        decides: The metric that models are compared by.
        scorer: What judges.
        group_by: The metadata field that the split kept together; None where it went by the texts.
        base: What the model was fine-tuned from; judged beside it where it could do the same before.
        questions: What both are asked then, to be read side by side.

    Raises:
        EvaluationError: No document can be used, a metric is not a finite number, or the base is not there.
        ConfigError: A slice field is not in the documents.
    """
    test_set = usable(model.task, documents).capped(evaluation, group_by)
    if not test_set.documents:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in test_set.left_out.items())
        raise EvaluationError(
            f"No test document can be used ({reasons or 'the split is empty'}); add some, raise split.test, or check "
            "fields.label.",
            "too_few",
        )
    with track(f"Scoring {model.recipe}", len(test_set.documents), "documents") as progress:
        pace = Pace(progress.advance)
        scores = score_model(model, test_set.documents, evaluation, pace, group_by, scorer=scorer)
    before = None if base is None else base.network()
    zero_shot = [] if base is None or before is None else [_zero_shot(base, before, test_set, evaluation, scorer)]
    for each in zero_shot:
        scores = scorer.beside_base(scores, each.scores)
    estimates = estimate(scorer, scores, evaluation)
    with track(f"Fitting and scoring the baselines of {model.recipe}", 1, "step") as progress:
        # A step of its own: the model's own documents are all scored, and this may take as long.
        fitted = scorer.baselines(train, test_set.documents, model.tokenizer, evaluation, max_length=model.max_length)
        progress.advance()
    baselines = [
        replace(baseline, scores=with_groups(baseline.scores, test_set.documents, group_by))
        for baseline in (*fitted, *zero_shot)
    ]
    baseline_estimates = {baseline.name: estimate(scorer, baseline.scores, evaluation) for baseline in baselines}
    _require_trivial(baselines, baseline_estimates, decides)
    return Evaluated(
        scorer,
        test_set,
        group_by,
        groups_of(scores)[1],
        protocol_digest(
            model.config["langmill"]["task"]["name"],
            scorer,
            test_set.digest,
            evaluation,
            group_by,
            losses=model.tokenizer.losses,
        ),
        scores,
        estimates,
        scorer.metrics_of(scores),
        {name: count for name in estimates if (count := num_measured(scorer, scores, name)) < scores.num_rows},
        baselines,
        baseline_estimates,
        base,
        [] if before is None else _asked(model, before, questions, scorer, evaluation.seed),
        {
            baseline.name: compare(scorer, scores, baseline.scores, decides, evaluation)
            for baseline in baselines
            if decides in baseline_estimates[baseline.name]
        },
        _slices(scorer, scores, evaluation),
        scorer.plots(scores),
        pace.tokens_per_second,
        train.truncated,
    )


def _zero_shot(
    base: BaseModel, network: nn.Module, test_set: EvaluationSet, evaluation: Evaluation, scorer: Scorer
) -> Baseline:
    """The base as it came."""
    with track(f"Scoring its base {base.name} as it came", len(test_set.documents), "documents") as progress:
        pace = Pace(progress.advance)
        scores = scorer.score(network, base.tuned.tokenizer, test_set.documents, evaluation, pace)
    return Baseline(BASE, Strength.base, scorer.beside_base(scores, scores))


def _asked(
    model: LoadedModel, before: nn.Module, questions: Sequence[str], scorer: Scorer, seed: int
) -> list[tuple[str, str, str]]:
    """What both networks make of each question: written as the model will write, else as in training's samples."""
    found = []
    for question in questions:
        first, then = (_written(model, each, question, scorer, seed) for each in (before, model.network))
        found.append((question, first, then))
    return found


def _written(model: LoadedModel, network: nn.Module, question: str, scorer: Scorer, seed: int) -> str:
    config = scorer.generation_config
    if isinstance(model.task, Generates) and config is not None and config.temperature == 0:  # nothing is drawn
        return replace(model, network=network, generation_config=config).generate(question, {}, model.recipe).strip()
    return model.task.sample(network, model.tokenizer, question, seed).removeprefix(question).strip()


def _require_trivial(
    baselines: Sequence[Baseline], estimates: Mapping[str, Mapping[str, Estimate]], decides: str
) -> None:
    """Refuse a metric that no trivial baseline has: the gate could not judge a first version."""
    having = {name for each in baselines if each.strength is Strength.trivial for name in estimates[each.name]}
    if decides not in having:
        raise EvaluationError(
            f"gate.metric is {decides}, which no trivial baseline has; set it to one of {', '.join(sorted(having))}.",
            "impossible",
        )


def _slices(
    scorer: Scorer, scores: pa.Table, evaluation: Evaluation
) -> dict[str, dict[str, tuple[int, dict[str, Estimate]]]]:
    found: dict[str, dict[str, tuple[int, dict[str, Estimate]]]] = {}
    for field, value, part in slices_of(scores):
        found.setdefault(field, {})[value] = part.num_rows, estimate(scorer, part, evaluation)
    return found
