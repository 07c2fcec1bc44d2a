"""How the documents differ from earlier ones, by their statistics: those that were reviewed, or the last version's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from langmill.config import sections
from langmill.data.contract.effect_size import variation_from
from langmill.data.report.markdown import Facts
from langmill.data.report.words import size

_ROWS = 10
_ALL = 0.99  # shares are rounded down, to four digits each
_QUANTILES = {"0.05": "5%", "0.25": "25%", "0.5": "median", "0.75": "75%", "0.95": "95%"}


@dataclass(frozen=True, slots=True)
class Size:
    """A number then and now."""

    name: str
    then: str
    now: str
    change: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise than it was."""

    sizes: list[Size]
    shares: list[tuple[str, float, list[tuple[str, float, float]]]]
    """Labels and languages: a title, the total variation, and each value's share then and now."""


def difference(facts: Facts, reference: sections.Reference) -> Difference:
    """Compare a report with the statistics of earlier documents."""
    num_bytes = sum(split["bytes"] + split["target_bytes"] for split in facts["splits"].values())
    sizes = [
        Size(
            "documents",
            f"{reference.documents:,}",
            f"{facts['documents']:,}",
            _change(reference.documents, facts["documents"]),
        ),
        Size("bytes", size(reference.bytes), size(num_bytes), _change(reference.bytes, num_bytes)),
    ]
    quantiles = facts["length_quantiles"]
    for share, name in _QUANTILES.items():
        then, now = _quantile(reference.lengths, float(share)), quantiles.get(share)
        if then is not None and now is not None:
            sizes.append(Size(f"length, {name}", f"{then:,}", f"{now:,}", _change(then, now)))
    shares = []
    for title, key, before in (("Labels", "labels", reference.labels), ("Languages", "languages", reference.languages)):
        counts = sum((Counter(split[key]) for split in facts["splits"].values()), Counter[str]())
        if before and counts:
            now_shares = {value: count / counts.total() for value, count in counts.items()}
            # What the statistics do not list had some share that they do not say.
            full = sum(before.values()) >= _ALL
            values = {*before, *now_shares} if full else before
            lines = [(value, before.get(value, 0.0), now_shares.get(value, 0.0)) for value in values]
            lines.sort(key=lambda line: (-abs(line[2] - line[1]), line[0]))
            shares.append((title, variation_from(before, counts), lines[:_ROWS]))
    return Difference(sizes, shares)


def _quantile(points: Sequence[tuple[int, float]], share: float) -> int | None:
    """The least of the points' lengths up to which at least this share of the documents is."""
    return next((length for length, part in points if part >= share), None)


def _change(then: int, now: int) -> str:
    if now == then:
        return "none"
    return f"{now / then - 1:+.2%}" if then else "new"
