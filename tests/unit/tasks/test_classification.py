from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from langmill.data.document import Document
from langmill.errors import ConfigError, DataError
from tests.refused import refused

from .settings import shard, shipped_task, tiny_backbone, training

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


def test_an_empty_text_gets_an_answer(task, network, tokenizer):
    assert task.probabilities(network, tokenizer, [""]).sum() == pytest.approx(1)


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
    with refused(DataError, "too_few", "one label", "'b'"):
        task.find_labels([Document("1", "x", "b")])
    with refused(DataError, "too_few", "no labels"):
        task.find_labels([Document("1", "x")])


def test_a_part_of_the_corpus_can_be_selected():
    task = shipped_task("classification", only={"source": ["imdb", "web"]})
    inside = Document("1", "x", "a", metadata={"source": "web"})
    outside = Document("2", "x", "b", metadata={"source": "book"})
    assert task.check(inside) is None
    assert task.check(outside) == task.check(Document("3", "x", "c")) == "not_selected"
    with refused(DataError, "too_few", "one label", "'a'"):
        task.find_labels([inside, outside])


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


def test_a_network_is_shown_what_it_will_read_of_the_texts_with_a_known_label(task):
    class Shown:
        max_length = 3

        def observe_labels(self, texts, labels_N):
            self.seen = [text.tolist() for text in texts], labels_N.tolist()

    shown = Shown()
    task.observe(shown, shard([[1, 2], [3], [4, 5, 6, 7, 8], [9]], ["pos", None, "neg", "strange"]))
    assert shown.seen == ([[1, 2], [4, 7, 8]], [1, 0])  # of a long one the head and the tail


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


def test_sample_tells_the_probabilities(task, network, tokenizer):
    lines = task.sample(network, tokenizer, "the film was good", seed=1).splitlines()
    assert lines[0] == "the film was good"
    assert {part.split(":")[0] for part in lines[1].split("  ")} == set(LABELS)


def test_impossible_options_are_refused():
    with refused(ConfigError, "wrong_type", "truncation is ", "middle", "head, tail, head_and_tail"):
        shipped_task("classification", truncation="middle")
