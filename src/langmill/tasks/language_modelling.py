"""Language modelling: predict the next token.

A document is scored as one end-of-text token, which only gives context, then its own tokens and one more end-of-text
token, which are predicted. Figures over bytes (bits per byte) can be compared between models with other tokenizers;
figures over tokens (perplexity, accuracy) can't.

Shape suffixes: B sequences, T tokens, N predicted tokens, D model width, V vocabulary, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from langmill.config.sections import Evaluation, Training, require
from langmill.data.document import Document
from langmill.models.base import Backbone, Kind
from langmill.models.generation.config import GenerationConfig, Sampling
from langmill.models.heads import LanguageModel
from langmill.tasks.base import (
    TASKS,
    Baseline,
    Explains,
    Generates,
    Metric,
    Plot,
    Reading,
    Strength,
    Task,
    TrainingData,
    device_of,
)
from langmill.tasks.batching import (
    LEAST_ROWS,
    Batch,
    FirstBatches,
    MicroBatches,
    PackedBatches,
    Share,
    pad,
    padded_length,
    uniform_batches,
)
from langmill.scoring.likelihood import likelihood
from langmill.scoring.ngram import NgramModel, fit_ngram
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

POSITION_EDGES = (0, 16, 32, 64, 128, 256, 512, 1024)
"""Where the bins begin, in tokens from the start of the document, in which losses by position are kept."""
_HISTOGRAM_SCORES = 2000  # a picture needs no more


@dataclass
class SamplingOptions:
    """How a model goes on from a text where the asker does not say: what its `generation_config.json` will hold."""

    max_new_tokens: int
    """Tokens of a text, at most."""
    temperature: float
    """How freely tokens are drawn: 1 as the network says, below 1 safer, 0 always the most likely token."""
    top_k: int
    """Choose among this many of the likeliest tokens; 0 for all."""
    top_p: float
    """Choose among the fewest tokens whose probabilities add up to this; 1 for all."""
    min_p: float
    """Choose among tokens that are at least this many times as likely as the likeliest one; 0 for all."""
    repetition_penalty: float
    """Tokens that are there already become this many times less likely; 1 leaves them."""

    def __post_init__(self) -> None:
        GenerationConfig(**asdict(self))  # refuses what is out of range


@dataclass
class LanguageModellingOptions:
    """Options of the task `language_modelling`."""

    context_overlap: float
    """Scoring documents longer than the network's reach: the share of a window, 0 to 0.9, that was predicted in the
    window before and only gives context. More is slower and gives every token more to go by."""
    sample_tokens: int
    """Tokens in a sample text that is generated during training, at most."""
    sample_temperature: float
    """How freely samples are drawn: 1 as the network says, below 1 safer, 0 always the most likely token."""
    writing: SamplingOptions
    """How the finished model goes on from a text where the asker does not say."""

    def __post_init__(self) -> None:
        require(0 <= self.context_overlap <= 0.9, "task.options.context_overlap", self.context_overlap, "0 to 0.9")
        require(self.sample_tokens >= 1, "task.options.sample_tokens", self.sample_tokens, "1 or more")
        require(
            0 <= self.sample_temperature <= 10, "task.options.sample_temperature", self.sample_temperature, "0 to 10"
        )


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


def cut_windows(document: int, length: int, reach: int, overlap: float) -> list[Window]:
    """Windows over a sequence in which every place is scored exactly once.

    The last one is moved back so that it is full, and its first places are context.

    Args:
        document: The document's number.
        length: Tokens to read: the document's and the end-of-text token before it.
        reach: Tokens that the network can look back on.
        overlap: Share of a window that is context.
    """
    stride = max(1, reach - int(reach * overlap))
    windows: list[Window] = []
    done = 0
    while done < length:
        end = min(length, reach if not windows else done + stride)
        windows.append(Window(document, max(0, end - reach), done, end))
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


@TASKS.register("language_modelling")
class LanguageModelling(Task, Generates, Explains):
    """Predict the next token of a text."""

    options_class = LanguageModellingOptions
    options: LanguageModellingOptions
    # What `langmill generate` took before a model said it itself.
    earlier_options: ClassVar[Mapping[str, Any]] = {
        "writing": {
            "max_new_tokens": 100, "temperature": 0.8, "top_k": 50, "top_p": 1.0, "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
    }  # fmt: skip
    kinds = frozenset({Kind.causal})
    eot_before = True
    judging_options = ("context_overlap",)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Bits per byte decides."""
        return (
            Metric("bits_per_byte", "Bits per byte", higher_is_better=False, unit="bits"),
            Metric("perplexity", "Perplexity per token", higher_is_better=False, per_token=True),
            Metric("next_token_accuracy", "Next-token accuracy", higher_is_better=True, per_token=True),
        )

    # Data ------------------------------------------------------------------------------------------------------------

    def check(self, document: Document) -> str | None:
        """Every text can be learned from, except an empty one."""
        return None if document.text else "empty_text"

    def find_labels(self, documents: Iterable[Document]) -> list[str]:
        """None."""
        return []

    def parts(self, document: Document) -> list[str]:
        """The text."""
        return [document.text]

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Packed blocks of the whole stream."""
        return PackedBatches(shard.tokens, training.block_length, Share.of(training, rank, world_size))

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Blocks drawn from all over the stream, each at most once."""
        if not shard.num_tokens:
            return []
        size = min(training.micro_batch_size, max(1, shard.num_tokens // training.block_length))
        batches = PackedBatches(shard.tokens, training.block_length, Share(0, size, size, rank=0, world_size=1))
        return FirstBatches(batches, min(training.validation_batches, batches.num_blocks // size))

    # Learning --------------------------------------------------------------------------------------------------------

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        return LanguageModel(backbone, backbone.tie_embeddings)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over all tokens of the blocks."""
        assert isinstance(network, LanguageModel)
        return network.loss(batch["tokens"], batch["targets"])

    def num_targets(self, batch: Batch) -> float:
        """All tokens of the blocks."""
        return batch["targets"].numel()

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """How the network goes on from a prompt, the prompt included (its end, where the prompt is very long)."""
        assert isinstance(network, LanguageModel)
        sampling = Sampling(
            max_new_tokens=self.options.sample_tokens,
            temperature=self.options.sample_temperature,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            repetition_penalty=1.0,
            seed=seed,
            stop_ids=(tokenizer.eot_id,),
        )
        prompt_ids = self.prompt_ids(tokenizer, prompt)[-max(1, network.model.max_length // 2) :]
        return prompt + tokenizer.decode(list(self.generate(network, prompt_ids, sampling)))

    @property
    def generation_config(self) -> GenerationConfig:
        """As the recipe says."""
        return GenerationConfig(**asdict(self.options.writing))

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """An end-of-text token, as before every document in training, and the prompt."""
        return [tokenizer.eot_id, *tokenizer.encode(prompt)]

    def reading(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> Reading:
        """The prompt that a text makes; of a long one its beginning."""
        assert isinstance(network, LanguageModel)
        tokens = self.prompt_ids(tokenizer, text)
        return Reading(tokens[: network.model.max_length], max(0, len(tokens) - network.model.max_length))

    # Judging ---------------------------------------------------------------------------------------------------------

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Nats, tokens, bytes and right guesses of each document, and its nats and tokens by position.

        Windows of about equal length are read together, as many as `evaluation.batch_tokens` allows; scores do not
        depend on it.
        """
        assert isinstance(network, LanguageModel)
        texts = self._texts(documents)
        sequences = _sequences(tokenizer, texts, evaluation)
        reach = network.model.max_length
        windows = [
            window
            for number, sequence in enumerate(sequences)
            for window in cut_windows(number, len(sequence) - 1, reach, self.options.context_overlap)
        ]
        tally = _Tally(len(documents))
        finished = np.array([len(sequence) - 1 for sequence in sequences])  # places still to be scored
        shapes = [(padded_length(len(window), reach),) for window in windows]
        for numbers, (padded,) in uniform_batches(shapes, evaluation.batch_tokens):
            chosen = [windows[number] for number in numbers]
            document, position, nats, correct = _predict(network, chosen, sequences, tokenizer.eot_id, padded)
            tally.add(document, position, nats, correct)
            if progress is not None:
                touched, scored = np.unique(document, return_counts=True)
                finished[touched] -= scored
                progress(int(np.count_nonzero(finished[touched] == 0)))
        return tally.table(documents, texts)

    def _texts(self, documents: Sequence[Document]) -> list[str]:
        """What is scored of each document: what is learned from one."""
        return ["".join(self.parts(document)) for document in documents]

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Ratios of weighted sums over the documents."""
        columns = ("nats", "tokens", "bytes", "correct")
        sums = weights_RN @ np.stack([scores[name].to_numpy().astype(np.float64) for name in columns], axis=1)
        nats, tokens, num_bytes, correct = sums.T
        return {
            "bits_per_byte": nats / (math.log(2) * num_bytes),
            "perplexity": np.exp(nats / tokens),
            "next_token_accuracy": correct / tokens,
        }

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
        found = []
        for name, order, strength in (("unigram", 1, Strength.trivial), ("trigram", 3, Strength.serious)):
            model = fit_ngram(train.shard.tokens, tokenizer.vocab_size, tokenizer.eot_id, order)
            found.append(Baseline(name, strength, _score_ngram(model, predicted, documents, texts)))
        return found

    def plots(self, scores: pa.Table) -> list[Plot]:
        """The loss by position in the document, and how the documents' losses are spread."""
        nats = np.array(scores["position_nats"].to_pylist()).sum(axis=0)
        tokens = np.array(scores["position_tokens"].to_pylist()).sum(axis=0)
        reached = tokens > 0
        bits = nats[reached] / tokens[reached] / math.log(2)
        per_document = scores["nats"].to_numpy() / (math.log(2) * scores["bytes"].to_numpy())
        shown = np.sort(per_document)
        if len(shown) > _HISTOGRAM_SCORES:
            shown = np.quantile(shown, np.linspace(0, 1, _HISTOGRAM_SCORES))
        return [
            Plot(
                "bits_by_position",
                "line",
                "Loss by position in the document",
                "tokens before it in the document, from",
                "bits per token",
                {
                    "position": [str(edge) for edge, seen in zip(POSITION_EDGES, reached, strict=True) if seen],
                    "bits per token": [float(value) for value in bits],
                },
            ),
            Plot(
                "document_losses",
                "histogram",
                "Loss of each document",
                "bits per byte",
                "documents",
                {"bits per byte": [float(value) for value in shown]},
            ),
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
    """Each counted prediction's document, position in it, nats, and whether the most likely token was right."""
    device = device_of(network)
    read = [sequences[window.document][window.start : window.end] for window in windows]
    tokens_BT, lengths_B = pad(read, eot_id, padded, LEAST_ROWS)
    hidden_BTD: Tensor = network.model(tokens_BT.to(device), lengths_B.to(device))[: len(windows)]
    place_T = torch.arange(padded)
    first_B = torch.tensor([window.first_scored - window.start for window in windows])
    counted_BT = (place_T >= first_B[:, None]) & (place_T < lengths_B[: len(windows), None])
    target_N = torch.from_numpy(
        np.concatenate([sequences[window.document][window.first_scored + 1 : window.end + 1] for window in windows])
    )
    nats, correct = likelihood(network.head, hidden_BTD[counted_BT.to(device)], target_N.to(device))
    counts = [window.end - window.first_scored for window in windows]
    return (
        np.repeat([window.document for window in windows], counts),
        np.concatenate([np.arange(window.first_scored, window.end) for window in windows]),
        nats,
        correct,
    )


def _score_ngram(
    model: NgramModel, predicted: Sequence[np.ndarray], documents: Sequence[Document], texts: Sequence[str]
) -> pa.Table:
    lengths = np.array([len(tokens) for tokens in predicted])
    tokens = np.concatenate(predicted)
    tally = _Tally(len(documents))
    position = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    document = np.repeat(np.arange(len(documents)), lengths)
    tally.add(document, position, model.nats(tokens), model.most_likely(tokens) == tokens)
    return tally.table(documents, texts)
