"""Beam search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from langmill.models.generation.config import Beams
from langmill.models.generation.network import Decodes
from langmill.models.generation.sampling import CLOSE, require_finite

ReturnT = TypeVar("ReturnT")
_NEVER = -1.0e9  # the score of what can't be chosen, as in transformers
Accepts = Callable[[Sequence[int]], bool]
"""Whether a text, as token ids, is acceptable."""


class _Search:
    """The beams of one prompt, step by step as in `transformers` (early_stopping=False).

    Attributes:
        texts: The tokens of each running beam.
        scores_K: Their log probabilities.
        origins: The beam of the step before that each running beam extends.
        close: Whether a beam was kept or ended by a difference of scores that is `CLOSE`.
    """

    def __init__(self, beams: Beams, limit: int, accepts: Accepts | None) -> None:
        self.beams = beams
        self.limit = limit
        self.accepts = accepts
        self.texts: list[list[int]] = [[] for _ in range(beams.num_beams)]
        self.scores_K = torch.full((beams.num_beams,), _NEVER)
        self.scores_K[0] = 0.0  # all beams read the same prompt: one of them stands for all
        self.origins = [0] * beams.num_beams
        self.finished: list[tuple[float, list[int]]] = []
        self.length = 0
        self.ended = False
        self.close = False

    def step(self, logits_KV: Tensor) -> None:
        """Extend the running beams by one token, given the next-token logits `(beams, vocabulary)`."""
        beams = self.beams
        self.length += 1
        total_KV = logits_KV.float().cpu().log_softmax(dim=-1) + self.scores_K[:, None]
        num_candidates = min(max(2, 1 + len(beams.stop_ids)) * beams.num_beams, total_KV.numel())
        scores, indices = total_KV.flatten().topk(min(num_candidates + 1, total_KV.numel()))
        require_finite(scores[0])
        vocab_size = total_KV.shape[1]
        candidates = [
            (score, index // vocab_size, index % vocab_size)
            for score, index in zip(scores.tolist(), indices.tolist(), strict=True)
        ]
        last = self.length == self.limit
        self._note_close(candidates, last)
        del candidates[num_candidates:]
        running: list[tuple[float, int, int]] = []
        for rank, (score, origin, token) in enumerate(candidates):
            stops = token in beams.stop_ids
            if not (stops or last):
                running.append((score, origin, token))
            elif rank < beams.num_beams and score > _NEVER:  # the others only ensure that enough beams continue
                text = self.texts[origin] if stops else [*self.texts[origin], token]
                self.finished.append((score / self.length**beams.length_penalty, text))
        self.finished.sort(key=lambda pair: -pair[0])
        self.close |= _near([score for score, _ in self.finished[beams.num_beams - 1 : beams.num_beams + 1]])
        del self.finished[beams.num_beams :]
        if last or not running:
            self.ended = True
            return
        running = running[: beams.num_beams]
        self.texts = [[*self.texts[origin], token] for _, origin, token in running]
        self.origins = [origin for _, origin, _ in running]
        self.scores_K = torch.tensor([score for score, _, _ in running])
        if len(self.finished) == beams.num_beams:
            best_running = float(self.scores_K[0]) / self.length**beams.length_penalty
            self.ended = best_running <= self.finished[-1][0]
            self.close |= abs(best_running - self.finished[-1][0]) < CLOSE

    def _note_close(self, candidates: Sequence[tuple[float, int, int]], last: bool) -> None:
        """Note whether scores at a cut between candidates are close; `candidates` has one more than is used."""
        wanted = self.beams.num_beams
        stops = [token in self.beams.stop_ids for _, _, token in candidates]
        running = [score for (score, _, _), stop in zip(candidates, stops, strict=True) if not stop]
        borders = [running[wanted - 1 : wanted + 1]] if not last else []
        if last or any(stops[wanted - 1 : wanted + 1]):
            borders.append([score for score, _, _ in candidates[wanted - 1 : wanted + 1]])
        self.close |= any(_near(border) for border in borders)

    @property
    def is_close(self) -> bool:
        """Whether rounding may decide which text is best."""
        scores = [score for score, _ in self.finished]
        preferred = scores[:2] if self.accepts is None else scores
        return self.close or any(_near(list(pair)) for pair in itertools.pairwise(preferred))

    @property
    def best(self) -> list[int]:
        """The text with the best score, among accepted ones if there are any."""
        found = [text for _, text in self.finished] or self.texts[:1]
        accepts = self.accepts
        return found[0] if accepts is None else next(filter(accepts, found), found[0])


def _near(scores: Sequence[float]) -> bool:
    """Whether these are two scores, the better first, whose order rounding may change."""
    return len(scores) == 2 and scores[1] > _NEVER / 2 and scores[0] - scores[1] < CLOSE


def beam_search(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    beams: Beams,
    accepts: Sequence[Accepts | None] | None = None,
    close: set[int] | None = None,
) -> list[list[int]]:
    """Search the most likely tokens after each prompt, as `transformers` does with as many beams; without a stop token.

    `accepts` says for each prompt which of the final texts are preferred to more likely ones; `close` gets the indices
    of the prompts at which scores were `CLOSE`. Raises ModelError where a prompt is empty or too long, or the network
    is in training mode.
    """
    return run_to_end(beam_steps(network, prompts, beams, accepts, close))


def beam_steps(
    network: Decodes,
    prompts: Sequence[Sequence[int]],
    beams: Beams,
    accepts: Sequence[Accepts | None] | None = None,
    close: set[int] | None = None,
    *,
    dropped: Collection[int] = (),
) -> Generator[dict[int, list[int]], None, list[list[int]]]:
    """Run `beam_search` as a generator, to be interleaved.

    It yields after each token, the texts that ended with it by the indices of their prompts, and returns all. Prompts
    whose indices are in `dropped`, which may change meanwhile, are searched no further.
    """
    cache, new_ids = network.begin(prompts, beams.max_new_tokens)
    searches = [
        _Search(beams, min(beams.max_new_tokens, network.max_length - len(ids) + 1), preference)
        for ids, preference in zip(new_ids, accepts or [None] * len(new_ids), strict=True)
    ]
    logits_BV = network.read(new_ids, cache)
    active = list(range(len(searches)))
    logits_BKV = logits_BV[:, None].expand(-1, beams.num_beams, -1)
    rows = torch.arange(len(active))[:, None].expand(-1, beams.num_beams)  # each beam's row in the cache
    while True:
        for number, logits_KV in zip(active, logits_BKV, strict=True):
            searches[number].step(logits_KV)
        yield {number: searches[number].best for number in active if searches[number].ended}
        unfinished = [place for place, number in enumerate(active) if not (searches[number].ended or number in dropped)]
        if not unfinished:
            if close is not None:
                close.update(number for number, search in enumerate(searches) if search.is_close)
            return [search.best for search in searches]
        cache.keep([int(rows[place, origin]) for place in unfinished for origin in searches[active[place]].origins])
        active = [active[place] for place in unfinished]
        rows = torch.arange(len(active) * beams.num_beams).view(len(active), beams.num_beams)
        logits_BV = network.read([text[-1:] for number in active for text in searches[number].texts], cache)
        logits_BKV = logits_BV.view(len(active), beams.num_beams, -1)


def run_to_end(steps: Generator[object, None, ReturnT]) -> ReturnT:
    """Run a generator to its end; return its return value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("ReturnT", end.value)
