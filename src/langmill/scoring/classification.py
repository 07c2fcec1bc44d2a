"""How a classifier is judged: by its labels and by the probabilities that it gives them.

Shape suffixes: B sequences, T tokens, N examples, K labels, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
from torch import nn

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.models.heads import Classifier
from langmill.plugins import NoOptions
from langmill.scoring.base import SCORERS, Baseline, Metric, Plot, Scorer, Strength, TrainingData
from langmill.scoring.baselines import tfidf_logistic_regression
from langmill.scoring.batching import LEAST_ROWS, padded_length, uniform_batches
from langmill.tasks.batching import pad
from langmill.tasks.classification import Classification, softmax
from langmill.tokenization.tokenizer import Tokenizer

CALIBRATION_BINS = 15
"""Bins of equal width in the calibration error (Guo et al., 2017)."""


@SCORERS.register("classification")
class ClassificationScorer(Scorer):
    """Judges the prediction of labels."""

    options_class = NoOptions
    task: Classification

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
        sequences = self.task.truncated(network, encoded)
        shapes = [(padded_length(len(sequence), network.model.max_length),) for sequence in sequences]
        probabilities_NK = np.empty((len(sequences), len(self.labels)))
        for chosen, (padded,) in uniform_batches(shapes, evaluation.batch_tokens):
            batch = pad([sequences[number] for number in chosen], tokenizer.eot_id, padded, LEAST_ROWS)
            probabilities_NK[chosen] = softmax(network, *batch)[: len(chosen)]
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

    def _numbers(self, labels: Iterable[str]) -> np.ndarray:
        """Labels as their places in `self.labels`."""
        number = {label: index for index, label in enumerate(self.labels)}
        return np.array([number[label] for label in labels], dtype=np.int64)

    def _compared(self, scores: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The numbers of the actual and of the predicted label, and the probability of the latter, each `(N,)`."""
        probabilities = [scores[f"p_{index}"].to_numpy() for index in range(len(self.labels))]
        actual, predicted = (self._numbers(scores[name].to_pylist()) for name in ("label", "predicted"))
        return actual, predicted, np.asarray(np.max(probabilities, axis=0))

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy, precision, recall, F1 and expected calibration error.

        A metric without a denominator is 0 (scikit-learn's `zero_division=0`); a label that is neither there nor
        predicted has no part in the means. The calibration error is that of Guo et al. (2017), equation 3.
        """
        actual, predicted, confidence = self._compared(scores)
        right = (actual == predicted).astype(np.float64)
        num_labels = len(self.labels)
        total = weights_RN.sum(axis=1)
        hits_RK = _sums(weights_RN, actual, num_labels, right)
        actual_RK = _sums(weights_RN, actual, num_labels)
        predicted_RK = _sums(weights_RN, predicted, num_labels)
        values_by_name = {
            "precision": _ratio(hits_RK, predicted_RK),
            "recall": _ratio(hits_RK, actual_RK),
            "f1": _ratio(2 * hits_RK, actual_RK + predicted_RK),
        }
        present_RK = (actual_RK + predicted_RK) > 0
        gap = _sums(weights_RN, _bins(confidence), CALIBRATION_BINS, right - confidence)
        result = {"accuracy": hits_RK.sum(axis=1) / total}
        for name, value_RK in values_by_name.items():
            result[f"macro_{name}"] = (value_RK * present_RK).sum(axis=1) / present_RK.sum(axis=1)
        result["expected_calibration_error"] = np.abs(gap).sum(axis=1) / total
        for index, label in enumerate(self.labels):
            for name, value_RK in values_by_name.items():
                result[f"{name}_{label}"] = value_RK[:, index]
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
        counts = np.bincount(self.task.examples(train.shard).labels, minlength=len(self.labels)).astype(np.float64)
        shares_NK = np.tile(counts / counts.sum(), (len(documents), 1))
        known = list(train.documents())
        learned_NK = tfidf_logistic_regression(
            [document.text for document in known],
            self._numbers(str(document.label) for document in known),
            len(self.labels),
            [document.text for document in documents],
        )
        return [
            Baseline("majority", Strength.trivial, self._table(documents, shares_NK)),
            Baseline("tfidf_logistic_regression", Strength.strong, self._table(documents, learned_NK)),
        ]

    def plots(self, scores: pa.Table) -> list[Plot]:
        """The confusion matrix, and accuracy against confidence."""
        actual, predicted, confidence = self._compared(scores)
        num_labels = len(self.labels)
        counts = np.bincount(actual * num_labels + predicted, minlength=num_labels**2)
        bins = _bins(confidence)
        sizes = np.bincount(bins, minlength=CALIBRATION_BINS)
        used = sizes > 0
        mean_confidence = np.bincount(bins, confidence, CALIBRATION_BINS)[used] / sizes[used]
        accuracy = np.bincount(bins, actual == predicted, CALIBRATION_BINS)[used] / sizes[used]
        confusion = {
            "actual": [label for label in self.labels for _ in self.labels],
            "predicted": list(self.labels) * num_labels,
            "count": counts.tolist(),
        }
        below, beside = "probability given to the predicted label", "share of right answers"
        given = mean_confidence.tolist()
        calibration = {"confidence": given, "model": accuracy.tolist(), "perfect": given}
        return [
            Plot("confusion", "matrix", "Confusion matrix", "predicted label", "actual label", confusion),
            Plot("calibration", "line", "Calibration", below, beside, calibration),
        ]


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
