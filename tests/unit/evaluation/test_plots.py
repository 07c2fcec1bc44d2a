from __future__ import annotations

import csv

import pytest

from langmill.evaluation.plots import draw, write_csv
from langmill.tasks.base import Plot

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
