from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn import metrics as reference
from torch.nn import functional as F

from langmill.scoring.base import Strength
from langmill.tasks.batching import Truncation, truncate

from ..tasks.settings import evaluation, shard, shipped_scorer, tiny_backbone, training_data

pytestmark = pytest.mark.unit
REACH = 16
LABELS = ("neg", "pos")


@pytest.fixture(scope="module")
def scorer():
    return shipped_scorer("classification", LABELS)


@pytest.fixture(scope="module")
def network(scorer, tokenizer):
    torch.manual_seed(0)
    network = scorer.task.network(tiny_backbone(tokenizer.vocab_size, REACH)).eval()
    with torch.no_grad():
        network.score.weight.mul_(50)
    return network


def random_scores(labels: tuple[str, ...], examples: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(len(labels)) * 0.5, examples)
    return pa.table(
        {
            "id": [f"e{number}" for number in range(examples)],
            "label": random.choice(labels, examples),
            "predicted": np.array(labels)[probabilities.argmax(axis=1)],
            **{f"p_{index}": column for index, column in enumerate(probabilities.T)},
        }
    )


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_measure_agrees_with_scikit_learn_under_any_weights(labels):
    scorer = shipped_scorer("classification", labels)
    scores = random_scores(labels, 60)
    weights = np.random.default_rng(1).integers(0, 4, (5, 60)).astype(float)
    weights[0] = 1
    weights[1, np.array(scores["label"].to_pylist()) == "a"] = 0  # a resample may lack a label
    figures = scorer.measure(scores, weights)
    actual, predicted = scores["label"].to_pylist(), scores["predicted"].to_pylist()
    for row, weight in enumerate(weights):
        precision, recall, f1, _ = reference.precision_recall_fscore_support(
            actual, predicted, labels=labels, sample_weight=weight, zero_division=0
        )
        assert figures["accuracy"][row] == pytest.approx(
            reference.accuracy_score(actual, predicted, sample_weight=weight)
        )
        for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert figures[f"macro_{name}"][row] == pytest.approx(expected.mean())
            assert [figures[f"{name}_{label}"][row] for label in labels] == pytest.approx(expected)
    assert set(figures) == {metric.name for metric in scorer.metrics}


def test_a_label_that_is_neither_there_nor_predicted_has_no_part_in_the_means():
    scorer = shipped_scorer("classification", ("a", "b", "c"))
    scores = pa.table(
        {
            "id": ["1", "2"],
            "label": ["a", "b"],
            "predicted": ["a", "b"],
            "p_0": [0.8, 0.1],
            "p_1": [0.1, 0.7],
            "p_2": [0.1, 0.2],
        }
    )
    figures = scorer.measure(scores, np.ones((1, 2)))
    assert figures["macro_f1"][0] == 1
    assert figures["f1_c"][0] == 0


def test_calibration_error_by_hand(scorer):
    scores = pa.table(
        {
            "id": ["1", "2", "3"],
            "label": ["pos", "neg", "pos"],
            "predicted": ["pos", "pos", "neg"],
            "p_0": [0.1, 0.12, 0.65],
            "p_1": [0.9, 0.88, 0.35],
        }
    )
    # 0.9 and 0.88 share the bin (13/15, 14/15]: one of two right at a mean confidence of 0.89; 0.65 is wrong.
    figures = scorer.measure(scores, np.ones((1, 3)))
    assert figures["expected_calibration_error"][0] == pytest.approx((abs(1 - 1.78) + 0.65) / 3)


def test_score_is_the_softmax_of_the_network(scorer, network, tokenizer, documents):
    done: list[int] = []
    scores = scorer.score(network, tokenizer, documents, evaluation(batch_tokens=50), done.append)
    assert sum(done) == len(documents)
    for number, document in enumerate(documents):
        ids = truncate(np.array(tokenizer.encode(document.text)), REACH, Truncation.head_and_tail)
        with torch.no_grad():
            expected = F.softmax(network(torch.tensor(ids)[None], torch.tensor([len(ids)]))[0], dim=-1).numpy()
        row = scores.slice(number, 1).to_pylist()[0]
        assert [row["p_0"], row["p_1"]] == pytest.approx(expected, abs=1e-5)
        assert row["predicted"] == LABELS[int(expected.argmax())]
        assert (row["id"], row["label"]) == (document.id, document.label)
    assert len(set(scores["predicted"].to_pylist())) == 2
    texts = [document.text for document in documents]
    probabilities = scorer.task.probabilities(network, tokenizer, texts)
    assert np.allclose(probabilities, np.stack([scores["p_0"], scores["p_1"]], axis=1), atol=1e-5)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(texts)))


def test_majority_baseline(scorer, tokenizer, documents):
    train = shard([[1], [2], [3], [4]], ["pos", "pos", "pos", "neg"])
    majority, _ = scorer.baselines(
        training_data(train, documents), documents, tokenizer, evaluation(), max_length=REACH
    )
    assert majority.strength is Strength.trivial and majority.name == "majority"
    assert set(majority.scores["predicted"].to_pylist()) == {"pos"}
    assert majority.scores["p_0"][0].as_py() == 0.25
    share = np.mean([document.label == "pos" for document in documents])
    assert scorer.measure(majority.scores, np.ones((1, len(documents))))["accuracy"][0] == pytest.approx(share)


def test_plots_hold_the_confusion_and_the_calibration(scorer):
    scores = random_scores(LABELS, 50)
    confusion, calibration = scorer.plots(scores)
    expected = reference.confusion_matrix(scores["label"].to_pylist(), scores["predicted"].to_pylist(), labels=LABELS)
    assert confusion.columns["count"] == expected.ravel().tolist()
    assert confusion.columns["actual"][:2] == ["neg", "neg"] and confusion.columns["predicted"][:2] == ["neg", "pos"]
    assert all(0.5 <= value <= 1 for value in calibration.columns["confidence"])
    assert calibration.columns["confidence"] == calibration.columns["perfect"]
