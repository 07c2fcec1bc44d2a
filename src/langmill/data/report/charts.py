"""Charts of the report's page: SVG that stretches, with its words beside it in HTML, so that they keep their size.

Colours come from the page's style sheet by class; numbers are written with fixed digits. Equal data give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_LEAST = 0.5  # percent of the width that a bar has which stands for anything
_DECADES = 3  # on a longer axis only powers of ten are labelled


def bar(share: float, kind: str, start: float = 0.0, *, then: tuple[float, str] = (0.0, "")) -> Markup:
    """Draw a bar on a track.

    Args:
        share: Its length, as a share of the track; what is more than nothing can be seen.
        kind: The class that colours it.
        start: Where it begins, as a share of the track.
        then: The share and the class of a second bar behind it.
    """
    width = max(_LEAST, 100 * share) if share > 0 else 0.0
    left = min(100 * start, 100 - width)
    second = max(_LEAST, 100 * then[0]) if then[0] > 0 else 0.0
    behind = Markup('<rect class="{}" x="{}" width="{}" height="8"/>').format(
        then[1], f"{min(left + width, 100 - second):.2f}", f"{second:.2f}"
    )
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8"/>'
        '<rect class="{}" x="{}" width="{}" height="8"/>{}</svg>'
    ).format(kind, f"{left:.2f}", f"{width:.2f}", behind if second else "")


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis."""

    at: str
    """From the left, or from the bottom, in percent."""
    name: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A drawn histogram."""

    svg: Markup
    x: list[Tick]
    y: list[Tick]


def histogram(edges: Sequence[int], counts: Mapping[str, Sequence[int]]) -> Histogram | None:
    """Draw histograms over each other, each as shares of its own sum, on a logarithmic axis.

    Args:
        edges: The bins' edges, from 1 on, one more than there are bins.
        counts: How many are in each bin, by name; the name is the class that colours them. The first is filled.

    Returns:
        The drawing; None where nothing is counted.
    """
    shares = {name: [value / sum(values) for value in values] for name, values in counts.items() if sum(values)}
    if not shares:
        return None
    low, high = math.log10(edges[0]), math.log10(edges[-1])
    highest = max(max(values) for values in shares.values())
    top = _round_up(highest)

    def x(edge: float) -> float:
        return 100 * (math.log10(edge) - low) / (high - low)

    paths = []
    for number, name in enumerate(counts):
        if name in shares:
            steps = "".join(
                f"V{100 - 100 * value / top:.2f}H{x(right):.2f}"
                for right, value in zip(edges[1:], shares[name], strict=True)
            )
            paths.append(
                Markup('<path class="{} {}" d="M0 100{}V100"/>').format(name, "area" if number == 0 else "line", steps)
            )
    svg = Markup('<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{}</svg>').format(
        Markup("").join(paths)
    )
    multiples = (1, 2, 5) if high - low < _DECADES else (1,)
    values = [multiple * 10**power for power in range(math.floor(high) + 1) for multiple in multiples]
    return Histogram(
        svg,
        [Tick(f"{x(value):.2f}", _short(value)) for value in values if edges[0] <= value <= edges[-1]],
        [Tick(f"{100 * part:.0f}", f"{100 * part * top:.3g}%") for part in (0.5, 1.0)],
    )


def _round_up(share: float) -> float:
    """A round number that is not less and not much more."""
    power = 10.0 ** math.floor(math.log10(share))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= share * (1 - 1e-9))


def _short(number: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number // unit}{name}"
    return str(number)
