"""Plots of an evaluation: a CSV for `dvc plots` and a PNG for people, the same bytes for the same data."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langmill.evaluation.estimates import Estimate
from langmill.files import atomic_file
from langmill.scoring.base import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
HISTOGRAM_BINS = 40
MOST_NUMBERED_LABELS = 20
"""A larger confusion matrix gets no numbers in its cells, and no names along its axes."""
_BLUE, _ORANGE, _GREY = "#2b6cb0", "#c05621", "#718096"
_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}


def write_csv(plot: Plot, path: Path) -> None:
    """The plot's data as `dvc plots` wants it.

    A matrix becomes one row an example (DVC's confusion template counts rows), a histogram one row a bin.
    """
    columns = plot.columns
    if plot.kind == "matrix":
        header: list[str] = ["actual", "predicted"]
        cells = zip(*(columns[name] for name in (*header, "count")), strict=True)
        rows = [(actual, predicted) for actual, predicted, count in cells for _ in range(count)]
    elif plot.kind == "histogram":
        counts, edges = _histogram(plot)
        header = [next(iter(columns)), plot.y_label]
        rows = [(f"{(low + high) / 2:.6g}", count) for low, high, count in zip(edges, edges[1:], counts, strict=False)]
    else:
        header = list(columns)
        rows = list(zip(*[[_short(value) for value in column] for column in columns.values()], strict=True))
    with atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def new_figure(width_inches: float, height_inches: float, layout: Any = None) -> Figure:
    """Make a figure that is drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


@contextlib.contextmanager
def _figure(path: Path, panels: int = 1) -> Iterator[Figure]:
    """A figure to draw on, written as a PNG at the end."""
    from matplotlib import style

    with style.context(["default", _STYLE]):  # whatever the user's own matplotlibrc says
        figure = new_figure(6.4 * panels, 4.2, layout="constrained")
        yield figure
        with atomic_file(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def draw(plot: Plot, path: Path) -> None:
    """Draw the plot as a PNG."""
    with _figure(path) as figure:
        axes = figure.add_subplot()
        {"matrix": _draw_matrix, "histogram": _draw_histogram, "line": _draw_lines}[plot.kind](axes, plot)
        axes.set_title(plot.title)
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)


Point = tuple[float, float | None, Estimate]
"""Parameters, minutes (None where they are not known), and a metric's estimate."""


def draw_points(points: Mapping[str, Point], metric: str, path: Path) -> None:
    """Draw models as points: a metric with its interval against parameters, and against minutes where all have them.

    Both axes begin at 0, so that models that are meant to be of a size look it.
    """
    panels = {"parameters, in millions": [parameters / 1e6 for parameters, *_ in points.values()]}
    known = [minutes for _, minutes, _ in points.values() if minutes is not None]
    if len(known) == len(points):
        panels["minutes of training"] = known
    with _figure(path, len(panels)) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (label, places) in zip(row, panels.items(), strict=True):
            for x, (name, (*_, found)) in zip(places, points.items(), strict=True):
                error = [[found.value - found.low], [found.high - found.value]]
                axes.errorbar(x, found.value, yerr=error, fmt="o", capsize=4, label=name)
            axes.set_xlim(0, 1.08 * max(places))
            axes.set_xlabel(label)
            axes.set_ylabel(metric)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)


def draw_rows(
    names: Sequence[str], panels: Mapping[str, Sequence[float]], hollow: Mapping[int, str], path: Path
) -> None:
    """Draw several numbers of some things: a row for each thing, a panel for each number, from 0 on.

    Args:
        names: The things, from the top down.
        panels: By what it says below a panel, the number of each thing.
        hollow: The rows whose points are hollow, and what that means.
        path: The PNG to write.
    """
    from matplotlib import style

    with style.context(["default", _STYLE]):
        figure = new_figure(1.6 + 3.2 * len(panels), 1.3 + 0.3 * len(names), layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, values) in zip(row, panels.items(), strict=True):
            for number, value in enumerate(values):
                axes.plot(value, number, "o", color=_BLUE, fillstyle="none" if number in hollow else "full")
            axes.set_xlim(0, 1.1 * max(values))
            axes.set_xlabel(label)
        row[0].set_yticks(range(len(names)), names)
        row[0].set_ylim(len(names) - 0.5, -0.5)
        for meaning in sorted(set(hollow.values())):
            figure.supxlabel(f"hollow: {meaning}", fontsize=9, color=_GREY)
        with atomic_file(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def _draw_matrix(axes: Axes, plot: Plot) -> None:
    labels = list(dict.fromkeys(plot.columns["actual"]))
    counts = np.array(plot.columns["count"]).reshape(len(labels), len(labels))
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label="share of the actual label")
    if len(labels) > MOST_NUMBERED_LABELS:
        return
    ticks = [label if len(label) <= 16 else label[:15] + "…" for label in labels]
    axes.set_xticks(range(len(labels)), ticks, rotation=45 if max(map(len, ticks)) > 4 else 0)
    axes.set_yticks(range(len(labels)), ticks)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color)


def _draw_histogram(axes: Axes, plot: Plot) -> None:
    counts, edges = _histogram(plot)
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=_BLUE, edgecolor="white", linewidth=0.5)
    median = float(np.median(next(iter(plot.columns.values()))))
    axes.axvline(median, color=_ORANGE, linewidth=1.5, label=f"median {median:.3g}")
    axes.legend(frameon=False)


def _draw_lines(axes: Axes, plot: Plot) -> None:
    (_, x), *lines = plot.columns.items()
    styles = [(_BLUE, "-", "o"), (_GREY, "--", ""), (_ORANGE, "-", "s")]
    for number, (name, values) in enumerate(lines):
        color, line, marker = styles[number % len(styles)]
        axes.plot(x, values, color=color, linestyle=line, marker=marker, markersize=4, label=name)
    if len(lines) > 1:
        axes.legend(frameon=False)


def _histogram(plot: Plot) -> tuple[np.ndarray, np.ndarray]:
    values = np.array(next(iter(plot.columns.values())), dtype=np.float64)
    return np.histogram(values, bins=min(HISTOGRAM_BINS, max(1, len(values))))


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
