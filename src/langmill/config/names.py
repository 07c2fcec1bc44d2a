"""What to say of a name that is not what was asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of the known names, with a space before it; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def only_a_base(name: str) -> str:
    """What to say of a pretrained model that was asked for as if it were a recipe's."""
    return (
        f"{name} is a pretrained model as it came, a base for recipes, with no task of its own: "
        f"`langmill new recipe NAME --corpus CORPUS --base {name}` tunes it, `langmill benchmark {name} TASK` asks it "
        "questions as it is."
    )
