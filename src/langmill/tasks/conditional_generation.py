"""What the tasks share whose model writes a text for a text: translation and its like, completion."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
from torch import Tensor, nn

from langmill.config.sections import Training
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.models.base import Backbone, Kind
from langmill.models.generation.config import GenerationConfig, Sampling
from langmill.models.generation.network import Decodes
from langmill.models.heads import LanguageModel
from langmill.tasks.base import Embeds, EncodedInput, Explains, Generates, Task, is_selected
from langmill.tasks.batching import Batch, MicroBatches, Share, first_batches
from langmill.tasks.pairs import Form, Pair, PairBatches, Pairs, counted
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

ANSWERS = "answers"
"""The metadata field with all answers that count as right, a JSON list of texts; without it only the target does."""
_SAMPLE_TOKENS = 100


@settings
class ConditionalGenerationOptions:
    """Options that these tasks share."""

    renamed_fields: ClassVar[Mapping[str, str]] = {"cut": "truncation"}
    only: dict[str, list[str]]
    """Metadata fields and the values to learn from and be judged on; documents with others are left out and counted.
    Empty takes every document."""


class ConditionalGeneration(Task, Generates, Embeds, Explains):
    """Write a document's target from its text."""

    options: ConditionalGenerationOptions
    scorer = "conditional_generation"

    def check(self, document: Document) -> str | None:
        """Why a document is left out.

        `empty_text`, `missing_target`, `not_selected` by the option `only`, or `unreadable_answers` for a metadata
        field `answers` that is no JSON list of texts: found here, and not by a metric after all the training.
        """
        if reason := super().check(document):
            return reason
        if not document.target:
            return "missing_target"
        if not is_selected(document, self.options.only):
            return "not_selected"
        try:
            references_of(document)
        except (ValueError, RecursionError):
            return "unreadable_answers"
        return None

    @abstractmethod
    def prompt(self, document: Document) -> str:
        """The text that the model writes from."""

    def parts(self, document: Document) -> list[str]:
        """What the model writes from, and the target."""
        assert document.target is not None
        return [self.prompt(document), document.target]

    def pairs(self, tokenizer: Tokenizer, documents: Sequence[Document], length: int, threads: int) -> list[Pair]:
        """Each document as it is judged: what is read and what is to be written.

        Args:
            tokenizer: The model's.
            documents: Documents that `check` lets through.
            length: Tokens that the network can read.
            threads: Threads to encode with; no influence on the result.
        """
        del length  # `form` truncates
        encoded = tokenizer.encode_batch([part for document in documents for part in self.parts(document)], threads)
        return [Pair(source, target) for source, target in zip(encoded[::2], encoded[1::2], strict=True)]

    def targets(self, shard: Shard) -> Iterator[np.ndarray]:
        """The tokens of each text that is learned to be written, without the token that ends it."""
        return (pair.target for pair in Pairs(shard))

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
        pairs, form = Pairs(shard), self.form(training.block_length, eot_id)
        return first_batches(len(pairs), training, lambda share: PairBatches(pairs, form, share))

    @abstractmethod
    def target_hidden(self, network: nn.Module, batch: Batch) -> Tensor:
        """Hidden states `(batch, length, dim)` from which each of the batch's `targets` is predicted."""

    def max_length(self, network: nn.Module) -> int:
        """Tokens of a source or a target, or of prompt and response together, at most."""
        return cast("Decodes", network).max_length

    def num_targets(self, batch: Batch) -> float:
        """The targets' tokens."""
        return counted(batch["targets"])

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """What the network writes for a prompt, greedily."""
        del seed  # nothing is drawn
        sampling = Sampling(_SAMPLE_TOKENS, stop_ids=self.stop_ids(tokenizer))
        answer = list(self.generate(network, self.prompt_ids(tokenizer, prompt), sampling))
        return prompt + "\n" + tokenizer.decode(answer)

    @property
    def generation_config(self) -> GenerationConfig:
        """The most likely answer, token by token."""
        return GenerationConfig(max_new_tokens=128, temperature=0.0)

    def encode_input(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> EncodedInput:
        """The source or prompt that a text makes, truncated as in training."""
        tokens = np.asarray(tokenizer.encode(self.prompt(Document(id="", text=text))), dtype=np.int64)
        kept = self.form(self.max_length(network), tokenizer.eot_id).source(tokens)
        return EncodedInput(kept.tolist(), len(tokens) + 1 - len(kept))  # 1 for the end-of-text token


class AfterPrompt(ConditionalGeneration):
    """Write it with a causal network, which reads the prompt and goes on."""

    kinds = frozenset({Kind.causal})

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        return LanguageModel(backbone)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the responses' tokens."""
        assert isinstance(network, LanguageModel)
        return network.loss(batch["tokens"], batch["targets"])

    def target_hidden(self, network: nn.Module, batch: Batch) -> Tensor:
        """The hidden states of the whole sequence."""
        assert isinstance(network, LanguageModel)
        return cast("Tensor", network.model(batch["tokens"], batch["lengths"]))


def references_of(document: Document) -> list[str]:
    """The texts that count as right: the metadata field `answers`, or else the target alone.

    Raises ValueError where the field is no JSON list of texts (or numbers, which are read as texts).
    """
    answers = json.loads(document.metadata.get(ANSWERS) or "[]")
    if not (isinstance(answers, list) and all(type(answer) in (str, int, float) for answer in answers)):
        raise ValueError(f"{ANSWERS} is {answers!r}")
    return [str(answer) for answer in answers] or [document.target or ""]
