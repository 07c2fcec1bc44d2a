"""What to say of a name that is not what was asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of the known names, with a space before it; empty where none is near."""
    near = nearest(name, known)
    return f" D{near[1:]}" if near else ""


def nearest(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1) -> str:
    """As the second half of a sentence: `did you mean NAME?` for the nearest names, `otherwise` where none is near."""
    close = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(close)}?" if close else otherwise


def only_a_base(name: str) -> str:
    """What to say of a pretrained model that was asked for as if it were a recipe's."""
    return (
        f"{name} is a pretrained model as it came, a base for recipes, with no task of its own: "
        f"`langmill new recipe NAME --corpus CORPUS --base {name}` tunes it, `langmill benchmark {name} TASK` asks it "
        "questions as it is."
    )
