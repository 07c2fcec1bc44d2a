"""How a model is judged that writes a text for a text: translation and its like, completion.

A document's target is scored twice. Given the right tokens so far, how likely is the next one: that gives nats, and so
bits per byte and perplexity *of the target*. Of a target longer than the context only the beginning is scored, so its
nats are divided by that beginning's bytes; `scored_share` says how much of the targets that is, and the n-gram
baselines are scored on the same tokens. And what does the model write by itself: that text is compared with the whole
target by the metrics that the recipe names (`langmill.scoring.metrics`).

Shape suffixes: B pairs, T tokens, N counted target tokens, D model width, V vocabulary, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from langmill.config.constraints import require
from langmill.config.sections import Evaluation
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.data.ngram import fit_ngram
from langmill.models.generation.beam_search import beam_search
from langmill.models.generation.config import Beams, GenerationConfig
from langmill.models.generation.generate import generate_batch
from langmill.models.generation.network import Decodes
from langmill.scoring.base import SCORERS, Baseline, Metric, Plot, Scorer, Strength, TrainingData
from langmill.scoring.baselines import translation_memory
from langmill.scoring.batching import LEAST_ROWS, padded_length, uniform_batches
from langmill.scoring.bits_per_byte import document_bits_per_byte, token_metrics
from langmill.scoring.drawing import draw
from langmill.scoring.likelihood import likelihood
from langmill.scoring.metrics.base import METRICS, text_metrics
from langmill.scoring.pace import Pace
from langmill.tasks.base import Task, device_of
from langmill.tasks.batching import fill_batches
from langmill.tasks.conditional_generation import ConditionalGeneration
from langmill.tasks.pairs import NOT_COUNTED, Form, Pair
from langmill.tokenization.tokenizer import Tokenizer

_SCORED_BYTES = "bytes:of the scored tokens"
"""Signature of bits per byte; before it the bytes of the whole target were counted, however few tokens were scored."""


@settings
class ConditionalGenerationOptions:
    """Options of the scorer `conditional_generation`."""

    metrics: list[str]
    """Metrics of the written text against the target, each a name in langmill.scoring.metrics."""
    decoding: GenerationConfig
    """How a model writes its answer when it is judged, and where the asker does not say: greedily or with beams."""

    def __post_init__(self) -> None:
        text_metrics(self.metrics)  # refuses them here, where it is known which file names them
        decoding = self.decoding
        for holds, field, allowed in (
            (not decoding.samples, "temperature", "0: what is judged is not drawn"),
            (decoding.num_beams == 1 or decoding.repetition_penalty == 1, "repetition_penalty", "1 with several beams"),
            (decoding.num_beams > 1 or not decoding.keep_placeholders, "keep_placeholders", "false with one beam"),
        ):
            require(holds, f"decoding.{field}", getattr(decoding, field), allowed)


@SCORERS.register("conditional_generation")
class ConditionalGenerationScorer(Scorer):
    """Judges what is written for a text."""

    options_class = ConditionalGenerationOptions
    options: ConditionalGenerationOptions
    task: ConditionalGeneration

    def __init__(self, task: Task, options: ConditionalGenerationOptions) -> None:
        super().__init__(task, options)
        self.text_metrics = text_metrics(options.metrics)

    @property
    def plugins(self) -> list[tuple[str, str]]:
        """The scorer and its metrics."""
        return [*super().plugins, *((METRICS.group, name) for name in self.options.metrics)]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the written text, then those of the target's tokens."""
        return (
            *(metric.metric for metric in self.text_metrics),
            Metric(
                "bits_per_byte",
                "Bits per byte of the target",
                False,
                _SCORED_BYTES,
                of_scored_bytes=True,
                per_byte=True,
            ),
            Metric("perplexity", "Perplexity per token of the target", False, per_token=True, of_scored_bytes=True),
            Metric(
                "next_token_accuracy", "Next-token accuracy in the target", True, per_token=True, of_scored_bytes=True
            ),
            Metric("scored_share", "Share of the target's bytes that were scored", higher_is_better=True),
        )

    def metrics_of(self, scores: pa.Table) -> tuple[Metric, ...]:
        """The metrics of text say how these scores were tokenized."""
        if "produced" in scores.column_names:
            scores = scores.filter(scores["produced"].is_valid())
        signed = {metric.name: metric.metric_of(scores) for metric in self.text_metrics}
        return tuple(signed.get(metric.name, metric) for metric in self.metrics)

    @property
    def generation_config(self) -> GenerationConfig:
        """As it is judged."""
        return self.options.decoding

    def write(self, network: nn.Module, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """What the network writes for each prompt, the same whatever it is written beside.

        Prompts side by side are a larger matrix product, which rounds otherwise than a prompt alone. Where a choice was
        so close that this may have decided it, the text is written again, alone.
        """
        decodes = cast("Decodes", network)
        decoding = self.options.decoding.decoding(self.task.stop_ids(tokenizer), {})

        def write(chosen: Sequence[Sequence[int]], close: set[int]) -> list[list[int]]:
            if isinstance(decoding, Beams):
                kept = decoding.keep_placeholders
                accepts = [self.task.accepts(tokenizer, prompt) if kept else None for prompt in chosen]
                return beam_search(decodes, chosen, decoding, accepts, close)
            return generate_batch(decodes, chosen, [decoding] * len(chosen), close)

        close: set[int] = set()
        found = write(prompts, close)
        if len(prompts) > 1:
            for number in sorted(close):
                (found[number],) = write([prompts[number]], set())
        return found

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Nats, tokens, bytes and right predictions of each target, the text written for it, and what the metrics need.

        None of it depends on `evaluation.batch_tokens`.
        """
        form = self.task.form(self.task.max_length(network), tokenizer.eot_id)
        pairs = self.task.pairs(tokenizer, documents, form.length, evaluation.threads)
        columns = target_likelihood(self.task, network, form, pairs, evaluation.batch_tokens)
        columns |= _num_bytes(tokenizer, documents, pairs, form)
        written = self._written(documents, evaluation)
        produced = ["" if each else None for each in written]
        pace = Pace.of(progress)
        pace(len(documents) - sum(written))
        prompts = [form.asked(pair).tolist() for pair in pairs]
        order = sorted((number for number, each in enumerate(written) if each), key=lambda index: len(prompts[index]))
        decoding = self.options.decoding
        room = [(len(prompts[index]) + decoding.max_new_tokens) * decoding.num_beams for index in order]
        for batch in fill_batches(room, evaluation.batch_tokens):
            chosen = [order[place] for place in batch]
            with pace.timed() as lengths:
                answers = self.write(network, tokenizer, [prompts[index] for index in chosen])
                lengths.extend(map(len, answers))
            for index, answer in zip(chosen, answers, strict=True):
                produced[index] = tokenizer.decode(answer)
            pace(len(chosen))
        return self.table(documents, columns, produced)

    def _written(self, documents: Sequence[Document], evaluation: Evaluation) -> list[bool]:
        """Whether each document's answer is written: all, or as many as `evaluation.max_generated` allows."""
        drawn = draw(documents, evaluation.max_generated, evaluation.seed, evaluation.slices)
        names = {document.id for document in drawn}
        return [document.id in names for document in documents]

    def table(
        self, documents: Sequence[Document], columns: dict[str, np.ndarray], produced: Sequence[str | None] | None
    ) -> pa.Table:
        """A score table of texts, if there are any, and of what else is known of each document.

        A text may be None: it was not to be written.
        """
        table = {"id": pa.array([document.id for document in documents], pa.string()), **columns}
        if produced is not None:
            table["produced"] = pa.array(produced, pa.large_string())
            table |= self._text_columns(produced, documents)
        return pa.table(table)

    def _text_columns(self, produced: Sequence[str | None], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """What the metrics of text need, null for a document without a text."""
        pairs = list(zip(produced, documents, strict=True))
        texts = [text for text, _ in pairs if text is not None]
        wanted = [document for text, document in pairs if text is not None]
        place = iter(range(len(texts)))
        rows = pa.array([None if text is None else next(place) for text in produced], pa.int64())
        found: dict[str, pa.Array] = {}
        for metric in self.text_metrics:
            columns = metric.columns(texts, wanted)
            found |= columns if len(texts) == len(pairs) else {name: each.take(rows) for name, each in columns.items()}
        return found

    def joined(self, scores: pa.Table, documents: Sequence[Document]) -> pa.Table:
        """With the metrics' columns made anew from the written texts: BLEU's tokenizer is chosen by all references."""
        columns = dict(zip(scores.column_names, scores.columns, strict=True))
        return pa.table({**columns, **self._text_columns(columns["produced"].to_pylist(), documents)})

    def measured(self, scores: pa.Table, metric: str) -> pa.ChunkedArray | None:
        """Of a metric of the written text, the documents whose text was written."""
        if metric not in self.options.metrics or "produced" not in scores.column_names:
            return None
        produced = scores["produced"]
        return produced.is_valid() if produced.null_count else None

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """The metrics that the table has columns for: a baseline may write no text, or know no probabilities."""
        found: dict[str, np.ndarray] = {}
        if "produced" in scores.column_names:
            found |= self._measure_texts(scores, weights_RN)
        if "nats" in scores.column_names:
            found |= token_metrics(scores, weights_RN)
            if "target_bytes" in scores.column_names:  # not in evaluations of before
                scored, whole = (weights_RN @ scores[name].to_numpy() for name in ("bytes", "target_bytes"))
                found["scored_share"] = scored / whole
        return found

    def _measure_texts(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """The metrics of the texts that were written; not a number for a resample that drew none of them."""
        if scores["produced"].null_count:
            there = scores["produced"].is_valid()
            scores, weights_RN = scores.filter(there), weights_RN[:, np.asarray(there)]
            if not scores.num_rows:
                return {}
        drawn_R = np.asarray(weights_RN.any(axis=1))
        weights_RN = np.where(drawn_R[:, None], weights_RN, 1.0) if not drawn_R.all() else weights_RN
        values = {metric.name: metric.measure(scores, weights_RN) for metric in self.text_metrics}
        return {name: np.where(drawn_R, values_R, np.nan) for name, values_R in values.items()}

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
            [self.task.prompt(document) for document in known],
            [str(document.target) for document in known],
            [self.task.prompt(document) for document in documents],
        )
        copied = [document.text for document in documents]
        written = self._written(documents, evaluation)
        found = []
        for name, strength, texts in (
            ("copy", Strength.trivial, copied), ("translation_memory", Strength.strong, nearest)
        ):  # fmt: skip
            produced = [text if asked else None for text, asked in zip(texts, written, strict=True)]
            found.append(Baseline(name, strength, self.table(documents, {}, produced)))
        eot = np.array([tokenizer.eot_id], dtype=np.int64)
        stream = np.concatenate([part for target in self.task.targets(train.shard) for part in (target, eot)])
        form = self.task.form(max_length, tokenizer.eot_id)
        pairs = self.task.pairs(tokenizer, documents, max_length, evaluation.threads)
        whole = [np.append(pair.target, eot) for pair in pairs]
        lengths = np.array([len(form.target(pair)) for pair in pairs])
        scored = np.concatenate(
            [np.arange(len(tokens)) < length for tokens, length in zip(whole, lengths, strict=True)]
        )
        document = np.repeat(np.arange(len(pairs)), lengths)
        tokens = np.concatenate(whole)
        for name, order, strength in (("unigram", 1, Strength.trivial), ("trigram", 3, Strength.strong)):
            model = fit_ngram(stream, tokenizer.vocab_size, tokenizer.eot_id, order)
            correct = (model.most_likely(tokens) == tokens)[scored]
            columns = {
                "nats": np.bincount(document, model.nats(tokens)[scored], len(pairs)),
                "tokens": lengths,
                "correct": np.bincount(document, correct, len(pairs)).astype(np.int64),
                **_num_bytes(tokenizer, documents, pairs, form),
            }
            found.append(Baseline(name, strength, self.table(documents, columns, None)))
        return found

    def plots(self, scores: pa.Table) -> list[Plot]:
        """How the targets' losses are spread."""
        return [Plot.spread("target_losses", "Loss of each target", document_bits_per_byte(scores))]


def _num_bytes(
    tokenizer: Tokenizer, documents: Sequence[Document], pairs: Sequence[Pair], form: Form
) -> dict[str, np.ndarray]:
    """UTF-8 bytes of the scored tokens of each target, and of the whole target; an end-of-text token has none."""
    targets = [str(document.target) for document in documents]
    whole = np.array([len(target.encode()) for target in targets], dtype=np.int64)
    scored = whole.copy()
    for number, pair in enumerate(pairs):
        if (kept := len(form.target(pair))) < len(pair.target):
            scored[number] = tokenizer.leading_bytes(targets[number], kept)
    return {"bytes": scored, "target_bytes": whole}


@torch.inference_mode()
def target_likelihood(
    task: ConditionalGeneration, network: nn.Module, form: Form, pairs: Sequence[Pair], batch_tokens: int
) -> dict[str, np.ndarray]:
    """Nats, tokens and right guesses of each target, the right tokens given."""
    device = device_of(network)
    types = {"nats": np.float64, "tokens": np.int64, "correct": np.int64}
    columns = {name: np.zeros(len(pairs), dtype=kind) for name, kind in types.items()}
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
