from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from langmill.errors import EvaluationError
from langmill.evaluation import significance
from langmill.evaluation.significance import compare, estimate, resample_weights

from ..tasks.settings import evaluation, shipped_task

pytestmark = pytest.mark.unit


def losses(bits: np.ndarray, seed: int = 0) -> pa.Table:
    """Documents of 100 bytes with a given loss in bits per byte."""
    examples = len(bits)
    order = np.random.default_rng(seed).permutation(examples)  # tables may come in any order
    table = {
        "id": [f"d{number}" for number in range(examples)],
        "nats": bits * np.log(2) * 100,
        "tokens": np.full(examples, 25),
        "bytes": np.full(examples, 100),
        "correct": np.full(examples, 5),
    }
    return pa.table(table).take(pa.array(order))


@pytest.fixture(scope="module")
def task():
    return shipped_task("language_modelling")


def test_weights_are_draws_with_replacement_and_the_same_again():
    weights = np.concatenate(list(resample_weights(3, 200, 50)))
    assert weights.shape == (200, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.05)  # of a binomial with n = 50 and p = 1/50
    assert (weights == np.concatenate(list(resample_weights(3, 200, 50)))).all()
    assert (weights != np.concatenate(list(resample_weights(4, 200, 50)))).any()


def test_chunks_bound_the_memory_and_change_nothing(monkeypatch):
    whole = np.concatenate(list(resample_weights(3, 20, 50)))
    monkeypatch.setattr(significance, "_CHUNK_BYTES", 8 * 50 * 3)
    chunks = list(resample_weights(3, 20, 50))
    assert [len(chunk) for chunk in chunks] == [3] * 6 + [2]
    assert (np.concatenate(chunks) == whole).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say(task):
    settings = evaluation(bootstrap_samples=200, confidence=0.9)
    random = np.random.default_rng(0)
    covered, widths = 0, []
    for _ in range(200):
        figure = estimate(task, losses(random.normal(2.0, 0.5, 80)), settings)["bits_per_byte"]
        covered += figure.low <= 2.0 <= figure.high
        widths.append(figure.high - figure.low)
    assert 0.84 <= covered / 200 <= 0.95
    assert np.mean(widths) == pytest.approx(2 * 1.645 * 0.5 / np.sqrt(80), rel=0.06)


def test_a_planted_difference_is_found_where_unpaired_intervals_overlap(task):
    random = np.random.default_rng(1)
    hard = random.normal(2.0, 0.5, 300)  # what makes a document hard is hard for both
    champion = losses(hard, seed=1)
    challenger = losses(hard - 0.02 + random.normal(0, 0.05, 300), seed=2)
    settings = evaluation()
    found = compare(task, challenger, champion, "bits_per_byte", settings)
    assert found.improvement.value == pytest.approx(0.02, abs=0.008)
    assert found.improvement.low > 0 and found.p_value == pytest.approx(1 / 1001)
    assert found.beats(0.0) and not found.beats(0.02)
    assert found.champion - found.challenger == pytest.approx(found.improvement.value)
    alone = estimate(task, challenger, settings)["bits_per_byte"], estimate(task, champion, settings)["bits_per_byte"]
    assert alone[0].high > alone[1].low
    backwards = compare(task, champion, challenger, "bits_per_byte", settings)
    assert backwards.improvement.high < 0 and backwards.p_value == 1


def test_no_difference_is_seldom_found(task):
    random = np.random.default_rng(2)
    settings = evaluation(bootstrap_samples=200)
    wrong = 0
    for _ in range(100):
        hard = random.normal(2.0, 0.5, 100)
        other = losses(hard + random.normal(0, 0.1, 100))
        wrong += compare(task, other, losses(hard), "bits_per_byte", settings).beats(0.0)
    assert wrong <= 8  # 2.5 expected


def test_a_model_does_not_beat_itself(task):
    scores = losses(np.linspace(1, 3, 50))
    found = compare(task, scores, scores, "bits_per_byte", evaluation())
    assert (found.improvement.value, found.improvement.low, found.improvement.high) == (0, 0, 0)
    assert found.p_value == 1 and not found.beats(0.0)


def test_higher_is_better_turns_the_sign(task):
    better = losses(np.full(20, 2.0)).set_column(4, "correct", [np.full(20, 9)])
    found = compare(task, better, losses(np.full(20, 2.0)), "next_token_accuracy", evaluation())
    assert found.improvement.value == pytest.approx(4 / 25)


def test_other_test_sets_are_refused(task):
    scores = losses(np.ones(20))
    with pytest.raises(EvaluationError, match=r"other test sets \(20 and 19 examples, 19 in common\)"):
        compare(task, scores, scores.slice(1), "bits_per_byte", evaluation())
    twice = pa.concat_tables([scores.slice(0, 19), scores.slice(0, 1)])
    with pytest.raises(EvaluationError, match="other test sets"):
        compare(task, scores, twice, "bits_per_byte", evaluation())


def test_unknown_metrics_and_broken_or_missing_figures_are_refused(task):
    scores = losses(np.ones(20))
    with pytest.raises(EvaluationError, match=r"no metric 'bleu'; the task has bits_per_byte"):
        compare(task, scores, scores, "bleu", evaluation())
    with pytest.raises(EvaluationError, match="bits_per_byte, perplexity on the test documents is not a finite number"):
        estimate(task, losses(np.array([1.0, np.nan])), evaluation())
    with pytest.raises(EvaluationError, match="no test documents"):
        estimate(task, scores.slice(0, 0), evaluation())
