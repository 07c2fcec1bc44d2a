from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from langmill.data.document import Document
from langmill.errors import EvaluationError
from langmill.evaluation import significance
from langmill.evaluation.estimates import counted
from langmill.evaluation.significance import GROUP, compare, estimate, groups_of, resample_weights
from tests.refused import refused

from ..tasks.settings import evaluation, shipped_scorer

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
def scorer():
    return shipped_scorer("language_modelling")


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


def test_intervals_cover_the_truth_about_as_often_as_they_say(scorer):
    settings = evaluation(bootstrap_samples=200, confidence=0.9)
    random = np.random.default_rng(0)
    covered, widths = 0, []
    for _ in range(200):
        figure = estimate(scorer, losses(random.normal(2.0, 0.5, 80)), settings)["bits_per_byte"]
        covered += figure.low <= 2.0 <= figure.high
        widths.append(figure.high - figure.low)
    assert 0.84 <= covered / 200 <= 0.95
    assert np.mean(widths) == pytest.approx(2 * 1.645 * 0.5 / np.sqrt(80), rel=0.06)


def test_a_planted_difference_is_found_where_unpaired_intervals_overlap(scorer):
    random = np.random.default_rng(1)
    hard = random.normal(2.0, 0.5, 300)  # what makes a document hard is hard for both
    champion = losses(hard, seed=1)
    challenger = losses(hard - 0.02 + random.normal(0, 0.05, 300), seed=2)
    settings = evaluation()
    found = compare(scorer, challenger, champion, "bits_per_byte", settings)
    assert found.improvement.value == pytest.approx(0.02, abs=0.008)
    assert found.improvement.low > 0 and found.p_value == pytest.approx(1 / 1001)
    assert found.beats(0.0) and not found.beats(0.02)
    assert found.champion - found.challenger == pytest.approx(found.improvement.value)
    alone = [estimate(scorer, each, settings)["bits_per_byte"] for each in (challenger, champion)]
    assert alone[0].high > alone[1].low
    backwards = compare(scorer, champion, challenger, "bits_per_byte", settings)
    assert backwards.improvement.high < 0 and backwards.p_value == 1


def test_no_difference_is_seldom_found(scorer):
    random = np.random.default_rng(2)
    settings = evaluation(bootstrap_samples=200)
    wrong = 0
    for _ in range(100):
        hard = random.normal(2.0, 0.5, 100)
        other = losses(hard + random.normal(0, 0.1, 100))
        wrong += compare(scorer, other, losses(hard), "bits_per_byte", settings).beats(0.0)
    assert wrong <= 8  # 2.5 expected


def test_a_model_does_not_beat_itself(scorer):
    scores = losses(np.linspace(1, 3, 50))
    found = compare(scorer, scores, scores, "bits_per_byte", evaluation())
    assert (found.improvement.value, found.improvement.low, found.improvement.high) == (0, 0, 0)
    assert found.p_value == 1 and not found.beats(0.0)


def answers(right: np.ndarray) -> pa.Table:
    """Texts of two labels, answered rightly or not."""
    examples = len(right)
    return pa.table(
        {
            "id": [f"d{number}" for number in range(examples)],
            "label": ["a"] * examples,
            "predicted": np.where(right, "a", "b"),
            "p_0": right.astype(float),
            "p_1": 1.0 - right,
        }
    )


def test_guessing_models_beat_each_other_no_oftener_than_the_interval_says():
    """Measured before there was a test: 23.5% at n = 1, where 2.5% was promised."""
    scorer = shipped_scorer("classification", ("a", "b"))
    settings, random, draws = evaluation(bootstrap_samples=200), np.random.default_rng(7), 150
    beaten = {
        examples: sum(
            compare(
                scorer, answers(random.random(examples) < 0.5), answers(random.random(examples) < 0.5), "accuracy",
                settings,
            ).beats(0.0)
            for _ in range(draws)
        )
        for examples in (1, 2, 3, 4, 6, 9, 15, 40, 100, 200)
    }  # fmt: skip
    assert all(beaten[examples] == 0 for examples in (1, 2, 3, 4))  # not even all of 4 can tell: 1 / 16
    assert sum(beaten.values()) <= 0.025 * draws * len(beaten)
    assert max(beaten.values()) <= 9  # of 150, at 2.5%: more in one case of 100


@pytest.mark.parametrize(
    ("gained", "lost", "expected"), [(8, 0, 1 / 256), (7, 1, 9 / 256), (1, 0, 1 / 2), (3, 3, 42 / 64)]
)
def test_few_right_and_wrong_answers_are_judged_by_mcnemars_exact_test(gained, lost, expected):
    """The binomial tail of the answers in which the two differ."""
    scorer = shipped_scorer("classification", ("a", "b"))
    new = np.array([True] * gained + [False] * lost)
    found = compare(scorer, answers(new), answers(~new), "accuracy", evaluation())
    assert found.p_value == pytest.approx(expected)


def test_a_clear_difference_is_found_in_few_documents(scorer):
    bits = np.linspace(2, 3, 12)
    assert compare(scorer, losses(bits - 0.2), losses(bits), "bits_per_byte", evaluation()).beats(0.1)


def books(random: np.random.Generator, groups: int, each: int) -> pa.Table:
    """Documents of books, whose losses lie closer together than those of others."""
    bits = np.repeat(random.normal(2.0, 0.3, groups), each) + random.normal(0, 0.1, groups * each)
    table = losses(bits)
    place = [int(name[1:]) // each for name in table["id"].to_pylist()]
    return table.append_column(GROUP, pa.array([f"book {number}" for number in place]))


def test_what_the_split_kept_together_is_drawn_together(scorer):
    """Drawing documents, the interval would hold the truth in less than half of all cases."""
    random = np.random.default_rng(3)
    settings = evaluation(bootstrap_samples=200, confidence=0.9)
    covered = alone = 0
    for _ in range(200):
        table = books(random, 12, 25)
        by_book = estimate(scorer, table, settings)["bits_per_byte"]
        by_document = estimate(scorer, table.drop_columns([GROUP]), settings)["bits_per_byte"]
        covered += by_book.low <= 2.0 <= by_book.high
        alone += by_document.low <= 2.0 <= by_document.high
    assert 0.85 <= covered / 200 <= 0.95
    assert alone / 200 < 0.5
    assert by_book.high - by_book.low > 2 * (by_document.high - by_document.low)


def test_two_models_are_compared_on_the_same_groups(scorer):
    random = np.random.default_rng(4)
    old = books(random, 12, 25)
    luck = np.repeat(random.normal(0, 0.1, 12), 25)[[int(name[1:]) for name in old["id"].to_pylist()]]
    new = old.set_column(1, "nats", [old["nats"].to_numpy() - luck * np.log(2) * 100])
    wide = compare(scorer, new, old, "bits_per_byte", evaluation())
    narrow = compare(scorer, new.drop_columns([GROUP]), old, "bits_per_byte", evaluation())
    assert (wide.examples, wide.groups, narrow.groups) == (300, 12, 300)
    assert wide.counted == "300 test documents in 12 groups" and narrow.counted == "300 test documents"
    assert wide.improvement.value == narrow.improvement.value
    ratio = (wide.improvement.high - wide.improvement.low) / (narrow.improvement.high - narrow.improvement.low)
    assert ratio > 3


def test_documents_without_a_group_are_their_own():
    table = pa.table({"id": ["a", "b", "c", "d"], GROUP: ["x", None, "x", None]})
    numbers, groups = groups_of(table)
    assert (numbers.tolist(), groups) == ([0, 1, 0, 2], 3)
    numbers, groups = groups_of(table.drop_columns([GROUP]))  # as tables of before there were groups
    assert (numbers.tolist(), groups) == ([0, 1, 2, 3], 4)
    assert counted(1, 1) == "1 test document" and counted(1200, 1) == "1,200 test documents in 1 group"


def test_an_interval_of_few_groups_is_wider_as_students_t_is(scorer):
    """Ten groups: the percentiles alone would hold the truth in 83% of cases, where 90% are promised."""
    random = np.random.default_rng(5)
    settings = evaluation(bootstrap_samples=400, confidence=0.9)
    covered = 0
    for _ in range(300):
        figure = estimate(scorer, losses(random.normal(2.0, 0.5, 10)), settings)["bits_per_byte"]
        covered += figure.low <= 2.0 <= figure.high
    assert 0.86 <= covered / 300 <= 0.94


def test_higher_is_better_turns_the_sign(scorer):
    better = losses(np.full(20, 2.0)).set_column(4, "correct", [np.full(20, 9)])
    found = compare(scorer, better, losses(np.full(20, 2.0)), "next_token_accuracy", evaluation())
    assert found.improvement.value == pytest.approx(4 / 25)


def test_two_models_are_compared_where_both_can_read_the_same():
    """One has a longer context: what it alone is scored on may be easier, and must not make it look better."""
    scorer = shipped_scorer("completion")
    bits = np.random.default_rng(1).normal(2.0, 0.1, 60)
    short = losses(bits)
    order = np.array([int(name[1:]) for name in short["id"].to_pylist()])
    longer = pa.array(np.where(order < 20, 400, 100))  # of a third it reads four times as much, for the same nats
    far = short.set_column(short.column_names.index("bytes"), "bytes", longer)
    settings = evaluation(bootstrap_samples=200)
    assert estimate(scorer, far, settings)["bits_per_byte"].value < 1.2
    found = compare(scorer, far, short, "bits_per_byte", settings)
    assert (found.improvement.value, found.examples, found.left_out) == (0.0, 40, 20)
    assert found.counted == "40 test documents (20 left out, since the two can read other parts of them)"
    nothing = short.set_column(short.column_names.index("bytes"), "bytes", pa.array(np.full(60, 99)))
    with refused(EvaluationError, "mismatch", "Bits per byte", "training.block_length"):
        compare(scorer, nothing, short, "bits_per_byte", settings)


def test_bleu_of_other_tokenizers_is_not_compared():
    scorer = shipped_scorer("text_to_text", metrics=["bleu"])
    documents = [Document("d", "a", target="Der Film war gut.")]
    scores = scorer.table(documents, {}, ["Der Film war gut."])
    other = scores.set_column(scores.column_names.index("bleu_tokenizer"), "bleu_tokenizer", pa.array(["zh"]))
    with refused(EvaluationError, "mismatch", "BLEU", "tok:13a", "tok:zh"):
        compare(scorer, scores, other, "bleu", evaluation(bootstrap_samples=100))


def test_other_test_sets_are_refused(scorer):
    scores = losses(np.ones(20))
    with refused(EvaluationError, "mismatch", "20 and 19 examples, 19 in common"):
        compare(scorer, scores, scores.slice(1), "bits_per_byte", evaluation())
    twice = pa.concat_tables([scores.slice(0, 19), scores.slice(0, 1)])
    with refused(EvaluationError, "mismatch", "20 and 20 examples, 19 in common"):
        compare(scorer, scores, twice, "bits_per_byte", evaluation())


def test_unknown_metrics_and_broken_or_missing_figures_are_refused(scorer):
    scores = losses(np.ones(20))
    with refused(EvaluationError, "unknown", "'bleu'", "bits_per_byte"):
        compare(scorer, scores, scores, "bleu", evaluation())
    with refused(EvaluationError, "diverged", "bits_per_byte, perplexity"):
        estimate(scorer, losses(np.array([1.0, np.nan])), evaluation())
    with refused(EvaluationError, "too_few", "split.test"):
        estimate(scorer, scores.slice(0, 0), evaluation())
