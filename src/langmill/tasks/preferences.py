"""Preferences: learn from pairs of answers which one people like better (DPO; Rafailov et al., 2023).

A document is one of a chat; its target is the answer that was chosen, its metadata field `rejected` the other one. The
network that training starts from is the reference: rewards are how much likelier an answer has become.
Shape suffixes: P pairs, B = 2 P sequences, T tokens, N counted tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from langmill.config.constraints import require
from langmill.config.sections import Training
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.errors import ModelError
from langmill.models.heads import LanguageModel
from langmill.tasks.base import TASKS
from langmill.tasks.batching import Batch, MicroBatches, PaddedBatches, Share, first_batches, pad
from langmill.tasks.chat import Chat, ChatOptions, Learn
from langmill.tasks.conversation import ANSWER, Speaker
from langmill.tasks.pairs import NOT_COUNTED
from langmill.tokenization.chat_template import Message
from langmill.tokenization.shards import EncodedDocument, Shard
from langmill.tokenization.tokenizer import Tokenizer

REJECTED = "rejected"
"""The metadata field with the answer that was liked less."""
_LOGITS_AT_ONCE = 2**24


@settings
class PreferencesOptions(ChatOptions):
    """Options of the task `preferences`: those of `chat`, and how strongly a preference is learned."""

    renamed_fields: ClassVar[Mapping[str, str]] = {}
    beta: PositiveFloat
    """How dear it is to become another than the reference: what a nat of likelihood is worth as a reward. 0.1 is usual;
    smaller goes further away."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    """Share of the pairs that are taken to be the wrong way round (conservative DPO); 0 to below 0.5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.learn is Learn.last_turn, "learn", self.learn.value, "last_turn: one answer is compared with one")


@dataclass(frozen=True)
class Candidates:
    """A prompt and both answers as tokens, each answer with the token that ends it unless it was truncated."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray

    @property
    def sequences(self) -> tuple[np.ndarray, np.ndarray]:
        """The prompt with the chosen and with the rejected answer."""
        return np.concatenate([self.prompt, self.chosen]), np.concatenate([self.prompt, self.rejected])


@TASKS.register("preferences")
class Preferences(Chat):
    """Answer in a conversation as people like it."""

    options_class = PreferencesOptions  # type: ignore[assignment]  # the same and more
    options: PreferencesOptions
    scorer = "preferences"
    needs_base = True
    _reference: nn.Module | None = None

    # Data ------------------------------------------------------------------------------------------------------------

    def check(self, document: Document) -> str | None:
        """As a chat; also `missing_rejected`, and `equal_answers`, between which nothing can be preferred."""
        reason = super().check(document)
        if reason is None and not document.metadata.get(REJECTED):
            return "missing_rejected"
        if reason is None and document.metadata[REJECTED].strip() == (document.target or "").strip():
            return "equal_answers"
        return reason

    def covered(self, documents: Iterable[Document]) -> Set[str]:
        """None: each pair is learned."""
        del documents
        return frozenset()

    def encode(self, documents: Iterable[Document], tokenizer: Tokenizer, threads: int) -> Iterator[EncodedDocument]:
        """Each document as three parts: the conversation, the chosen and the rejected answer, with what ends them.

        The conversation is shortened to what the longer answer leaves, so that both answer the same. Raises
        TokenizerError where the chat template refuses a conversation or fails.
        """
        del threads
        speaker = self._speaker(tokenizer)
        for document in documents:
            found, truncated = self._candidates(speaker, document, self.options.length)
            parts = [part.astype(tokenizer.dtype) for part in (found.prompt, found.chosen, found.rejected)]
            said = [message.content for message in self._messages(document)]
            size = sum(len(text.encode(errors="replace")) for text in (*said, *_answers(document)))
            yield EncodedDocument(document.id, parts, size, None, truncated)

    def candidates(self, tokenizer: Tokenizer, documents: Sequence[Document], length: int) -> list[Candidates]:
        """Both answers of each document as they are learned and judged, for a network that reads `length` tokens."""
        speaker = self._speaker(tokenizer)
        return [self._candidates(speaker, document, length)[0] for document in documents]

    def _candidates(self, speaker: Speaker, document: Document, length: int) -> tuple[Candidates, frozenset[str]]:
        messages = self._messages(document)
        examples = [
            self._example(speaker, [*messages, Message("assistant", answer)], length) for answer in _answers(document)
        ]
        asked = min((example.asked for example in examples), key=lambda asked: len(asked.ids))
        room = max(0, length + 1 - len(asked.ids))
        whole = [[*example.answer, *example.end] for example in examples]
        chosen, rejected = (np.asarray(answer[:room], dtype=np.int64) for answer in whole)
        truncated = asked.truncated | ({ANSWER} if max(map(len, whole)) > room else frozenset())
        return Candidates(np.asarray(asked.ids, dtype=np.int64), chosen, rejected), frozenset(truncated)

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Padded batches of pairs of about equal length; `micro_batch_size` counts pairs."""
        return CandidateBatches(shard, training.block_length, eot_id, Share.of(training, rank, world_size))

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Pairs drawn from the whole split, each at most once."""
        length = training.block_length
        return first_batches(
            shard.num_sequences, training, lambda share: CandidateBatches(shard, length, eot_id, share)
        )

    def targets(self, shard: Shard) -> Iterator[np.ndarray]:
        """The chosen answers, without the token that ends each."""
        for number in range(shard.num_sequences):
            yield shard.parts(number)[1][:-1]

    # Learning --------------------------------------------------------------------------------------------------------

    def before_training(self, network: nn.Module) -> None:
        """Keep the network as it is now for the reference; what is frozen is shared with it."""
        frozen = {id(weight): weight for weight in network.parameters() if not weight.requires_grad}
        reference = copy.deepcopy(network, memo=dict(frozen))
        self._reference = reference.requires_grad_(False).eval()

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The mean loss over the pairs, in nats."""
        assert isinstance(network, LanguageModel)
        if self._reference is None:
            raise ModelError("A preference is learned against a reference; call before_training first.", "missing")
        reference, device = self._reference, batch["tokens"].device
        if {held.device for held in (*reference.parameters(), *reference.buffers())} != {device}:
            reference.to(device)  # the weights that it shares are there already
        assert isinstance(reference, LanguageModel)
        with torch.no_grad():
            known_B = log_likelihoods(reference, batch)
        rewards_B = self.options.beta * (log_likelihoods(network, batch) - known_B)
        chosen_P, rejected_P = rewards_B.chunk(2)
        return dpo_loss(chosen_P, rejected_P, self.options.label_smoothing)

    def num_targets(self, batch: Batch) -> float:
        """The pairs."""
        return len(batch["tokens"]) / 2


class CandidateBatches(PaddedBatches):
    """Pairs of about equal length: `tokens` and `targets` `(B, T)`, `lengths` `(B,)`, the chosen ones first."""

    def __init__(self, shard: Shard, length: int, pad_id: int, share: Share) -> None:
        prompts, chosen, rejected = shard.part_lengths(3).T
        super().__init__(np.minimum(prompts + np.maximum(chosen, rejected), length), share)
        self._shard = shard
        self._length = length
        self._pad_id = pad_id

    def collate(self, chosen: np.ndarray) -> Batch:
        """The batch of some pairs."""
        return collate([Candidates(*self._shard.parts(number)) for number in chosen], self._length, self._pad_id)


def collate(pairs: Sequence[Candidates], length: int, pad_id: int) -> Batch:
    """Make the batch of some pairs, of sequences of at most `length`; the last token is predicted and never read."""
    rows = [
        (row[: length + 1].astype(np.int64), len(pair.prompt))
        for side in zip(*(pair.sequences for pair in pairs), strict=True)
        for row, pair in zip(side, pairs, strict=True)
    ]
    tokens, lengths = pad([row[:-1] for row, _ in rows], pad_id)
    targets, _ = pad([row[1:] for row, _ in rows], NOT_COUNTED)
    for target, (_, prompt) in zip(targets, rows, strict=True):
        target[: prompt - 1] = NOT_COUNTED
    return {"tokens": tokens, "targets": targets, "lengths": lengths}


def log_likelihoods(network: LanguageModel, batch: Batch) -> Tensor:
    """Compute the log-probability of each sequence's counted tokens together, `(B,)` in float32, in nats.

    Logits of few tokens are in memory at once; with gradients they are computed again in the backward pass.
    """
    hidden_BTD = network.model(batch["tokens"], batch["lengths"])
    counted_BT = batch["targets"] >= 0
    hidden_ND, targets_N = hidden_BTD[counted_BT], batch["targets"][counted_BT]
    chunk = max(1, _LOGITS_AT_ONCE // network.model.vocab_size)
    parts = [
        checkpoint(_nats, network, hidden_ND[start:end], targets_N[start:end], use_reentrant=False)
        for start, end in itertools.pairwise([*range(0, len(targets_N), chunk), len(targets_N)])
    ]
    nats_BT = torch.zeros(counted_BT.shape, device=counted_BT.device)
    if parts:
        nats_BT[counted_BT] = torch.cat(parts)
    return -nats_BT.sum(dim=1)


def _nats(network: LanguageModel, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    return F.cross_entropy(network.head(hidden_ND).float(), targets_N, reduction="none")


def dpo_loss(chosen_P: Tensor, rejected_P: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Compute the mean loss of direct preference optimisation over the pairs (Rafailov et al., 2023, equation 7).

    Args:
        chosen_P: Rewards of the chosen answers: beta times the log-probability, less the reference's.
        rejected_P: Rewards of the rejected answers.
        label_smoothing: Share of the pairs that are taken to be the wrong way round (Mitchell, 2023, conservative DPO).
    """
    margin_P = chosen_P - rejected_P
    losses_P = -(1.0 - label_smoothing) * F.logsigmoid(margin_P) - label_smoothing * F.logsigmoid(-margin_P)
    return losses_P.mean()


def _answers(document: Document) -> tuple[str, str]:
    return document.target or "", document.metadata[REJECTED]
