"""What two versions answered to one request, and what a number of such pairs says.

The statistics are the gate's (`langmill.evaluation.significance`): an interval over resamples of the pairs, and a swap
test. A trial is looked at several times, which alone would find a breach by luck sooner or later: look k may err with
the k-th part of a budget that adds up to what `trial.confidence` leaves, shared among the measures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langmill.config.sections import Trial
from langmill.evaluation.estimates import Estimate
from langmill.evaluation.significance import compare_pairs

_SAMPLES = 10_000
_SEED = 0
_MEASURES = 3
_LEAST_SECONDS = 1e-4
"""Shorter answers are not told apart: what remains is the event loop's own time."""


@dataclass(frozen=True)
class Answer:
    """One version's answer to a request."""

    failed: bool
    """Whether it is a fault of the server's: a status from 500 on, or a stream that breaks."""
    seconds: float
    """From the request to the end of the answer; of a text that says how many tokens it has, each of them."""
    content: str | None = None
    """What can be compared with another version's; None for what chance decides, and for a failure."""


@dataclass(frozen=True)
class Pair:
    """The answers of both versions."""

    candidate: Answer
    baseline: Answer


@dataclass(frozen=True)
class Measure:
    """One thing that was compared."""

    name: str
    candidate: float
    """Its value for the version on trial."""
    baseline: float | None
    """For the one that it is compared with."""
    difference: Estimate
    """With its interval at this look."""
    limit: float
    """What `difference` may be."""
    breached: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name, "candidate": self.candidate, "baseline": self.baseline,
            "difference": self.difference.to_json(), "limit": self.limit, "breached": self.breached,
        }  # fmt: skip


def read_answer(status: int, body: bytes, seconds: float, asked: Mapping[str, Any]) -> Answer:
    """What a response says, for a comparison; `asked` is the request's body."""
    events = _events(body)
    if status >= 500 or not events or any("error" in event for event in events):
        return Answer(True, max(seconds, _LEAST_SECONDS))
    tokens = max((_tokens(event) for event in events), default=0)
    per_token = seconds / (tokens or (len(events) if len(events) > 1 else 1))
    return Answer(False, max(per_token, _LEAST_SECONDS), _content(events, asked))


def _events(body: bytes) -> list[dict[str, Any]]:
    """The JSON of a response, or of the events of a stream."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")] or [body]
    try:
        found = [json.loads(line) for line in lines if line.strip() != b"[DONE]"]
    except ValueError:
        return []
    return [event for event in found if isinstance(event, dict)]


def _tokens(event: Mapping[str, Any]) -> int:
    usage = event.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else 0


def _content(events: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> str | None:
    labels = [each["label"] for each in events[0].get("data") or [] if isinstance(each, dict) and "label" in each]
    if labels:
        return json.dumps(labels)
    choices = [each for event in events for each in event.get("choices") or [] if isinstance(each, dict)]
    if not choices or asked.get("temperature") != 0:
        return None
    texts: dict[int, str] = {}
    for each in choices:
        said = each.get("message") or each.get("delta") or each
        texts[each.get("index", 0)] = texts.get(each.get("index", 0), "") + str(
            said.get("text") or said.get("content") or ""
        )
    return json.dumps([texts[index] for index in sorted(texts)])


def next_look(pairs: int, trial: Trial) -> int:
    """The number of pairs at which a trial is looked at next: each time twice as many, and at the end."""
    looks = max(0, math.floor(math.log2(max(pairs, 1) / trial.min_pairs)) + 1)
    return min(trial.min_pairs << looks, trial.max_pairs)


def measure(pairs: Sequence[Pair], trial: Trial) -> list[Measure]:
    """Compare what two versions answered so far.

    Args:
        pairs: At least one.
        trial: What is allowed, and how sure a breach must be.
    """
    look = 1 + max(0, math.ceil(math.log2(len(pairs) / trial.min_pairs)))
    level = (1 - trial.confidence) / _MEASURES / (look * (look + 1))

    def compared(
        name: str, values: Callable[[Answer], float], used: Sequence[Pair], limit: float, *, ratio: bool
    ) -> Measure:
        mine, other = (np.array([values(each) for each in side], dtype=np.float64) for side in _sides(used))
        found, p_value = compare_pairs(mine - other, seed=_SEED, samples=_SAMPLES, confidence=1 - 2 * level)
        means = float(mine.mean()), float(other.mean())
        if ratio:
            found = Estimate(*(math.exp(value) for value in (found.value, found.low, found.high)))
            means = math.exp(means[0]), math.exp(means[1])
        return Measure(name, *means, found, limit, found.low > limit and p_value <= level)

    answered = [pair for pair in pairs if not pair.candidate.failed and not pair.baseline.failed]
    found = [compared("errors", lambda answer: float(answer.failed), pairs, trial.max_more_errors, ratio=False)]
    if answered:
        found.append(
            compared("slowdown", lambda answer: math.log(answer.seconds), answered, trial.max_slowdown, ratio=True)
        )
    both = [pair for pair in answered if None not in (pair.candidate.content, pair.baseline.content)]
    if both:
        found.append(_other_answers(both, trial.max_other_answers, level))
    return found


def _sides(pairs: Sequence[Pair]) -> tuple[list[Answer], list[Answer]]:
    return [pair.candidate for pair in pairs], [pair.baseline for pair in pairs]


def _other_answers(pairs: Sequence[Pair], limit: float, level: float) -> Measure:
    """How many answers differ: no difference of two, so an exact binomial test and interval (Clopper & Pearson)."""
    from scipy.stats import beta, binom

    other, total = sum(pair.candidate.content != pair.baseline.content for pair in pairs), len(pairs)
    low = float(beta.ppf(level, other, total - other + 1)) if other else 0.0
    high = float(beta.ppf(1 - level, other + 1, total - other)) if other < total else 1.0
    share = other / total
    breached = limit < 1 and float(binom.sf(other - 1, total, limit)) <= level and share > limit
    return Measure("other answers", share, None, Estimate(share, low, high), limit, breached)


def sentence(measures: Sequence[Measure]) -> str:
    """What was breached, in words."""
    said = {
        "errors": "it fails on {0:.1%} of the requests and the other version on {1:.1%}; {2:.1%} more is allowed",
        "slowdown": "its answers take {3:.2f} times as long (at least {4:.2f}); {2:g} times is allowed",
        "other answers": "{0:.1%} of its answers differ from the other version's; {2:.1%} is allowed",
    }
    return "; ".join(
        said[each.name].format(
            each.candidate, each.baseline or 0.0, each.limit, each.difference.value, each.difference.low
        )
        for each in measures
        if each.breached
    )
