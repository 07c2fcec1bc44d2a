"""Log probabilities of tokens, as a client may ask for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenLogprobs:
    """The log probability of a token in its place, and the most likely tokens there.

    They are the network's own, in nats: before penalties, bias, temperature and truncation.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """Token ids and log probabilities of the most likely tokens, the first first."""


def token_logprobs(logits_V: Tensor, token_id: int, top: int) -> TokenLogprobs:
    """Compute a token's log probability and those of the `top` most likely tokens from the logits of its place."""
    return of_tokens(logits_V[None], [token_id], top)[0]


def of_tokens(logits_TV: Tensor, token_ids: list[int], top: int) -> list[TokenLogprobs]:
    """Compute the log probability of each of `token_ids` from the logits of its place, `(tokens, vocabulary)`."""
    logprobs_TV = logits_TV.float().log_softmax(dim=-1)
    ids_T1 = torch.tensor(token_ids, device=logits_TV.device)[:, None]
    own = logprobs_TV.gather(1, ids_T1)[:, 0].tolist()
    best = logprobs_TV.topk(min(top, logprobs_TV.shape[1]), dim=-1)
    return [
        TokenLogprobs(token_id, logprob, tuple(zip(ids, values, strict=True)))
        for token_id, logprob, ids, values in zip(
            token_ids, own, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]
