"""Classification: tell the label of a text.

Shape suffixes: B sequences, T tokens, N examples, K labels, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.sections import Evaluation, Training, require
from langmill.data.document import Document
from langmill.errors import DataError
from langmill.models.base import Backbone, Kind
from langmill.models.heads import Classifier
from langmill.tasks.base import (
    TASKS,
    UNSEEN_LABEL,
    Baseline,
    Classifies,
    Explains,
    Metric,
    Plot,
    Reading,
    Strength,
    Task,
    TrainingData,
    device_of,
)
from langmill.scoring.baselines import tfidf_logistic_regression
from langmill.tasks.batching import (
    LEAST_ROWS,
    Batch,
    BucketedBatches,
    Cut,
    Examples,
    FirstBatches,
    MicroBatches,
    Share,
    cut_tokens,
    fill_batches,
    pad,
    padded_length,
    uniform_batches,
)
from langmill.tasks.selection import is_selected
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

CALIBRATION_BINS = 15
"""Bins of equal width in the calibration error (Guo et al., 2017)."""
_TOKENS_AT_ONCE = 8192  # padding counted, in one forward pass for callers without settings


class ClassWeights(StrEnum):
    """How much a document of each label counts in the loss."""

    none = "none"
    balanced = "balanced"


@dataclass
class ClassificationOptions:
    """Options of the task `classification`."""

    dropout: float
    """Share of the pooled state that is dropped in training, 0 to below 1."""
    cut: Cut
    """Which tokens of a document longer than training.block_length are kept: `head`, `tail`, or half of each."""
    answer_length: int
    """Tokens of a text that are looked at when its label is told; a longer text is cut. May exceed
    training.block_length: what was learned from pieces is told from more of the text. 0 takes training.block_length."""
    class_weights: ClassWeights
    """How much a document counts in the loss: `none`, all the same; `balanced`, documents of each label the same
    together (weights inversely proportional to a label's share, King & Zeng, 2001), so that a rare one is not
    neglected."""
    only: dict[str, list[str]]
    """Metadata fields and the values to learn from and be judged on; documents with others are left out and counted.
    Empty takes every document."""

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "task.options.dropout", self.dropout, "0 to below 1")
        require(self.answer_length >= 0, "task.options.answer_length", self.answer_length, "0 or more")


@TASKS.register("classification")
class Classification(Task, Classifies, Explains):
    """Tell which of the labels seen in training a text has."""

    options_class = ClassificationOptions
    earlier_options: ClassVar[Mapping[str, Any]] = {"class_weights": "none"}
    options: ClassificationOptions
    kinds = frozenset({Kind.causal, Kind.bidirectional})

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy decides; precision, recall and F1 also come for each label."""
        general = (
            Metric("accuracy", "Accuracy", higher_is_better=True),
            Metric("macro_precision", "Precision, mean over labels", higher_is_better=True),
            Metric("macro_recall", "Recall, mean over labels", higher_is_better=True),
            Metric("macro_f1", "F1, mean over labels", higher_is_better=True),
            Metric("expected_calibration_error", "Expected calibration error", higher_is_better=False),
        )
        of_labels = (
            Metric(f"{name}_{label}", f"{title} of {label}", higher_is_better=True)
            for label in self.labels
            for name, title in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
        )
        return (*general, *of_labels)

    # Data ------------------------------------------------------------------------------------------------------------

    def check(self, document: Document) -> str | None:
        """Why a document is left out.

        `missing_label`, `not_selected` by the option `only`, and once the labels are known, `unseen_label` for one that
        training does not have.
        """
        if document.label is None:
            return "missing_label"
        if not is_selected(document, self.options.only):
            return "not_selected"
        if self.labels and document.label not in self.labels:
            return UNSEEN_LABEL
        return None

    def find_labels(self, documents: Iterable[Document]) -> list[str]:
        """The labels of the training split, sorted.

        Raises:
            DataError: There are fewer than two.
        """
        selected = (document.label for document in documents if is_selected(document, self.options.only))
        labels = sorted({label for label in selected if label is not None})
        if len(labels) < 2:
            found = f"only one label, {labels[0]!r}" if labels else "no labels"
            raise DataError(
                f"The training split has {found}; a classification needs two or more. "
                "Check fields.label of the corpus, task.options.only, and whether the labels are spread over the data."
            )
        return labels

    def parts(self, document: Document) -> list[str]:
        """The text."""
        return [document.text]

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Padded batches of documents of about equal length."""
        share = Share.of(training, rank, world_size)
        return BucketedBatches(self._examples(shard), training.block_length, self.options.cut, eot_id, share)

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Documents drawn from the whole split, each at most once."""
        examples = self._examples(shard)
        if not len(examples.starts):
            return []
        size = min(training.micro_batch_size, len(examples.starts))
        share = Share(0, size, size, rank=0, world_size=1)
        batches = BucketedBatches(examples, training.block_length, self.options.cut, eot_id, share)
        return FirstBatches(batches, min(training.validation_batches, len(examples.starts) // size))

    def _examples(self, shard: Shard) -> Examples:
        """The shard's documents with a known label."""
        number = {label: index for index, label in enumerate(self.labels)}
        labels = np.array([-1 if label is None else number.get(label, -1) for label in shard.labels], dtype=np.int64)
        known = labels >= 0
        return Examples(
            shard.tokens, shard.starts[known], shard.lengths[known], labels[known], self._weights(labels[known])
        )

    def _weights(self, labels_N: np.ndarray) -> np.ndarray:
        """How much each example counts in the loss; 1 on the average."""
        if self.options.class_weights is ClassWeights.none or not len(labels_N):
            return np.ones(len(labels_N), dtype=np.float32)
        counts_K = np.bincount(labels_N, minlength=len(self.labels))
        return np.asarray(len(labels_N) / (np.count_nonzero(counts_K) * counts_K[labels_N]), dtype=np.float32)

    def context_length(self, block_length: int) -> int:
        """The longer of what is learned from and what is answered from."""
        return max(block_length, self.options.answer_length)

    # Learning --------------------------------------------------------------------------------------------------------

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a classifier's head."""
        return Classifier(backbone, len(self.labels), self.options.dropout)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the documents, each with its weight."""
        logits_BK = network(batch["tokens"], batch["lengths"])
        nats_B = F.cross_entropy(logits_BK.float(), batch["labels"], reduction="none")
        return (nats_B * batch["weights"]).sum() / batch["weights"].sum()

    def num_targets(self, batch: Batch) -> float:
        """The documents, each with its weight."""
        return float(batch["weights"].sum(dtype=torch.float64))

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """The prompt and the probability of each label, the likeliest first."""
        row = self.probabilities(network, tokenizer, [prompt])[0]
        ranked = sorted(zip(self.labels, row, strict=True), key=lambda pair: -pair[1])
        return prompt + "\n" + "  ".join(f"{label}: {probability:.3f}" for label, probability in ranked[:10])

    def probabilities(self, network: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
        """The probability of each label, `(N, K)` in float64; long texts are cut as in training."""
        sequences = self._sequences(network, [np.asarray(tokenizer.encode(text), dtype=np.int64) for text in texts])
        order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
        result_NK = np.empty((len(sequences), len(self.labels)))
        for places in fill_batches([len(sequences[number]) for number in order], _TOKENS_AT_ONCE):
            chosen = [order[place] for place in places]
            result_NK[chosen] = _softmax(network, *pad([sequences[number] for number in chosen], tokenizer.eot_id))
        return result_NK

    def reading(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> Reading:
        """The text's tokens, cut as in training; a text without tokens is read as one end-of-text token."""
        assert isinstance(network, Classifier)
        tokens = np.asarray(tokenizer.encode(text), dtype=np.int64)
        kept = cut_tokens(tokens, network.model.max_length, self.options.cut)
        return Reading(kept.tolist() or [tokenizer.eot_id], len(tokens) - len(kept))

    def _sequences(self, network: nn.Module, encoded: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert isinstance(network, Classifier)
        return [cut_tokens(tokens, network.model.max_length, self.options.cut) for tokens in encoded]

    # Judging ---------------------------------------------------------------------------------------------------------

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Each document's label, the predicted one, and the probability of every label (`p_0`, `p_1`, …).

        They do not depend on `evaluation.batch_tokens`.
        """
        assert isinstance(network, Classifier)
        encoded = tokenizer.encode_batch([document.text for document in documents], threads=evaluation.threads)
        sequences = self._sequences(network, encoded)
        shapes = [(padded_length(len(sequence), network.model.max_length),) for sequence in sequences]
        probabilities_NK = np.empty((len(sequences), len(self.labels)))
        for chosen, (padded,) in uniform_batches(shapes, evaluation.batch_tokens):
            batch = pad([sequences[number] for number in chosen], tokenizer.eot_id, padded, LEAST_ROWS)
            probabilities_NK[chosen] = _softmax(network, *batch)[: len(chosen)]
            if progress is not None:
                progress(len(chosen))
        return self._table(documents, probabilities_NK)

    def _table(self, documents: Sequence[Document], probabilities_NK: np.ndarray) -> pa.Table:
        predicted = probabilities_NK.argmax(axis=1)
        return pa.table(
            {
                "id": pa.array([document.id for document in documents], pa.string()),
                "label": pa.array([document.label for document in documents], pa.string()),
                "predicted": pa.array([self.labels[index] for index in predicted], pa.string()),
                **{f"p_{index}": column for index, column in enumerate(probabilities_NK.T)},
            }
        )

    def relabelled(self, scores: pa.Table, labels: Sequence[str]) -> pa.Table:
        """The probabilities at this task's labels; one that the model does not know has probability 0."""
        given = {label: scores[f"p_{index}"] for index, label in enumerate(labels)}
        nothing = pa.array(np.zeros(scores.num_rows))
        kept = scores.drop_columns([f"p_{index}" for index in range(len(labels))])
        for index, label in enumerate(self.labels):
            kept = kept.append_column(f"p_{index}", given.get(label, nothing))
        return kept

    def _numbers(self, column: pa.ChunkedArray) -> np.ndarray:
        """A column of labels as their places in `labels`."""
        number = {label: index for index, label in enumerate(self.labels)}
        return np.array([number[label] for label in column.to_pylist()], dtype=np.int64)

    def _confidence(self, scores: pa.Table) -> np.ndarray:
        """The probability of the predicted label, `(N,)`."""
        return np.asarray(np.max([scores[f"p_{index}"].to_numpy() for index in range(len(self.labels))], axis=0))

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy, precision, recall, F1 and expected calibration error.

        A figure without a denominator is 0 (scikit-learn's `zero_division=0`); a label that is neither there nor
        predicted has no part in the means. The calibration error is that of Guo et al. (2017), equation 3.
        """
        actual, predicted = self._numbers(scores["label"]), self._numbers(scores["predicted"])
        right = (actual == predicted).astype(np.float64)
        num_labels = len(self.labels)
        total = weights_RN.sum(axis=1)
        hits_RK = _sums(weights_RN, actual, num_labels, right)
        actual_RK = _sums(weights_RN, actual, num_labels)
        predicted_RK = _sums(weights_RN, predicted, num_labels)
        figures_RK = {
            "precision": _ratio(hits_RK, predicted_RK),
            "recall": _ratio(hits_RK, actual_RK),
            "f1": _ratio(2 * hits_RK, actual_RK + predicted_RK),
        }
        present_RK = (actual_RK + predicted_RK) > 0
        confidence = self._confidence(scores)
        bins = _bins(confidence)
        gap = _sums(weights_RN, bins, CALIBRATION_BINS, right - confidence)
        result = {"accuracy": hits_RK.sum(axis=1) / total}
        for name, figure_RK in figures_RK.items():
            result[f"macro_{name}"] = (figure_RK * present_RK).sum(axis=1) / present_RK.sum(axis=1)
        result["expected_calibration_error"] = np.abs(gap).sum(axis=1) / total
        for index, label in enumerate(self.labels):
            for name, figure_RK in figures_RK.items():
                result[f"{name}_{label}"] = figure_RK[:, index]
        return result

    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """Always the commonest label, with the labels' shares as probabilities; and TF-IDF with logistic regression."""
        del max_length  # whatever is read of a text, the same labels are scored
        counts = np.bincount(self._examples(train.shard).labels, minlength=len(self.labels)).astype(np.float64)
        shares_NK = np.tile(counts / counts.sum(), (len(documents), 1))
        number = {label: index for index, label in enumerate(self.labels)}
        known = [(document.text, number[str(document.label)]) for document in train.documents()]
        texts, labels = [text for text, _ in known], [label for _, label in known]
        asked = [document.text for document in documents]
        learned_NK = tfidf_logistic_regression(texts, labels, len(self.labels), asked)
        return [
            Baseline("majority", Strength.trivial, self._table(documents, shares_NK)),
            Baseline("tfidf_logistic_regression", Strength.serious, self._table(documents, learned_NK)),
        ]

    def plots(self, scores: pa.Table) -> list[Plot]:
        """The confusion matrix, and accuracy against confidence."""
        actual, predicted = self._numbers(scores["label"]), self._numbers(scores["predicted"])
        num_labels = len(self.labels)
        counts = np.bincount(actual * num_labels + predicted, minlength=num_labels**2)
        confidence = self._confidence(scores)
        bins = _bins(confidence)
        sizes = np.bincount(bins, minlength=CALIBRATION_BINS)
        used = sizes > 0
        mean_confidence = np.bincount(bins, confidence, CALIBRATION_BINS)[used] / sizes[used]
        accuracy = np.bincount(bins, actual == predicted, CALIBRATION_BINS)[used] / sizes[used]
        return [
            Plot(
                "confusion",
                "matrix",
                "Confusion matrix",
                "predicted label",
                "actual label",
                {
                    "actual": [label for label in self.labels for _ in self.labels],
                    "predicted": list(self.labels) * num_labels,
                    "count": [int(count) for count in counts],
                },
            ),
            Plot(
                "calibration",
                "line",
                "Calibration",
                "probability given to the predicted label",
                "share of right answers",
                {
                    "confidence": [float(value) for value in mean_confidence],
                    "model": [float(value) for value in accuracy],
                    "perfect": [float(value) for value in mean_confidence],
                },
            ),
        ]


@torch.inference_mode()
def _softmax(network: nn.Module, tokens_BT: Tensor, lengths_B: Tensor) -> np.ndarray:
    """The probability of each label, `(B, K)` in float64."""
    device = device_of(network)
    logits_BK: Tensor = network(tokens_BT.to(device), lengths_B.to(device))
    return np.asarray(logits_BK.double().softmax(dim=-1).cpu().numpy())


def _bins(confidence_N: np.ndarray) -> np.ndarray:
    """The calibration bin of each confidence; a bin holds its upper edge, as in Guo et al. (2017)."""
    bins = np.ceil(confidence_N * CALIBRATION_BINS).astype(np.int64) - 1
    return np.asarray(np.clip(bins, 0, CALIBRATION_BINS - 1))


def _sums(weights_RN: np.ndarray, group_N: np.ndarray, groups: int, value_N: np.ndarray | float = 1.0) -> np.ndarray:
    """The weighted sum of a value in each group of examples, `(R, groups)`."""
    indicator = np.zeros((len(group_N), groups))
    indicator[np.arange(len(group_N)), group_N] = value_N
    return np.asarray(weights_RN @ indicator)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0))
