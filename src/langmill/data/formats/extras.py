"""Libraries that only some formats need, which an extra of Langmill's installs."""

from __future__ import annotations

import importlib
from typing import Any

from langmill.errors import DataError

EXTRA = "documents"
"""The extra that brings the libraries for documents: `pip install "langmill[documents]"`."""


def library(module: str, what: str) -> Any:
    """A module of such a library, imported now.

    Args:
        module: Its dotted name.
        what: What it is needed for, in the plural, to begin a sentence.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{what} are read by {module.partition('.')[0]}, which can't be imported ({error}); "
            f'`pip install "langmill[{EXTRA}]"` brings it.',
            "not_importable",
        ) from error


def too_large_to_hold(size: int, most: int) -> str:
    """What is said of a file that would have to be held in memory and is too large for it."""
    return f"{size / 1e6:,.0f} MB, and files of this kind are read up to {most / 1e6:,.0f} MB"
