"""How likely a language model holds a text after another: what questions with given answers are judged by.

A pair is cut into tokens as EleutherAI's lm-eval does it: white space at the end of the context goes to the
continuation, both are encoded as one text, and the tokens behind those of the context alone are scored. Of a pair that
is too long for the network, the context's first tokens are left out.

Shape suffixes: B sequences, T tokens, N scored tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from langmill.errors import EvaluationError
from langmill.models.heads import LanguageModel
from langmill.scoring.batching import LEAST_ROWS, padded_length, uniform_batches
from langmill.scoring.likelihood import likelihood
from langmill.tasks.base import device_of
from langmill.tasks.batching import pad
from langmill.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Continuation:
    """What a model makes of a continuation."""

    log_likelihood: float
    """In nats, of all its tokens."""
    greedy: bool
    """Whether each of its tokens is the most likely one: the model would write it."""
    read: int
    """Tokens of context and continuation that were read for it."""


def split_tokens(
    tokenizer: Tokenizer, prefix: Sequence[int], context: str, continuation: str, max_length: int
) -> tuple[list[int], int]:
    """The tokens of a pair, at most one more than a network of `max_length` reads, and how many of them are scored.

    `prefix` are the special tokens before every text; a context without tokens is the token that begins a text. Raises
    EvaluationError where the continuation has no tokens of its own, or more than the network reads.
    """
    kept = context.rstrip()
    start = list(prefix)
    if not kept:
        start = [tokenizer.special_ids.get(tokenizer.token_names.get("bos_token", ""), tokenizer.eot_id)]
    whole = [*start, *tokenizer.encode(context + continuation)]
    before = len(start) + len(tokenizer.encode(kept))
    count = len(whole) - before
    if not 0 < count <= max_length:
        raise EvaluationError(
            f"The answer {continuation[:60]!r} has {max(0, count)} tokens; 1 to {max_length}, the model's context, are "
            "allowed.",
            "impossible",
        )
    return whole[-(max_length + 1) :], count


@torch.inference_mode()
def score_continuations(
    network: LanguageModel,
    tokenizer: Tokenizer,
    prefix: Sequence[int],
    pairs: Sequence[tuple[str, str]],
    *,
    batch_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> list[Continuation]:
    """Score each continuation after its context; no score depends on the others or on `batch_tokens`.

    Args:
        network: In evaluation mode.
        tokenizer: Its vocabulary.
        prefix: The special tokens that it reads before every text.
        pairs: Contexts and continuations.
        batch_tokens: Tokens, padding counted, in one forward pass, but four texts at least.
        progress: Called with the number of pairs done since the last call.

    Raises:
        EvaluationError: As `split_tokens`.
    """
    cut = [split_tokens(tokenizer, prefix, *pair, network.max_length) for pair in pairs]
    found = [Continuation(0.0, False, 0)] * len(pairs)
    shapes = [(padded_length(len(tokens) - 1, network.max_length),) for tokens, _ in cut]
    for chosen, (length,) in uniform_batches(shapes, batch_tokens):
        rows = [*chosen, *chosen[-1:] * (LEAST_ROWS - len(chosen))]
        read_BT, lengths_B = pad([np.asarray(cut[n][0][:-1]) for n in rows], tokenizer.eot_id, length)
        device = device_of(network)
        hidden_BTD: Tensor = network.model(read_BT.to(device), lengths_B.to(device))
        for row, number in enumerate(chosen):
            tokens, count = cut[number]
            last = len(tokens) - 1
            targets_N = torch.tensor(tokens[-count:], device=device)
            nats, correct = likelihood(network.head, hidden_BTD[row, last - count : last], targets_N)
            found[number] = Continuation(-float(nats.sum()), bool(correct.all()), last)
        if progress is not None:
            progress(len(chosen))
    return found
