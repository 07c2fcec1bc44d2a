"""Plots of an explanation, PNG or SVG by the file's suffix: a coloured text, or attention maps.

The same data, fonts and matplotlib give the same bytes. Lengths are in points, 72 to the inch, unless a name says
otherwise.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from langmill.errors import EvaluationError
from langmill.evaluation.explain import END_OF_TEXT, AttentionMaps, Attribution
from langmill.evaluation.plots import DPI, new_figure
from langmill.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = ("png", "svg")
MOST_SHOWN = 128
"""Tokens along an axis of a map, at most: more are unreadable."""
MOST_IN_PANELS = 200
"""Layers times tokens of several maps side by side, at most; else the last layer is plotted alone."""
_OWN_FONT = "DejaVu Sans"  # part of matplotlib, without Chinese, Japanese and Korean
_LIKELY_FONTS = ("cjk", "han sans", "wenquanyi", "noto sans", "pingfang", "hiragino", "yahei", "gothic", "unicode")
_STYLE: dict[str, Any] = {"font.size": 10, "svg.hashsalt": "langmill", "axes.titlelocation": "left"}
_LONGEST_PIECE, _LONGEST_LABEL = 40, 14  # characters
_GREY = "#4a5568"
_WIDTH, _MARGIN, _TEXT_SIZE, _LINE, _SPACE = 660.0, 18.0, 11.0, 23.0, 4.0
_HEAD, _FOOT = 58.0, 74.0
_CELL_INCHES, _LETTER_INCHES = 0.165, 0.075


# Characters ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Glyphs:
    """The fonts of a plot, and the characters that none of them has."""

    fonts: list[str]
    """Font families, in order of preference."""
    missing: frozenset[str]
    """Characters that no installed font has; they are drawn as their code points."""

    def drawn(self, text: str) -> str:
        """Replace characters that can't be drawn by code points, `U+6625`, and white space by visible symbols."""
        seen = text.translate({10: "↵", 13: "", 9: "⇥", 0xA0: " "})
        kept = (character for character in seen if unicodedata.category(character) not in ("Cc", "Cf"))
        return "".join(f"U+{ord(each):04X}" if each in self.missing else each for each in kept)


def glyphs_for(texts: Iterable[str]) -> Glyphs:
    """Find fonts for texts: matplotlib's own, and of the installed ones those that add characters."""
    from matplotlib.font_manager import fontManager, get_font

    wanted = {each for text in texts for each in text if unicodedata.category(each) not in ("Cc", "Cf", "Zs", "Zl")}
    fonts, missing = [_OWN_FONT], set(wanted)
    # Matplotlib's last resort draws the same box for a whole script.
    upright = (entry for entry in reversed(fontManager.ttflist) if entry.style == "normal")
    by_name = {entry.name: entry.fname for entry in upright if "last resort" not in entry.name.lower()}

    def rank(name: str) -> tuple[int, str]:
        ranks = [rank for rank, part in enumerate(_LIKELY_FONTS) if part in name.lower()]
        return (min(ranks, default=len(_LIKELY_FONTS)), name)

    for name in [_OWN_FONT, *sorted(by_name, key=rank)]:
        if not missing:
            break
        try:
            font = get_font(by_name[name])
        except (OSError, RuntimeError, KeyError):  # installed but unreadable
            continue
        found = {each for each in missing if font.get_char_index(ord(each))}
        missing -= found
        if found and name != _OWN_FONT:
            fonts.append(name)
    return Glyphs(fonts, frozenset(missing))


# Attribution ---------------------------------------------------------------------------------------------------------


def draw_attribution(found: Attribution, name: str, path: Path) -> frozenset[str]:
    """Plot the text with each piece on the colour of its share: purple for the label, orange against it.

    Return the characters that no installed font has. Raises EvaluationError where the file can't be written.
    """
    from matplotlib import colormaps, style
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    check_path(path)
    glyphs = glyphs_for([*found.pieces, found.label, name])
    with style.context(["default", _STYLE, {"font.family": glyphs.fonts}]):
        boxes, height = _lay_out([glyphs.drawn(piece) for piece in found.pieces])
        whole = _HEAD + height + _FOOT
        figure = new_figure(_WIDTH / 72, whole / 72)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, _WIDTH), ylim=(whole, 0))
        axes.set_axis_off()
        most = float(np.abs(found.shares_T).max()) or 1.0
        scale, palette = Normalize(-most, most), colormaps["PuOr"]
        for box, share in zip(boxes, found.shares_T, strict=True):
            colour = palette(scale(float(share)))
            top, high = _HEAD + box.y, _LINE - 4
            axes.add_patch(Rectangle((box.x, top), box.width, high, facecolor=colour, edgecolor="white", linewidth=0.6))
            ink = "white" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5 else "black"
            _write(
                axes, box.x + box.width / 2, top + high / 2, box.text,
                size=_TEXT_SIZE, color=ink, ha="center", va="center_baseline",
            )  # fmt: skip
        label = glyphs.drawn(found.label)
        title = f"{glyphs.drawn(name)} says “{label}”, probability {found.probability:.3f}"
        _write(axes, _MARGIN, 22, title, size=13, va="baseline")
        _write(axes, _MARGIN, 40, caption(found), size=8.5, color=_GREY, va="baseline")
        bar_axes = figure.add_axes((_MARGIN / _WIDTH, 44 / whole, 0.42, 9 / whole))
        bar = figure.colorbar(ScalarMappable(scale, palette), cax=bar_axes, orientation="horizontal")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=2)
        bar_axes.set_xlabel("share of the logit, in nats", size=8.5)
        legend = f"purple speaks for “{label}”, orange against it; white has no part in it"
        _write(axes, _MARGIN + 0.42 * _WIDTH + 18, whole - 49, legend, size=8.5, va="center")
        _save(figure, path)
    return glyphs.missing


def caption(found: Attribution) -> str:
    """Make the caption: the sum of the shares, and the baseline."""
    alone = {" ": "spaces", "\n": "line ends", END_OF_TEXT: "end-of-text tokens"}.get(
        found.baseline, f"“{found.baseline}” alone"
    )
    sums = f"The shares add up to {_signed(float(found.shares_T.sum()))}: the label's logit, {_signed(found.logit)}, "
    sums += f"less what it is for a text of {alone}, {_signed(found.baseline_logit)}"
    if not found.complete:
        sums += f". They are off by {_signed(found.error)}: read them with care"
    return sums + "."


@dataclass
class _Box:
    """A piece on the page."""

    text: str
    x: float
    y: float
    width: float


def _lay_out(pieces: Sequence[str]) -> tuple[list[_Box], float]:
    """Arrange pieces in lines; return them with the total height. A word of up to half a line is kept together."""
    from matplotlib.font_manager import FontProperties

    renderer = cast("Any", new_figure(1, 1).canvas).get_renderer()
    properties = FontProperties(size=_TEXT_SIZE)
    boxes: list[_Box] = []
    word: list[_Box] = []
    x, y = _MARGIN, 0.0
    for piece in pieces:
        text = _short(piece.strip() or " ", _LONGEST_PIECE)
        after_space = piece[:1] == " " and bool(piece.strip())
        if after_space or unicodedata.east_asian_width(text[:1] or " ") in "WF":
            word = []
        x += _SPACE if after_space and x > _MARGIN else 0.0
        box = _Box(text, x, y, renderer.get_text_width_height_descent(text, properties, False)[0] * 72 / DPI + 4)
        word.append(box)
        boxes.append(box)
        x += box.width
        if x > _WIDTH - _MARGIN:
            moved = word if x - word[0].x <= _WIDTH / 2 else [box]
            x, y = _MARGIN, y + _LINE
            for each in moved:
                each.x, each.y = x, y
                x += each.width
        if text.endswith("↵"):
            x, y, word = _MARGIN, y + _LINE, []
    return boxes, y + (_LINE if x > _MARGIN else 0.0)


# Attention -----------------------------------------------------------------------------------------------------------


def shown_layers(maps: AttentionMaps, titles: Sequence[str]) -> list[str]:
    """Titles of the maps to plot: all, or the last one if all would be too small to read."""
    longest = min(MOST_SHOWN, max(len(maps.rows), len(maps.columns)))
    return list(titles) if len(titles) * longest <= MOST_IN_PANELS else list(titles[-1:])


def shown_tokens(maps: AttentionMaps) -> tuple[slice, slice]:
    """Rows and columns to plot: the first ones; the last ones of a prompt, since the answer's tokens attend to them."""
    rows = slice(0, min(MOST_SHOWN, len(maps.rows)))
    first = max(0, len(maps.columns) - MOST_SHOWN) if maps.columns_go_on else 0
    return rows, slice(first, min(first + MOST_SHOWN, len(maps.columns)))


def draw_attention(maps: AttentionMaps, chosen: Mapping[str, np.ndarray], title: str, path: Path) -> frozenset[str]:
    """Plot the chosen maps, `(T, S)` each, as heat maps on one scale, with tokens along the axes; as the above."""
    from matplotlib import style
    from matplotlib.colors import PowerNorm

    check_path(path)
    rows, columns = shown_tokens(maps)
    glyphs = glyphs_for([*maps.rows[rows], *maps.columns[columns], title])
    row_labels, column_labels = (
        [_short(_visible(glyphs.drawn(piece)), _LONGEST_LABEL) for piece in pieces]
        for pieces in (maps.rows[rows], maps.columns[columns])
    )
    drawn = {name: weights[rows, columns] for name, weights in chosen.items()}
    across = min(len(drawn), 3 if len(column_labels) > 12 else 4)
    down = -(-len(drawn) // across)
    wide = max(2.2, len(column_labels) * _CELL_INCHES)
    high = max(1.6, len(row_labels) * _CELL_INCHES)
    left, below = (_LETTER_INCHES * max(map(len, labels)) + 0.5 for labels in (row_labels, column_labels))
    with style.context(["default", _STYLE, {"font.family": glyphs.fonts}]):
        size = (max(6.0, across * (wide + 0.2) + left + 1.1), down * (high + 0.35) + below + 0.6)
        figure = new_figure(*size, layout="constrained")
        panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        # Most of the attention often goes to one token: on a linear scale nothing else is visible.
        scale = PowerNorm(0.5, vmin=0, vmax=max(float(weights.max()) for weights in drawn.values()))
        for number, axes in enumerate(panels.flat):
            if number >= len(drawn):
                axes.set_visible(False)
                continue
            name = list(drawn)[number]
            image = axes.imshow(drawn[name], cmap="Blues", norm=scale, aspect="auto", interpolation="nearest")
            axes.set_title(name, size=10)
            _label(axes.xaxis, column_labels, rotation=90)
            _label(axes.yaxis, row_labels)
            axes.tick_params(labelbottom=number + across >= len(drawn), labelleft=number % across == 0)
        figure.colorbar(
            image, ax=panels, label="share of attention (colour: its square root)", shrink=min(0.9, 3.2 / size[1])
        )
        figure.suptitle(glyphs.drawn(title), size=12, ha="left", x=0.01, parse_math=False)
        figure.supxlabel(maps.column_title, size=10, color=_GREY)
        figure.supylabel(maps.row_title, size=10, color=_GREY)
        _save(figure, path)
    return glyphs.missing


def _label(axis: Any, labels: Sequence[str], rotation: float = 0) -> None:
    axis.set_ticks(range(len(labels)), labels, rotation=rotation, size=8, parse_math=False)
    axis.set_tick_params(length=0)


def _visible(piece: str) -> str:
    """Format a piece as a label: a leading space is a dot, so that the beginning of a word is visible."""
    return piece.replace(" ", "·") if piece.strip() else "␣" * min(len(piece), 4)


# Files ---------------------------------------------------------------------------------------------------------------


def check_path(path: Path) -> None:
    """Raise EvaluationError for a path that can't be a plot's: its suffix is none of `SUFFIXES`, or it is a folder."""
    if path.suffix.lower().removeprefix(".") not in SUFFIXES:
        raise EvaluationError(
            f"A plot is a .png or an .svg file, not {path.name!r}; choose another --out.", "impossible"
        )
    if os.path.isdir(path):  # unlike Path.is_dir, false for a name that is too long
        raise EvaluationError(f"{path} is a folder; name a file with --out.", "impossible")


def _save(figure: Figure, path: Path) -> None:
    """Write the plot atomically."""
    suffix = path.suffix.lower().removeprefix(".")
    silent: dict[str, Any] = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
    try:
        with atomic_file(path) as file:
            figure.savefig(file, format=suffix, metadata=silent)
    except OSError as error:
        raise EvaluationError(f"{path} can't be written: {error.strerror}; choose another --out.", "refused") from error


def _write(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    axes.text(x, y, text, parse_math=False, **how)  # a text may hold dollar signs


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")
