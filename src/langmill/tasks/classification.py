"""Classification: predict the label of a text.

Shape suffixes: B sequences, T tokens, N examples, K labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config import constraints
from langmill.config.sections import Training
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.errors import DataError
from langmill.models.base import Backbone, Kind
from langmill.models.heads import Classifier
from langmill.tasks.base import (
    TASKS,
    UNSEEN_LABEL,
    Classifies,
    Embeds,
    EncodedInput,
    Explains,
    Task,
    device_of,
    is_selected,
)
from langmill.tasks.batching import (
    Batch,
    BucketedBatches,
    Examples,
    MicroBatches,
    Share,
    Truncation,
    fill_batches,
    first_batches,
    pad,
    truncate,
)
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

_TOKENS_AT_ONCE = 8192  # padding counted, in one forward pass for callers without settings


class ClassWeights(StrEnum):
    """How much a document of each label counts in the loss."""

    none = "none"
    balanced = "balanced"


@settings
class ClassificationOptions:
    """Options of the task `classification`."""

    renamed_fields: ClassVar[Mapping[str, str]] = {"cut": "truncation"}
    dropout: constraints.Share
    """Share of the pooled state that is dropped in training, 0 to below 1."""
    truncation: Truncation
    """Which tokens of a document longer than training.block_length are kept: `head`, `tail`, or half of each."""
    answer_length: NonNegativeInt
    """Tokens of a text that are read when its label is predicted; a longer text is truncated. May exceed
    training.block_length: what was learned from pieces is predicted from more of the text. 0 takes that."""
    class_weights: ClassWeights
    """How much a document counts in the loss: `none`, all the same; `balanced`, documents of each label the same
    together (weights inversely proportional to a label's share, King & Zeng, 2001), so that a rare one is not
    neglected."""
    only: dict[str, list[str]]
    """Metadata fields and the values to learn from and be judged on; documents with others are left out and counted.
    Empty takes every document."""


@TASKS.register("classification")
class Classification(Task, Classifies, Embeds, Explains):
    """Predict which of the labels seen in training a text has."""

    options_class = ClassificationOptions
    earlier_options: ClassVar[Mapping[str, Any]] = {"class_weights": "none"}
    options: ClassificationOptions
    kinds = frozenset({Kind.causal, Kind.bidirectional})
    scorer = "classification"

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
        """The labels of the training split, sorted. Raises DataError where there are fewer than two."""
        selected = (document.label for document in documents if is_selected(document, self.options.only))
        labels = sorted({label for label in selected if label is not None})
        if len(labels) < 2:
            found = f"only one label, {labels[0]!r}" if labels else "no labels"
            raise DataError(
                f"The training split has {found}; a classification needs two or more. "
                "Check fields.label of the corpus, task.options.only, and whether the labels are spread over the data.",
                code="too_few",
            )
        return labels

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Padded batches of documents of about equal length."""
        share = Share.of(training, rank, world_size)
        return BucketedBatches(self.examples(shard), training.block_length, self.options.truncation, eot_id, share)

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Documents drawn from the whole split, each at most once."""
        examples, length, truncation = self.examples(shard), training.block_length, self.options.truncation
        return first_batches(
            len(examples.starts), training, lambda share: BucketedBatches(examples, length, truncation, eot_id, share)
        )

    def examples(self, shard: Shard) -> Examples:
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

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a classifier's head."""
        return Classifier(backbone, len(self.labels), self.options.dropout)

    def observe(self, backbone: Backbone, shard: Shard) -> None:
        """Show it the texts, as they are read when their label is predicted, and the labels."""
        found, (length, truncation) = self.examples(shard), (backbone.max_length, self.options.truncation)
        spans = zip(found.starts.tolist(), found.lengths.tolist(), strict=True)
        texts = [truncate(found.tokens[start : start + size], length, truncation) for start, size in spans]
        backbone.observe_labels(texts, found.labels)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the documents, each with its weight."""
        logits_BK = network(batch["tokens"], batch["lengths"])
        nats_B = F.cross_entropy(logits_BK.float(), batch["labels"], reduction="none")
        return (nats_B * batch["weights"]).sum() / batch["weights"].sum()

    def num_targets(self, batch: Batch) -> float:
        """The documents, each with its weight."""
        return float(batch["weights"].sum(dtype=torch.float64))

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """The prompt and the probability of each label, the most likely first."""
        row = self.probabilities(network, tokenizer, [prompt])[0]
        ranked = sorted(zip(self.labels, row, strict=True), key=lambda pair: -pair[1])
        return prompt + "\n" + "  ".join(f"{label}: {probability:.3f}" for label, probability in ranked[:10])

    def probabilities(self, network: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
        """The probability of each label, `(N, K)` in float64; long texts are truncated as in training."""
        sequences = self.truncated(network, [np.asarray(tokenizer.encode(text), dtype=np.int64) for text in texts])
        order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
        result_NK = np.empty((len(sequences), len(self.labels)))
        for places in fill_batches([len(sequences[number]) for number in order], _TOKENS_AT_ONCE):
            chosen = [order[place] for place in places]
            result_NK[chosen] = softmax(network, *pad([sequences[number] for number in chosen], tokenizer.eot_id))
        return result_NK

    def encode_input(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> EncodedInput:
        """The text's tokens, truncated as in training; a text without tokens is read as one end-of-text token."""
        tokens = np.asarray(tokenizer.encode(text), dtype=np.int64)
        (kept,) = self.truncated(network, [tokens])
        return EncodedInput(kept.tolist() or [tokenizer.eot_id], len(tokens) - len(kept))

    def truncated(self, network: nn.Module, encoded: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the network reads of some texts' tokens."""
        assert isinstance(network, Classifier)
        return [truncate(tokens, network.model.max_length, self.options.truncation) for tokens in encoded]


@torch.inference_mode()
def softmax(network: nn.Module, tokens_BT: Tensor, lengths_B: Tensor) -> np.ndarray:
    """The probability of each label, `(B, K)` in float64."""
    device = device_of(network)
    logits_BK: Tensor = network(tokens_BT.to(device), lengths_B.to(device))
    return np.asarray(logits_BK.double().softmax(dim=-1).cpu().numpy())
