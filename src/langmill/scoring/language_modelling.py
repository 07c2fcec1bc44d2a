"""How a language model is judged: by what each token of a document costs.

A document is scored as one end-of-text token, which only gives context, then its own tokens and one more end-of-text
token, which are predicted. Metrics over bytes (bits per byte) can be compared between models with other tokenizers;
metrics over tokens (perplexity, accuracy) can't.

Shape suffixes: B sequences, T tokens, N predicted tokens, D model width, V vocabulary, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from langmill.config.sections import Evaluation
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.data.ngram import fit_ngram
from langmill.models.generation.config import GenerationConfig
from langmill.models.heads import LanguageModel
from langmill.scoring.base import SCORERS, Baseline, Metric, Plot, Scorer, Strength, TrainingData
from langmill.scoring.batching import LEAST_ROWS, padded_length, uniform_batches
from langmill.scoring.bits_per_byte import document_bits_per_byte, token_metrics
from langmill.scoring.likelihood import likelihood
from langmill.tasks.base import device_of
from langmill.tasks.batching import pad
from langmill.tokenization.tokenizer import Tokenizer

POSITION_EDGES = (0, 16, 32, 64, 128, 256, 512, 1024)
"""Where the bins begin, in tokens from the start of the document, in which losses by position are kept."""


@settings
class LanguageModellingOptions:
    """Options of the scorer `language_modelling`."""

    context_overlap: Annotated[float, Field(ge=0, le=0.9)]
    """Scoring documents longer than the network's context: the share of a window, 0 to 0.9, that was predicted in the
    window before and only gives context. More is slower and gives every token more to go by."""
    decoding: GenerationConfig
    """How the finished model goes on from a text where the asker does not say; no score depends on it."""


@dataclass(frozen=True)
class Window:
    """A piece of one document that the network reads at once."""

    document: int
    start: int
    """The first token read, counted from the end-of-text token before the document."""
    first_scored: int
    """The first place whose prediction counts; the ones before were predicted in the window before."""
    end: int
    """The place after the last token read."""

    def __len__(self) -> int:
        return self.end - self.start


def cut_windows(document: int, length: int, context_length: int, overlap: float) -> list[Window]:
    """Windows over a document's tokens and the end-of-text token before them; every place is scored exactly once.

    The last one is moved back so that it is full, and its first places are context. `overlap` is the share of a window
    that is context.
    """
    stride = max(1, context_length - int(context_length * overlap))
    windows: list[Window] = []
    done = 0
    while done < length:
        end = min(length, context_length if not windows else done + stride)
        windows.append(Window(document, max(0, end - context_length), done, end))
        done = end
    return windows


class _Tally:
    """Sums of what was predicted, by document and by position."""

    def __init__(self, num_documents: int) -> None:
        bins = len(POSITION_EDGES)
        self.nats = np.zeros((num_documents, bins))
        self.tokens = np.zeros((num_documents, bins), dtype=np.int64)
        self.correct = np.zeros(num_documents, dtype=np.int64)

    def add(self, document: np.ndarray, position: np.ndarray, nats: np.ndarray, correct: np.ndarray) -> None:
        """Count predictions: four arrays of one length."""
        place = np.searchsorted(POSITION_EDGES, position, side="right") - 1
        np.add.at(self.nats, (document, place), nats)
        np.add.at(self.tokens, (document, place), 1)
        np.add.at(self.correct, document, correct)

    def table(self, documents: Sequence[Document], texts: Sequence[str]) -> pa.Table:
        return pa.table(
            {
                "id": pa.array([document.id for document in documents], pa.string()),
                "nats": self.nats.sum(axis=1),
                "tokens": self.tokens.sum(axis=1),
                "bytes": np.array([len(text.encode()) for text in texts], dtype=np.int64),
                "correct": self.correct,
                "position_nats": pa.array(list(self.nats), pa.list_(pa.float64())),
                "position_tokens": pa.array(list(self.tokens), pa.list_(pa.int64())),
            }
        )


@SCORERS.register("language_modelling")
class LanguageModellingScorer(Scorer):
    """Judges the prediction of the next token."""

    options_class = LanguageModellingOptions
    options: LanguageModellingOptions

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Bits per byte decides."""
        return (
            Metric("bits_per_byte", "Bits per byte", higher_is_better=False, per_byte=True),
            Metric("perplexity", "Perplexity per token", higher_is_better=False, per_token=True),
            Metric("next_token_accuracy", "Next-token accuracy", higher_is_better=True, per_token=True),
        )

    @property
    def generation_config(self) -> GenerationConfig:
        """As the recipe says."""
        return self.options.decoding

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Nats, tokens, bytes and right guesses of each document, and its nats and tokens by position.

        They do not depend on `evaluation.batch_tokens`.
        """
        assert isinstance(network, LanguageModel)
        texts = self._texts(documents)
        sequences = _sequences(tokenizer, texts, evaluation)
        context_length = network.model.max_length
        windows = [
            window
            for number, sequence in enumerate(sequences)
            for window in cut_windows(number, len(sequence) - 1, context_length, self.options.context_overlap)
        ]
        tally = _Tally(len(documents))
        finished = np.array([len(sequence) - 1 for sequence in sequences])  # places still to be scored
        shapes = [(padded_length(len(window), context_length),) for window in windows]
        for numbers, (padded,) in uniform_batches(shapes, evaluation.batch_tokens):
            chosen = [windows[number] for number in numbers]
            document, *found = _predict(network, chosen, sequences, tokenizer.eot_id, padded)
            tally.add(document, *found)
            if progress is not None:
                touched, scored = np.unique(document, return_counts=True)
                finished[touched] -= scored
                progress(int(np.count_nonzero(finished[touched] == 0)))
        return tally.table(documents, texts)

    def _texts(self, documents: Sequence[Document]) -> list[str]:
        """What is scored of each document: what is learned from one."""
        return ["".join(self.task.parts(document)) for document in documents]

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Ratios of weighted sums over the documents."""
        return token_metrics(scores, weights_RN)

    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """A unigram and a trigram model of the same tokens, both smoothed."""
        del max_length  # of a long document every token is scored, window by window
        texts = self._texts(documents)
        # A score needs only what is predicted: each document's tokens and the end-of-text token after them.
        predicted = [sequence[1:] for sequence in _sequences(tokenizer, texts, evaluation)]
        tokens = np.concatenate(predicted)
        document = np.repeat(np.arange(len(documents)), [len(sequence) for sequence in predicted])
        position = np.concatenate([np.arange(len(sequence)) for sequence in predicted])
        found = []
        for name, order, strength in (("unigram", 1, Strength.trivial), ("trigram", 3, Strength.strong)):
            model = fit_ngram(train.shard.tokens, tokenizer.vocab_size, tokenizer.eot_id, order)
            tally = _Tally(len(documents))
            tally.add(document, position, model.nats(tokens), model.most_likely(tokens) == tokens)
            found.append(Baseline(name, strength, tally.table(documents, texts)))
        return found

    def plots(self, scores: pa.Table) -> list[Plot]:
        """The loss by position in the document, and how the documents' losses are spread."""
        nats = np.array(scores["position_nats"].to_pylist()).sum(axis=0)
        tokens = np.array(scores["position_tokens"].to_pylist()).sum(axis=0)
        reached = tokens > 0
        bits = nats[reached] / tokens[reached] / math.log(2)
        position = [str(edge) for edge, seen in zip(POSITION_EDGES, reached, strict=True) if seen]
        columns = {"position": position, "bits per token": bits.tolist()}
        title, below = "Loss by position in the document", "tokens before it in the document, from"
        return [
            Plot("bits_by_position", "line", title, below, "bits per token", columns),
            Plot.spread("document_losses", "Loss of each document", document_bits_per_byte(scores)),
        ]


def _sequences(tokenizer: Tokenizer, texts: Sequence[str], evaluation: Evaluation) -> list[np.ndarray]:
    """Every text's tokens between two end-of-text tokens."""
    eot = np.array([tokenizer.eot_id], dtype=np.int64)
    encoded = tokenizer.encode_batch(texts, threads=evaluation.threads)
    return [np.concatenate([eot, tokens, eot]) for tokens in encoded]


@torch.inference_mode()
def _predict(
    network: LanguageModel, windows: Sequence[Window], sequences: Sequence[np.ndarray], eot_id: int, padded: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each scored prediction's document, position in it, nats, and whether the most likely token was right."""
    device = device_of(network)
    read = [sequences[window.document][window.start : window.end] for window in windows]
    tokens_BT, lengths_B = pad(read, eot_id, padded, LEAST_ROWS)
    hidden_BTD: Tensor = network.model(tokens_BT.to(device), lengths_B.to(device))[: len(windows)]
    place_T = torch.arange(padded)
    first_B = torch.tensor([window.first_scored - window.start for window in windows])
    scored_BT = (place_T >= first_B[:, None]) & (place_T < lengths_B[: len(windows), None])
    target_N = torch.from_numpy(
        np.concatenate([sequences[window.document][window.first_scored + 1 : window.end + 1] for window in windows])
    )
    nats, correct = likelihood(network.head, hidden_BTD[scored_BT.to(device)], target_N.to(device))
    counts = [window.end - window.first_scored for window in windows]
    return (
        np.repeat([window.document for window in windows], counts),
        np.concatenate([np.arange(window.first_scored, window.end) for window in windows]),
        nats,
        correct,
    )
