from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn import metrics as reference
from torch.nn import functional as F

from langmill.data.document import Document
from langmill.errors import ConfigError, DataError
from langmill.tasks.base import Strength
from langmill.tasks.batching import Cut, cut_tokens

from .settings import evaluation, shard, shipped_task, tiny_backbone, training, training_data

pytestmark = pytest.mark.unit
REACH = 16
LABELS = ("neg", "pos")


@pytest.fixture(scope="module")
def task():
    return shipped_task("classification", LABELS)


@pytest.fixture(scope="module")
def network(task, tokenizer):
    torch.manual_seed(0)
    network = task.network(tiny_backbone(tokenizer.vocab_size, REACH)).eval()
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
    task = shipped_task("classification", labels)
    scores = random_scores(labels, 60)
    weights = np.random.default_rng(1).integers(0, 4, (5, 60)).astype(float)
    weights[0] = 1
    weights[1, np.array(scores["label"].to_pylist()) == "a"] = 0  # a resample may lack a label
    figures = task.measure(scores, weights)
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
    assert set(figures) == {metric.name for metric in task.metrics}


def test_a_label_that_is_neither_there_nor_predicted_has_no_part_in_the_means():
    task = shipped_task("classification", ("a", "b", "c"))
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
    figures = task.measure(scores, np.ones((1, 2)))
    assert figures["macro_f1"][0] == 1
    assert figures["f1_c"][0] == 0


def test_calibration_error_by_hand(task):
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
    figures = task.measure(scores, np.ones((1, 3)))
    assert figures["expected_calibration_error"][0] == pytest.approx((abs(1 - 1.78) + 0.65) / 3)


def test_score_is_the_softmax_of_the_network(task, network, tokenizer, documents):
    done: list[int] = []
    scores = task.score(network, tokenizer, documents, evaluation(batch_tokens=50), done.append)
    assert sum(done) == len(documents)
    for number, document in enumerate(documents):
        ids = cut_tokens(np.array(tokenizer.encode(document.text)), REACH, Cut.head_and_tail)
        with torch.no_grad():
            expected = F.softmax(network(torch.tensor(ids)[None], torch.tensor([len(ids)]))[0], dim=-1).numpy()
        row = scores.slice(number, 1).to_pylist()[0]
        assert [row["p_0"], row["p_1"]] == pytest.approx(expected, abs=1e-5)
        assert row["predicted"] == LABELS[int(expected.argmax())]
        assert (row["id"], row["label"]) == (document.id, document.label)
    assert len(set(scores["predicted"].to_pylist())) == 2
    texts = [document.text for document in documents]
    probabilities = task.probabilities(network, tokenizer, texts)
    assert np.allclose(probabilities, np.stack([scores["p_0"], scores["p_1"]], axis=1), atol=1e-5)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(texts)))


def test_an_empty_text_gets_an_answer(task, network, tokenizer):
    assert task.probabilities(network, tokenizer, [""]).sum() == pytest.approx(1)


def test_majority_baseline(task, tokenizer, documents):
    train = shard([[1], [2], [3], [4]], ["pos", "pos", "pos", "neg"])
    majority, _ = task.baselines(training_data(train, documents), documents, tokenizer, evaluation(), max_length=REACH)
    assert majority.strength is Strength.trivial and majority.name == "majority"
    assert set(majority.scores["predicted"].to_pylist()) == {"pos"}
    assert majority.scores["p_0"][0].as_py() == 0.25
    share = np.mean([document.label == "pos" for document in documents])
    assert task.measure(majority.scores, np.ones((1, len(documents))))["accuracy"][0] == pytest.approx(share)


def test_only_selected_documents_are_learned_from_and_the_others_have_a_reason():
    task = shipped_task("classification", only={"source": ["imdb"]})
    documents = [
        Document("a", "x", label="good", metadata={"source": "imdb"}),
        Document("b", "x", label="bad", metadata={"source": "imdb"}),
        Document("c", "x", label="odd", metadata={"source": "elsewhere"}),
        Document("d", "x", label="odd"),
    ]
    assert [task.check(document) for document in documents] == [None, None, "not_selected", "not_selected"]
    assert task.find_labels(documents) == ["bad", "good"]


def test_a_label_may_be_told_from_more_text_than_a_piece_learned_from():
    assert shipped_task("classification", answer_length=0).context_length(128) == 128
    assert shipped_task("classification", answer_length=512).context_length(128) == 512
    assert shipped_task("classification", answer_length=64).context_length(128) == 128


def test_documents_without_a_known_label_are_left_out_with_a_reason(task):
    assert task.check(Document("a", "x", label=None)) == "missing_label"
    assert task.check(Document("a", "x", label="strange")) == "unseen_label"
    assert task.check(Document("a", "x", label="pos")) is None
    assert shipped_task("classification").check(Document("a", "x", label="strange")) is None  # no label is known yet


def test_labels_come_sorted_and_one_is_not_enough():
    task = shipped_task("classification")
    documents = [Document("1", "x", "b"), Document("2", "x", "a"), Document("3", "x"), Document("4", "x", "b")]
    assert task.find_labels(documents) == ["a", "b"]
    with pytest.raises(DataError, match="only one label, 'b'"):
        task.find_labels([Document("1", "x", "b")])
    with pytest.raises(DataError, match="no labels"):
        task.find_labels([Document("1", "x")])


def test_a_part_of_the_corpus_can_be_selected():
    task = shipped_task("classification", only={"source": ["imdb", "web"]})
    inside = Document("1", "x", "a", metadata={"source": "web"})
    outside = Document("2", "x", "b", metadata={"source": "book"})
    assert task.check(inside) is None
    assert task.check(outside) == task.check(Document("3", "x", "c")) == "not_selected"
    with pytest.raises(DataError, match="only one label, 'a'"):
        task.find_labels([inside, outside])


def test_texts_may_be_told_from_more_tokens_than_were_learned_from():
    assert shipped_task("classification", answer_length=512).context_length(128) == 512
    assert shipped_task("classification", answer_length=0).context_length(128) == 128


def test_batches_leave_out_unknown_labels_and_number_the_known_ones(task):
    settings = training(batch_size=4, micro_batch_size=2, block_length=6, validation_batches=9)
    mixed = shard([[1], [2], [3], [4]], ["pos", None, "strange", "neg"])
    batches = task.micro_batches(mixed, settings, rank=0, world_size=1, eot_id=0)
    seen = {
        (int(row[0]), int(label))
        for i in range(4)
        for row, label in zip(batches[i]["tokens"], batches[i]["labels"], strict=True)
    }
    assert seen == {(1, 1), (4, 0)}
    validation = task.validation_batches(mixed, settings, eot_id=0)
    assert len(validation) == 1 and sorted(validation[0]["tokens"].ravel().tolist()) == [1, 4]
    assert task.validation_batches(shard([]), settings, eot_id=0) == []


def test_loss_is_the_mean_over_documents(task, tokenizer):
    torch.manual_seed(0)
    network = task.network(tiny_backbone(tokenizer.vocab_size, REACH)).eval()
    batch = {
        "tokens": torch.ones(3, 4, dtype=torch.long),
        "lengths": torch.tensor([4, 2, 1]),
        "labels": torch.tensor([0, 1, 1]),
        "weights": torch.ones(3),
    }
    logits = network(batch["tokens"], batch["lengths"])
    expected = F.cross_entropy(logits, batch["labels"])
    assert task.loss(network, batch).item() == pytest.approx(expected.item())
    assert task.num_targets(batch) == 3
    weighted = batch | {"weights": torch.tensor([0.5, 2.0, 2.0])}
    expected = F.cross_entropy(logits, batch["labels"], torch.tensor([0.5, 2.0]))  # over the sum of the weights
    assert task.loss(network, weighted).item() == pytest.approx(expected.item())
    assert task.num_targets(weighted) == 4.5


def test_plots_hold_the_confusion_and_the_calibration(task):
    scores = random_scores(LABELS, 50)
    confusion, calibration = task.plots(scores)
    expected = reference.confusion_matrix(scores["label"].to_pylist(), scores["predicted"].to_pylist(), labels=LABELS)
    assert confusion.columns["count"] == expected.ravel().tolist()
    assert confusion.columns["actual"][:2] == ["neg", "neg"] and confusion.columns["predicted"][:2] == ["neg", "pos"]
    assert all(0.5 <= value <= 1 for value in calibration.columns["confidence"])
    assert calibration.columns["confidence"] == calibration.columns["perfect"]


def test_sample_tells_the_probabilities(task, network, tokenizer):
    lines = task.sample(network, tokenizer, "the film was good", seed=1).splitlines()
    assert lines[0] == "the film was good"
    assert {part.split(":")[0] for part in lines[1].split("  ")} == set(LABELS)


def test_impossible_options_are_refused():
    with pytest.raises(ConfigError, match="cut is 'middle'; allowed is one of head, tail, head_and_tail"):
        shipped_task("classification", cut="middle")
