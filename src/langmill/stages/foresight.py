"""What `compose` will write, known before it has run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmill.config.compose import COMPOSERS, plain
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.stages.compose import Composed


def composed_params() -> Callable[[str], Mapping[str, Any] | None]:
    """What predicts the content of a file in build/config/ after `compose`, and None for other files.

    It refuses what `compose` would refuse, with a ConfigError; each name is composed and checked once.
    """

    @functools.cache
    def composed() -> Composed:
        from langmill.stages.compose import Composed  # and torch with it: only where conf/ has changed
        from langmill.stages.lines import read_lines

        return Composed(read_lines())

    def predicted(path: str) -> Mapping[str, Any] | None:
        group, name = Path(path).parent.name, Path(path).stem
        known = group in COMPOSERS and Path(path) == Workspace().composed_file(group, name)
        return plain(composed().get(group, name)) if known else None

    return predicted
