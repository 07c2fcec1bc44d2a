"""Pairs of texts as batches: a source and its target for an encoder-decoder, a prompt and its response for a decoder.

A pair's tokens follow each other in the shard; both are truncated and joined when a batch is made. Shape suffixes: B
pairs of a micro-batch, S source tokens, T target tokens, or tokens of prompt and response together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from langmill.tasks.batching import Batch, PaddedBatches, Share, Truncation, pad, truncate
from langmill.tokenization.shards import Shard

NOT_COUNTED = -1
"""The target at places that are not learned from."""


@dataclass(frozen=True)
class Pair:
    """Two token sequences, without end-of-text tokens."""

    source: np.ndarray
    target: np.ndarray
    end: int | None = None
    """The token that ends the target, where it is not the end-of-text token."""
    asked: np.ndarray | None = None
    """What is read while the target is not known yet, where that is not the source."""


@dataclass(frozen=True)
class Form(ABC):
    """How pairs become a batch."""

    length: int
    """Tokens of a sequence, its end-of-text token included, at most."""
    truncation: Truncation
    """Which tokens of a longer source or prompt are kept."""
    eot_id: int

    @abstractmethod
    def lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray) -> np.ndarray:
        """Tokens that each pair will have in a batch, by which neighbours are chosen."""

    @abstractmethod
    def source(self, tokens: np.ndarray) -> np.ndarray:
        """A source or prompt as the network reads it."""

    def asked(self, pair: Pair) -> np.ndarray:
        """What the network reads when it is to write the target itself."""
        return self.source(pair.source if pair.asked is None else pair.asked)

    @abstractmethod
    def target(self, pair: Pair) -> np.ndarray:
        """The tokens that are learned and scored: the target and an end-of-text token, or what there is room for."""

    @abstractmethod
    def shape(self, pair: Pair) -> tuple[int, ...]:
        """Tokens of each sequence that a pair becomes."""

    @abstractmethod
    def collate(self, pairs: Sequence[Pair], shape: tuple[int, ...] | None = None) -> Batch:
        """The batch, padded to a shape if one is given; `lengths` `(B,)` says each pair's real tokens, all counted."""


@dataclass(frozen=True)
class SourceAndTarget(Form):
    """Source and target apart: `source` `(B, S)`, `source_lengths` `(B,)`, `targets` `(B, T)`, all int64.

    Both end with the end-of-text token; a truncated target does not, since its text does not end there.
    """

    def lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray) -> np.ndarray:
        """Tokens of both."""
        return np.asarray(np.minimum(source_lengths + 1, self.length) + np.minimum(target_lengths + 1, self.length))

    def source(self, tokens: np.ndarray) -> np.ndarray:
        """A source as the encoder reads it."""
        kept = truncate(tokens, self.length - 1, self.truncation).astype(np.int64)
        return np.asarray(np.append(kept, self.eot_id))

    def target(self, pair: Pair) -> np.ndarray:
        """The target as the decoder is to write it."""
        return np.append(pair.target, self.eot_id)[: self.length].astype(np.int64)

    def shape(self, pair: Pair) -> tuple[int, ...]:
        """Source tokens and target tokens."""
        return len(self.source(pair.source)), len(self.target(pair))

    def collate(self, pairs: Sequence[Pair], shape: tuple[int, ...] | None = None) -> Batch:
        """The batch; see the class."""
        source_length, target_length = shape or (0, 0)
        sources, source_lengths = pad([self.source(pair.source) for pair in pairs], self.eot_id, source_length)
        targets, target_lengths = pad([self.target(pair) for pair in pairs], NOT_COUNTED, target_length)
        return {
            "source": sources,
            "source_lengths": source_lengths,
            "targets": targets,
            "lengths": source_lengths + target_lengths,
        }


@dataclass(frozen=True)
class PromptAndResponse(Form):
    """Source and target in one sequence: `tokens` and `targets` `(B, T)`; only the response's targets are counted.

    A sequence is the end-of-text token, the prompt and the response; the end-of-text token that ends the response is
    learned too, unless the response was truncated.
    """

    prompt_length: int
    """Tokens of a prompt, at most; what is left of `length` is the response's."""

    def lengths(self, source_lengths: np.ndarray, target_lengths: np.ndarray) -> np.ndarray:
        """Tokens of the whole sequence."""
        whole = 1 + np.minimum(source_lengths, self.prompt_length) + target_lengths
        return np.asarray(np.minimum(whole, self.length))

    def source(self, tokens: np.ndarray) -> np.ndarray:
        """A prompt as the network reads it."""
        kept = truncate(tokens, self.prompt_length, self.truncation).astype(np.int64)
        return np.asarray(np.insert(kept, 0, self.eot_id))

    def target(self, pair: Pair) -> np.ndarray:
        """What follows the prompt; the last token is predicted and never read, so that there is room for one more."""
        room = max(0, self.length + 1 - len(self.source(pair.source)))
        return np.append(pair.target, self.eot_id if pair.end is None else pair.end)[:room].astype(np.int64)

    def shape(self, pair: Pair) -> tuple[int, ...]:
        """Tokens that are read."""
        return (len(self.source(pair.source)) + len(self.target(pair)) - 1,)

    def collate(self, pairs: Sequence[Pair], shape: tuple[int, ...] | None = None) -> Batch:
        """The batch; see the class."""
        (length,) = shape or (0,)
        prompts = [self.source(pair.source) for pair in pairs]
        whole = [np.concatenate([prompt, self.target(pair)]) for prompt, pair in zip(prompts, pairs, strict=True)]
        tokens, lengths = pad([sequence[:-1] for sequence in whole], self.eot_id, length)
        targets, _ = pad([sequence[1:] for sequence in whole], NOT_COUNTED, length)
        for row, prompt in zip(targets, prompts, strict=True):
            row[: len(prompt) - 1] = NOT_COUNTED
        return {"tokens": tokens, "targets": targets, "lengths": lengths}


@dataclass(frozen=True)
class PromptAsItIs(PromptAndResponse):
    """Likewise, of a prompt that is short enough and has all its special tokens, as of a chat."""

    def source(self, tokens: np.ndarray) -> np.ndarray:
        """The prompt."""
        return tokens.astype(np.int64)


class Pairs(Sequence[Pair]):
    """The pairs of a shard."""

    def __init__(self, shard: Shard) -> None:
        self._tokens = shard.tokens
        self._starts = shard.starts
        self.part_lengths = shard.part_lengths(2)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Pair:  # type: ignore[override]  # pairs are never sliced
        start, (source, target) = self._starts[number], self.part_lengths[number]
        middle = start + source
        return Pair(self._tokens[start:middle], self._tokens[middle : middle + target])


class PairBatches(PaddedBatches):
    """Batches of pairs of about equal length."""

    def __init__(self, pairs: Pairs, form: Form, share: Share) -> None:
        super().__init__(form.lengths(*pairs.part_lengths.T), share)
        self._pairs = pairs
        self._form = form

    def collate(self, chosen: np.ndarray) -> Batch:
        """What the form makes of the chosen pairs."""
        return self._form.collate([self._pairs[number] for number in chosen])


def counted(targets: torch.Tensor) -> int:
    """Targets that are learned from."""
    return int((targets != NOT_COUNTED).sum())
