from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from langmill.errors import Code, EvaluationError
from langmill.evaluation import explain_plots
from langmill.evaluation.explain import END_OF_TEXT, AttentionMaps, Attribution
from langmill.evaluation.explain_plots import (
    MOST_SHOWN,
    caption,
    draw_attention,
    draw_attribution,
    glyphs_for,
    shown_layers,
    shown_tokens,
)
from tests.refused import refused

pytestmark = pytest.mark.unit


def attribution(pieces: list[str]) -> Attribution:
    shares = np.linspace(-0.5, 1.0, len(pieces))
    return Attribution("positive", 0.9, pieces, shares, 2.0, ",", 2.0 - float(shares.sum()), 50, 0)


def maps(rows: int, columns: int, layers: int = 2, go_on: bool = False) -> AttentionMaps:
    weights = np.full((layers, 2, rows, columns), 1 / columns)
    names = [f" w{number}" for number in range(max(rows, columns))]
    return AttentionMaps(weights, names[:rows], names[:columns], "r", "c", go_on, None, 0)


PIECES = ["The", " film", " costs", " $", "5", " and", " $", "6", "\n", "映", "画", "\t", "  ", "x_{^\\", " fi", "ne"]


@pytest.mark.parametrize("ending", ["png", "svg", "PNG"])
def test_pictures_have_the_same_bytes_every_time(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(number: int) -> bytes:
        first, second = tmp_path / f"a{number}.{ending}", tmp_path / f"m{number}.{ending}"
        draw_attribution(attribution(PIECES), "tiny $x$", first)
        found = maps(3, 4)
        draw_attention(found, {"layer 1": found.weights_LHTS[0, 0], "layer 2": found.weights_LHTS[1, 0]}, "$", second)
        return first.read_bytes() + second.read_bytes()

    once = draw(1)
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "font.size", 30)  # a matplotlibrc of the user's
    assert draw(2) == once
    assert once.startswith(b"<?xml" if ending == "svg" else b"\x89PNG")


def test_a_long_text_is_wrapped_and_stays_on_the_page(tmp_path: Path) -> None:
    pieces = [f" word{number}" for number in range(150)] + ["inside"] * 150 + ["y" * 300]
    boxes, height = explain_plots._lay_out(pieces)
    assert len(boxes) == 301
    assert all(box.x >= 0 and box.x + box.width <= explain_plots._WIDTH for box in boxes)
    assert max(box.y for box in boxes) < height
    for one, two in itertools.pairwise(boxes):
        assert two.y > one.y or (two.y == one.y and two.x >= one.x + one.width - 1e-6)
    draw_attribution(attribution(pieces), "tiny", tmp_path / "long.png")


def test_the_caption_says_what_the_shares_are_measured_against() -> None:
    found = Attribution("positive", 0.9, ["a"], np.array([1.5]), 2.0, ",", 0.5, 50, 0)
    assert caption(found) == (
        "The shares add up to +1.50: the label's logit, +2.00, less what it is for a text of “,” alone, +0.50."
    )
    missed = Attribution("positive", 0.9, ["a"], np.array([1.0]), 2.0, END_OF_TEXT, 0.5, 3200, 0)
    assert caption(missed).endswith("of end-of-text tokens, +0.50. They are off by \u22120.50: read them with care.")


def test_what_no_font_has_is_shown_as_code_points_and_told(tmp_path: Path) -> None:
    nobody = "\U000e0fff\U0001f9ff\uf8ff"  # private and unassigned places are in no font but the last resort
    glyphs = glyphs_for([f"a{nobody}é"])
    assert glyphs.fonts[0] == "DejaVu Sans"
    assert "\uf8ff" in glyphs.missing or len(glyphs.fonts) > 1
    assert not {"a", "é"} & glyphs.missing
    assert explain_plots.Glyphs([], frozenset("春")).drawn("a春\n\u200d") == "aU+6625↵"
    missing = draw_attribution(attribution(["a", "\U000e0ff0"]), "tiny", tmp_path / "x.png")
    assert missing <= {"\U000e0ff0"}


def test_another_font_is_taken_for_what_matplotlibs_own_lacks() -> None:
    glyphs = glyphs_for(
        ["\U0001d49c"]
    )  # DejaVu Sans may have it; STIX, which matplotlib brings too, has it for certain
    assert not glyphs.missing
    assert "Last Resort" not in " ".join(glyphs.fonts)


def test_long_texts_get_one_map_of_few_tokens() -> None:
    assert shown_layers(maps(3, 20, layers=4), ["1", "2", "3", "4"]) == ["1", "2", "3", "4"]
    assert shown_layers(maps(3, 90, layers=4), ["1", "2", "3", "4"]) == ["4"]
    assert shown_layers(maps(3, 500), ["2"]) == ["2"]
    assert shown_tokens(maps(3, 500)) == (slice(0, 3), slice(0, MOST_SHOWN))
    assert shown_tokens(maps(3, 500, go_on=True)) == (slice(0, 3), slice(500 - MOST_SHOWN, 500))


def test_a_file_that_can_not_be_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    codes: dict[Path, Code] = {
        tmp_path / "x.gif": "impossible",
        tmp_path / "x": "impossible",
        tmp_path / "folder.png": "impossible",
        tmp_path / "file" / "x.png": "refused",
        tmp_path / ("n" * 300 + ".png"): "refused",
    }
    for path, code in codes.items():
        with refused(EvaluationError, code, path.name, "--out"):
            draw_attribution(attribution(["a", " b"]), "tiny", path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.png"]
