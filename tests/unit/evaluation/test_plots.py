from __future__ import annotations

import csv
from itertools import pairwise

import pytest

from langmill.evaluation.estimates import Estimate
from langmill.evaluation.plots import draw, draw_points, write_csv
from langmill.scoring.base import Plot

pytestmark = pytest.mark.unit

MATRIX = Plot(
    "confusion", "matrix", "Confusion", "predicted", "actual",
    {"actual": ["a,b", "a,b", "c", "c"], "predicted": ["a,b", "c", "a,b", "c"], "count": [3, 1, 0, 2]},
)  # fmt: skip
LINES = Plot("calibration", "line", "Calibration", "x", "y", {"x": [0.25, 0.5], "model": [0.2, 1 / 3], "ideal": [0, 1]})
BINS = Plot("position", "line", "Loss", "x", "y", {"x": ["0", "16"], "bits": [9.0, 8.0]})
HISTOGRAM = Plot("losses", "histogram", "Losses", "bits per byte", "documents", {"bits per byte": [1.0, 1.0, 2.0, 3.0]})


@pytest.mark.parametrize("plot", [MATRIX, LINES, BINS, HISTOGRAM], ids=lambda plot: plot.name)
def test_pictures_have_the_same_bytes_every_time(plot, tmp_path, monkeypatch):
    draw(plot, tmp_path / "one.png")
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "font.size", 30)  # a matplotlibrc of the user's
    draw(plot, tmp_path / "two.png")
    data = (tmp_path / "one.png").read_bytes()
    assert data == (tmp_path / "two.png").read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 5000
    assert b"Matplotlib" not in data  # whose version would otherwise stand in the file


def rows(plot, tmp_path):
    write_csv(plot, tmp_path / "plot.csv")
    with (tmp_path / "plot.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_a_matrix_becomes_a_row_an_example(tmp_path):
    header, *examples = rows(MATRIX, tmp_path)
    assert header == ["actual", "predicted"]
    assert examples == [["a,b", "a,b"]] * 3 + [["a,b", "c"]] + [["c", "c"]] * 2


def test_lines_become_columns(tmp_path):
    assert rows(LINES, tmp_path) == [["x", "model", "ideal"], ["0.25", "0.2", "0"], ["0.5", "0.333333", "1"]]


def test_a_histogram_becomes_bins_that_hold_all_values(tmp_path):
    header, *bins = rows(HISTOGRAM, tmp_path)
    assert header == ["bits per byte", "documents"]
    assert [(float(middle), int(count)) for middle, count in bins] == [(1.25, 2), (1.75, 0), (2.25, 1), (2.75, 1)]


@pytest.mark.parametrize(("minutes", "sides"), [(4.0, 2), (None, 1)])
def test_models_stand_on_axes_from_zero_with_numbers_apart(minutes, sides, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **named: (drawn.append(self), save(self, *args, **named))
    )
    points = {
        "one": (1_598_944, 4.1, Estimate(2.2, 2.1, 2.3)),
        "two": (1_634_688, minutes, Estimate(2.4, 2.3, 2.5)),
    }
    draw_points(points, "bits_per_byte", tmp_path / "points.png")
    (figure,) = drawn
    assert len(figure.axes) == sides
    for axes in figure.axes:
        assert axes.get_xlim()[0] == 0
        labels = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in pairwise(labels))
