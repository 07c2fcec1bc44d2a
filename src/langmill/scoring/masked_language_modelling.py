"""How a masked language model is judged: by what each masked token costs.

Which tokens are masked is a function of the document's id: a score is the same at every evaluation.

Shape suffixes: B sequences, T tokens, N masked tokens, D model width, R resamples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import torch
from pydantic import PositiveInt
from torch import nn

from langmill.config.sections import Evaluation
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.data.ngram import fit_ngram
from langmill.models.heads import LanguageModel
from langmill.scoring.base import SCORERS, Baseline, Metric, Plot, Scorer, Strength, TrainingData
from langmill.scoring.batching import LEAST_ROWS, padded_length, uniform_batches
from langmill.scoring.likelihood import likelihood
from langmill.tasks.base import device_of
from langmill.tasks.batching import pad
from langmill.tasks.masked_language_modelling import MASK, NOT_CHOSEN, MaskShare, mask_tokens
from langmill.tokenization.tokenizer import Tokenizer


@settings
class MaskedLanguageModellingOptions:
    """Options of the scorer `masked_language_modelling`."""

    mask_share: MaskShare
    """Share of a document's tokens that are masked and to be predicted, above 0, to 0.5."""
    score_length: PositiveInt
    """Tokens of a document that are scored, at most; of what is longer, for this or for the network, the beginning."""


@SCORERS.register("masked_language_modelling")
class MaskedLanguageModellingScorer(Scorer):
    """Judges the prediction of masked tokens."""

    options_class = MaskedLanguageModellingOptions
    options: MaskedLanguageModellingOptions

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The loss on masked tokens decides."""
        return (
            Metric("masked_loss", "Loss on masked tokens", False, per_token=True, of_scored_bytes=True),
            Metric("masked_accuracy", "Accuracy on masked tokens", True, per_token=True, of_scored_bytes=True),
        )

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Nats, masked tokens, bytes and right predictions of each document; of a long one, of its beginning.

        Which tokens are masked depends on the document alone, and scores do not depend on `evaluation.batch_tokens`.
        """
        assert isinstance(network, LanguageModel)
        examples = self.examples(tokenizer, documents, evaluation, network.model.max_length)
        nats, correct = np.zeros(len(documents)), np.zeros(len(documents), dtype=np.int64)
        device = device_of(network)
        shapes = [(padded_length(len(read), network.model.max_length),) for read, _ in examples]
        for chosen, (padded,) in uniform_batches(shapes, evaluation.batch_tokens):
            tokens_BT, lengths_B = pad([examples[number][0] for number in chosen], tokenizer.eot_id, padded, LEAST_ROWS)
            targets_BT, _ = pad([examples[number][1] for number in chosen], NOT_CHOSEN)
            row_N, place_N = (targets_BT >= 0).nonzero(as_tuple=True)
            with torch.inference_mode():
                hidden_BTD = network.model(tokens_BT.to(device), lengths_B.to(device))
                hidden_ND = hidden_BTD[row_N.to(device), place_N.to(device)]
                found = likelihood(network.head, hidden_ND, targets_BT[row_N, place_N].to(device))
            document = np.array(chosen)[row_N.numpy()]
            for column, values in zip((nats, correct), found, strict=True):
                np.add.at(column, document, values)
            if progress is not None:
                progress(len(chosen))
        return _table(tokenizer, documents, examples, nats, correct)

    def examples(
        self, tokenizer: Tokenizer, documents: Sequence[Document], evaluation: Evaluation, max_length: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each document's tokens as a network reads `max_length` at once, and its targets: at least one.

        A target is -1 where nothing is to be predicted.
        """
        length = min(self.options.score_length, max_length)
        mask_id = tokenizer.special_ids[MASK]
        encoded = tokenizer.encode_batch([document.text for document in documents], threads=evaluation.threads)
        examples = []
        for document, tokens in zip(documents, encoded, strict=True):
            digest = hashlib.sha256(document.id.encode()).digest()
            random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            kept = (tokens if len(tokens) else np.array([tokenizer.eot_id]))[:length].astype(np.int64)
            chances = random.random(kept.shape), random.random(kept.shape)
            drawn = random.integers(tokenizer.vocab_size, size=kept.shape)
            read, targets = mask_tokens(kept, self.options.mask_share, mask_id, chances, drawn)
            if (targets == NOT_CHOSEN).all():
                place = int(random.integers(len(kept)))
                targets[place], read[place] = kept[place], mask_id
            examples.append((read, targets))
        return examples

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Ratios of weighted sums over the documents."""
        columns = ("nats", "tokens", "correct")
        sums = weights_RN @ np.stack([scores[name].to_numpy().astype(np.float64) for name in columns], axis=1)
        nats, tokens, correct = sums.T
        return {"masked_loss": nats / tokens, "masked_accuracy": correct / tokens}

    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """A smoothed unigram: how common each token is, whatever stands around it."""
        model = fit_ngram(train.shard.tokens, tokenizer.vocab_size, tokenizer.eot_id, 1)
        examples = self.examples(tokenizer, documents, evaluation, max_length)
        nats, correct = np.zeros(len(documents)), np.zeros(len(documents), dtype=np.int64)
        for number, (_, targets) in enumerate(examples):
            masked = targets[targets != NOT_CHOSEN]
            nats[number] = model.nats(masked).sum()
            correct[number] = np.count_nonzero(model.most_likely(masked) == masked)
        return [Baseline("unigram", Strength.trivial, _table(tokenizer, documents, examples, nats, correct))]

    def plots(self, scores: pa.Table) -> list[Plot]:
        """How the documents' losses are spread."""
        losses_N = scores["nats"].to_numpy() / scores["tokens"].to_numpy()
        title = "Loss on the masked tokens of each document"
        return [Plot.spread("document_losses", title, losses_N, "nats per masked token")]


def _table(
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    examples: Sequence[tuple[np.ndarray, np.ndarray]],
    nats: np.ndarray,
    correct: np.ndarray,
) -> pa.Table:
    lengths = [len(read) for read, _ in examples]
    scored = [tokenizer.leading_bytes(each.text, length) for each, length in zip(documents, lengths, strict=True)]
    return pa.table(
        {
            "id": pa.array([document.id for document in documents], pa.string()),
            "nats": nats,
            "tokens": np.array([np.count_nonzero(targets != NOT_CHOSEN) for _, targets in examples], dtype=np.int64),
            "bytes": np.array(scored, dtype=np.int64),
            "correct": correct,
        }
    )
