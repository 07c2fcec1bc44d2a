"""What the tasks share whose model writes a text for a text: translation and its like, completion.

A document's target is scored twice. Given the right tokens so far, how likely is the next one: that gives nats, and so
bits per byte and perplexity *of the target*. Of a target longer than the context only the beginning is scored, so its
nats are divided by that beginning's bytes; `scored_share` says how much of the targets that is, and the n-gram
baselines are scored on the same tokens. And what does the model write by itself: that text is compared with the whole
target by the figures that the recipe names (`langmill.scoring.text_metrics`).

Shape suffixes: B pairs, T tokens, N counted target tokens, D model width, V vocabulary, R resamples.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from langmill.config.sections import Evaluation, Training, require
from langmill.data.document import Document
from langmill.models.generation.beam_search import beam_search
from langmill.models.generation.config import LEAST_PENALTY, Beams, GenerationConfig, likeliest
from langmill.models.generation.network import Decodes
from langmill.models.generation.sampling import generate_batch
from langmill.tasks.base import (
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
from langmill.scoring.baselines import translation_memory
from langmill.tasks.batching import (
    LEAST_ROWS,
    Batch,
    Cut,
    MicroBatches,
    Share,
    fill_batches,
    padded_length,
    uniform_batches,
)
from langmill.scoring.likelihood import likelihood
from langmill.scoring.ngram import fit_ngram
from langmill.tasks.pairs import NOT_COUNTED, Form, Pair, PairBatches, Pairs, counted, validation_pairs
from langmill.tasks.selection import is_selected
from langmill.scoring.text_metrics import TextMetric, references_of, text_metrics
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

_HISTOGRAM_SCORES = 2000  # a picture needs no more
_SAMPLE_TOKENS = 100
_SCORED_BYTES = "bytes:of the scored tokens"
"""Signature of bits per byte; before it the bytes of the whole target were counted, however few tokens were scored."""


@dataclass
class WritingOptions:
    """How a model writes its answer when it is judged, and where the asker does not say."""

    max_new_tokens: int
    """Tokens of an answer, at most."""
    num_beams: int
    """Answers that are pursued side by side; 1 always takes the likeliest token."""
    length_penalty: float
    """With several beams: an answer's log probability is divided by its length to this power; more favours longer
    ones."""
    repetition_penalty: float
    """Tokens that are there already become this many times less likely (Keskar et al., 2019); 1 leaves them. One beam
    only."""

    def __post_init__(self) -> None:
        where = "task.options.writing"
        require(self.max_new_tokens >= 1, f"{where}.max_new_tokens", self.max_new_tokens, "1 or more")
        require(self.num_beams >= 1, f"{where}.num_beams", self.num_beams, "1 or more")
        require(
            LEAST_PENALTY <= self.repetition_penalty <= 100 and (self.repetition_penalty == 1 or self.num_beams == 1),
            f"{where}.repetition_penalty",
            self.repetition_penalty,
            f"{LEAST_PENALTY} to 100, and 1 with several beams",
        )


@dataclass
class ConditionalGenerationOptions:
    """Options that these tasks share."""

    metrics: list[str]
    """Figures of the written text against the target, as in langmill.scoring.text_metrics."""
    cut: Cut
    """Which tokens of a source or prompt that is too long are kept: `head`, `tail`, or half of each."""
    writing: WritingOptions
    only: dict[str, list[str]]
    """Metadata fields and the values to learn from and be judged on; documents with others are left out and counted.
    Empty takes every document."""


class ConditionalGeneration(Task, Generates, Explains):
    """Write a document's target from its text."""

    options: ConditionalGenerationOptions
    judging_options: ClassVar[tuple[str, ...]] = ("metrics", "writing")

    @property
    def text_metrics(self) -> tuple[TextMetric, ...]:
        """The figures that the recipe names, in its order."""
        return text_metrics(self.options.metrics)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The figures of the written text, then those of the target's tokens."""
        return (
            *(metric.metric for metric in self.text_metrics),
            Metric(
                "bits_per_byte",
                "Bits per byte of the target",
                higher_is_better=False,
                unit="bits",
                signature=_SCORED_BYTES,
                of_scored_bytes=True,
            ),
            Metric("perplexity", "Perplexity per token of the target", False, per_token=True, of_scored_bytes=True),
            Metric(
                "next_token_accuracy", "Next-token accuracy in the target", True, per_token=True, of_scored_bytes=True
            ),
            Metric("scored_share", "Share of the target's bytes that were scored", higher_is_better=True),
        )

    def metrics_of(self, scores: pa.Table) -> tuple[Metric, ...]:
        """The figures of text say how these scores were tokenized."""
        signed = {metric.name: metric.metric_of(scores) for metric in self.text_metrics}
        return tuple(signed.get(metric.name, metric) for metric in self.metrics)

    @property
    def generation_config(self) -> GenerationConfig:
        """As it is judged: the likeliest answer."""
        options = self.options.writing
        return GenerationConfig(
            options.max_new_tokens,
            temperature=0.0,
            repetition_penalty=options.repetition_penalty,
            num_beams=options.num_beams,
            length_penalty=options.length_penalty,
        )

    # Data ------------------------------------------------------------------------------------------------------------

    def check(self, document: Document) -> str | None:
        """Why a document is left out.

        `empty_text`, `missing_target`, `not_selected` by the option `only`, or `unreadable_answers` for a metadata
        field `answers` that is no JSON list of texts: found here, and not by a figure of text after all the training.
        """
        if not document.text:
            return "empty_text"
        if not document.target:
            return "missing_target"
        if not is_selected(document, self.options.only):
            return "not_selected"
        try:
            references_of(document)
        except (ValueError, RecursionError):
            return "unreadable_answers"
        return None

    def find_labels(self, documents: Iterable[Document]) -> list[str]:
        """None."""
        return []

    @abstractmethod
    def prompt(self, document: Document) -> str:
        """The text that the model writes from."""

    def parts(self, document: Document) -> list[str]:
        """What the model writes from, and the target."""
        assert document.target is not None
        return [self.prompt(document), document.target]

    @abstractmethod
    def form(self, length: int, eot_id: int) -> Form:
        """How pairs become a batch, for sequences of at most `length` tokens."""

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Padded batches of pairs of about equal length."""
        form = self.form(training.block_length, eot_id)
        return PairBatches(Pairs(shard), form, Share.of(training, rank, world_size))

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Pairs drawn from the whole split, each at most once."""
        return validation_pairs(Pairs(shard), self.form(training.block_length, eot_id), training)

    # Learning --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def target_loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy in nats over the targets of a batch, a scalar."""

    @abstractmethod
    def target_hidden(self, network: nn.Module, batch: Batch) -> Tensor:
        """Hidden states `(batch, tokens, width)` from which each of the batch's `targets` is to be told."""

    @abstractmethod
    def reach(self, network: nn.Module) -> int:
        """Tokens in a sequence that the network can work on."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the target's tokens alone."""
        return self.target_loss(network, batch)

    def num_targets(self, batch: Batch) -> float:
        """The targets' tokens."""
        return counted(batch["targets"])

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """What the network writes for a prompt."""
        del seed  # it writes what it holds likeliest
        limit = min(_SAMPLE_TOKENS, self.options.writing.max_new_tokens)
        (answer,) = self._write(network, tokenizer, [self.prompt_ids(tokenizer, prompt)], limit)
        return prompt + "\n" + tokenizer.decode(answer)

    def reading(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> Reading:
        """The source or prompt that a text makes, cut as in training."""
        tokens = np.asarray(tokenizer.encode(self.prompt(Document(id="", text=text))), dtype=np.int64)
        kept = self.form(self.reach(network), tokenizer.eot_id).source(tokens)
        return Reading(kept.tolist(), len(tokens) + 1 - len(kept))  # 1 for the end-of-text token

    def _write(
        self, network: nn.Module, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], max_new_tokens: int
    ) -> list[list[int]]:
        """What the network writes for each prompt, the same whatever it is written beside.

        Prompts side by side are a larger matrix product, which rounds otherwise than a prompt alone. Where a choice was
        so close that this may have decided it, the text is written again, alone.
        """
        writing, decodes, stop_ids = self.options.writing, cast("Decodes", network), (tokenizer.eot_id,)

        def write(chosen: Sequence[Sequence[int]], close: set[int]) -> list[list[int]]:
            if writing.num_beams > 1:
                beams = Beams(max_new_tokens, writing.num_beams, writing.length_penalty, stop_ids)
                accepts = [self.accepts(tokenizer, prompt) for prompt in chosen]
                return beam_search(decodes, chosen, beams, accepts, close)
            sampling = likeliest(max_new_tokens, stop_ids, writing.repetition_penalty)
            return generate_batch(decodes, chosen, [sampling] * len(chosen), close)

        close: set[int] = set()
        found = write(prompts, close)
        if len(prompts) > 1:
            for number in sorted(close):
                (found[number],) = write([prompts[number]], set())
        return found

    # Judging ---------------------------------------------------------------------------------------------------------

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Nats, tokens, bytes and right guesses of each target, the text written for it, and what the figures need.

        None of it depends on `evaluation.batch_tokens`.
        """
        form = self.form(self.reach(network), tokenizer.eot_id)
        pairs = self._pairs(tokenizer, documents, evaluation)
        columns = _likelihood(self, network, form, pairs, evaluation.batch_tokens)
        columns |= _num_bytes(tokenizer, documents, pairs, form)
        produced = [""] * len(documents)
        prompts = [form.source(pair.source).tolist() for pair in pairs]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        writing = self.options.writing
        room = [(len(prompts[index]) + writing.max_new_tokens) * writing.num_beams for index in order]
        for batch in fill_batches(room, evaluation.batch_tokens):
            chosen = [order[place] for place in batch]
            answers = self._write(network, tokenizer, [prompts[index] for index in chosen], writing.max_new_tokens)
            for index, answer in zip(chosen, answers, strict=True):
                produced[index] = tokenizer.decode(answer)
            if progress is not None:
                progress(len(chosen))
        return self._table(documents, columns, produced)

    def _pairs(self, tokenizer: Tokenizer, documents: Sequence[Document], evaluation: Evaluation) -> list[Pair]:
        texts = [part for document in documents for part in self.parts(document)]
        encoded = tokenizer.encode_batch(texts, threads=evaluation.threads)
        return [Pair(source, target) for source, target in zip(encoded[::2], encoded[1::2], strict=True)]

    def _table(
        self, documents: Sequence[Document], columns: dict[str, np.ndarray], produced: Sequence[str] | None
    ) -> pa.Table:
        table = {"id": pa.array([document.id for document in documents], pa.string()), **columns}
        if produced is not None:
            table["produced"] = pa.array(produced, pa.large_string())
            for metric in self.text_metrics:
                table |= metric.columns(produced, documents)
        return pa.table(table)

    def joined(self, scores: pa.Table, documents: Sequence[Document]) -> pa.Table:
        """With the figures' columns made anew from the written texts: BLEU's tokenizer is chosen by all references."""
        produced = scores["produced"].to_pylist()
        for metric in self.text_metrics:
            for name, values in metric.columns(produced, documents).items():
                kept = scores.drop_columns([name]) if name in scores.column_names else scores
                scores = kept.append_column(name, values)
        return scores

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """The figures that the table has columns for: a baseline may write no text, or know no probabilities."""
        figures: dict[str, np.ndarray] = {}
        if "produced" in scores.column_names:
            figures |= {metric.name: metric.measure(scores, weights_RN) for metric in self.text_metrics}
        if "nats" in scores.column_names:
            names = ("nats", "tokens", "bytes", "correct")
            sums = weights_RN @ np.stack([scores[name].to_numpy().astype(np.float64) for name in names], axis=1)
            nats, tokens, num_bytes, correct = sums.T
            figures |= {
                "bits_per_byte": nats / (math.log(2) * num_bytes),
                "perplexity": np.exp(nats / tokens),
                "next_token_accuracy": correct / tokens,
            }
            if "target_bytes" in scores.column_names:  # not in evaluations of before
                figures["scored_share"] = num_bytes / (weights_RN @ scores["target_bytes"].to_numpy())
        return figures

    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """For the text: the source itself and the nearest training source's target; for the tokens: n-grams of targets.

        The n-gram models know the targets of the training split and nothing of the source; of a target that is too long
        for the model they are scored on the same beginning.
        """
        known = list(train.documents())
        nearest = translation_memory(
            [self.prompt(document) for document in known],
            [str(document.target) for document in known],
            [self.prompt(document) for document in documents],
        )
        copied = [document.text for document in documents]
        found = [
            Baseline("copy", Strength.trivial, self._table(documents, {}, copied)),
            Baseline("translation_memory", Strength.serious, self._table(documents, {}, nearest)),
        ]
        eot = np.array([tokenizer.eot_id], dtype=np.int64)
        stream = np.concatenate([part for pair in Pairs(train.shard) for part in (pair.target, eot)])
        form = self.form(max_length, tokenizer.eot_id)
        pairs = self._pairs(tokenizer, documents, evaluation)
        whole = [np.append(pair.target, eot) for pair in pairs]
        lengths = np.array([len(form.target(pair)) for pair in pairs])
        scored = np.concatenate(
            [np.arange(len(tokens)) < length for tokens, length in zip(whole, lengths, strict=True)]
        )
        document = np.repeat(np.arange(len(pairs)), lengths)
        tokens = np.concatenate(whole)
        for name, order, strength in (("unigram", 1, Strength.trivial), ("trigram", 3, Strength.serious)):
            model = fit_ngram(stream, tokenizer.vocab_size, tokenizer.eot_id, order)
            correct = (model.most_likely(tokens) == tokens)[scored]
            columns = {
                "nats": np.bincount(document, model.nats(tokens)[scored], len(pairs)),
                "tokens": lengths,
                "correct": np.bincount(document, correct, len(pairs)).astype(np.int64),
                **_num_bytes(tokenizer, documents, pairs, form),
            }
            found.append(Baseline(name, strength, self._table(documents, columns, None)))
        return found

    def plots(self, scores: pa.Table) -> list[Plot]:
        """How the targets' losses are spread."""
        shown = np.sort(scores["nats"].to_numpy() / (math.log(2) * scores["bytes"].to_numpy()))
        if len(shown) > _HISTOGRAM_SCORES:
            shown = np.quantile(shown, np.linspace(0, 1, _HISTOGRAM_SCORES))
        return [
            Plot(
                "target_losses",
                "histogram",
                "Loss of each target",
                "bits per byte",
                "documents",
                {"bits per byte": [float(value) for value in shown]},
            )
        ]


def _num_bytes(
    tokenizer: Tokenizer, documents: Sequence[Document], pairs: Sequence[Pair], form: Form
) -> dict[str, np.ndarray]:
    """UTF-8 bytes of the scored tokens of each target, and of the whole target; an end-of-text token has none."""
    targets = [str(document.target) for document in documents]
    whole = [len(target.encode()) for target in targets]
    scored = list(whole)
    for number, pair in enumerate(pairs):
        if (kept := len(form.target(pair))) < len(pair.target):
            scored[number] = tokenizer.leading_bytes(targets[number], kept)
    return {"bytes": np.array(scored, dtype=np.int64), "target_bytes": np.array(whole, dtype=np.int64)}


@torch.inference_mode()
def _likelihood(
    task: ConditionalGeneration, network: nn.Module, form: Form, pairs: Sequence[Pair], batch_tokens: int
) -> dict[str, np.ndarray]:
    """Nats, tokens and right guesses of each target, the right tokens given."""
    device = device_of(network)
    columns = {
        "nats": np.zeros(len(pairs)),
        "tokens": np.zeros(len(pairs), dtype=np.int64),
        "correct": np.zeros(len(pairs), dtype=np.int64),
    }
    shapes = [tuple(padded_length(length, form.length) for length in form.shape(pair)) for pair in pairs]
    for chosen, shape in uniform_batches(shapes, batch_tokens):
        rows = [*chosen, *chosen[-1:] * (LEAST_ROWS - len(chosen))]
        batch = {name: tensor.to(device) for name, tensor in form.collate([pairs[n] for n in rows], shape).items()}
        batch["targets"][len(chosen) :] = NOT_COUNTED
        hidden_BTD = task.target_hidden(network, batch)
        row_N, place_N = (batch["targets"] >= 0).nonzero(as_tuple=True)
        head = network.head
        found = likelihood(head, hidden_BTD[row_N, place_N], batch["targets"][row_N, place_N])  # type: ignore[arg-type]
        document = np.array(chosen)[row_N.cpu().numpy()]
        np.add.at(columns["tokens"], document, 1)
        for name, values in zip(("nats", "correct"), found, strict=True):
            np.add.at(columns[name], document, values)
    return columns
