"""The limits of expectations: at most, at least, within; each with a soft one (`warn`) and a hard one (`stop`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from langmill.config.constraints import Allowed
from langmill.config.core_yaml import as_written
from langmill.config.sections.contract import Portion
from langmill.config.typed import settings
from langmill.data.contract.findings import ROWS, Finding, Outcome, Rows, no_rows

Interval = Annotated[
    tuple[float | None, float | None],
    Allowed(
        "[least, most], either of them null where there is no such limit",
        lambda ends: None in ends or ends[0] <= ends[1],
    ),
]
"""The least and the most that something may be; null is no limit."""


@settings
class AtMost:
    """A share that should be small."""

    stop: Portion | None = None
    """More than this stops."""
    warn: Portion | None = None
    """More than this is told."""


@settings
class AtLeast:
    """A share that should be large."""

    stop: Portion | None = None
    """Less than this stops."""
    warn: Portion | None = None
    """Less than this is told."""


class Limits(NamedTuple):
    """The hard and the soft interval that a number must be in; None for none."""

    stop: Sequence[float | None] | None
    warn: Sequence[float | None] | None


def at_most(subject: str, words: str, value: float, limits: Any, rows: Rows = no_rows) -> Finding:
    """Judge a share that should be small; `limits` has `stop` and `warn`. Arguments as of `judge`."""
    return judge(subject, words, value, Limits([None, limits.stop], [None, limits.warn]), rows)


def at_least(subject: str, words: str, value: float, limits: Any, rows: Rows = no_rows) -> Finding:
    """Judge a share that should be large; `limits` has `stop` and `warn`. Arguments as of `judge`."""
    return judge(subject, words, value, Limits([limits.stop, None], [limits.warn, None]), rows)


def judge(subject: str, words: str, value: float, limits: Limits, rows: Rows = no_rows) -> Finding:
    """Compare a number with two intervals.

    Args:
        subject: What was measured, in a few words.
        words: A phrase that says the number: `12 of 1,200 documents (1%) have no label`.
        value: The number.
        limits: The intervals.
        rows: Looks for the rows that are beyond the limit.
    """
    for outcome, name, ends in ((Outcome.breached, "stop", limits.stop), (Outcome.warned, "warn", limits.warn)):
        least, most = ends or (None, None)
        for bound, allowed, kept in (
            (least, "at least", least is None or value >= least),
            (most, "at most", most is None or value <= most),
        ):
            if not kept and bound is not None:
                sentence = f"{capital(words)}; {name} allows {allowed} {number(bound)}."
                found = tuple(rows())[:ROWS]
                return Finding(subject, outcome, value, f"{name}: {_plain(bound)}", sentence, found)
    nearest = (
        f"{name}: {written(ends)}" for name, ends in (("warn", limits.warn), ("stop", limits.stop)) if _given(ends)
    )
    return Finding(subject, Outcome.passed, value, next(nearest, ""), f"{capital(words)}.")


def _given(ends: Sequence[float | None] | None) -> bool:
    return ends is not None and any(end is not None for end in ends)


def written(ends: Sequence[float | None] | None) -> str:
    """An interval as a person writes it; a single end alone."""
    least, most = ends or (None, None)
    if least is None or most is None:
        return _plain(most if least is None else least)
    return f"[{_plain(least)}, {_plain(most)}]"


def _plain(end: float | None) -> str:
    """A limit as a person writes it: a whole number without a point."""
    return as_written(int(end) if end is not None and float(end).is_integer() else end)


def number(value: float) -> str:
    """A number in a sentence: a count with separators, a share or another fraction as it stands."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def share_of(count: int, total: int, noun: str) -> str:
    """A share in a sentence: `12 of 1,200 documents (1%)`."""
    return f"{count:,} of {total:,} {noun} ({percent(count / total if total else 0.0)})"


def percent(share: float) -> str:
    """A share in percent, with three digits that count: `0.0125%`."""
    return f"{100 * round(share, 12):.3g}%"  # what is less is rounding


def capital(words: str) -> str:
    """A phrase as the beginning of a sentence."""
    return words[:1].upper() + words[1:]
