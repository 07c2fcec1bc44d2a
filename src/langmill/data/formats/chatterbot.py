"""Conversations as ChatterBot's corpus keeps them (.yml): lists of turns, the user's first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

import yaml

from langmill.data.formats.base import FORMATS, Format, decoded
from langmill.data.formats.conversations import answers
from langmill.data.rows import BadRowReason, Raw, Unreadable


@FORMATS.register("chatterbot")
class Chatterbot(Format):
    """Every second turn is an answer; fields as in `conversations.answers`, and `category` (the file's first one)."""

    file_endings = frozenset({".yml", ".yaml"})
    text = True

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The answers of one file, placed by conversation and answer (`3.1`)."""
        try:
            # The base loader makes texts, lists and tables only: a bare 1963 or yes is an answer, not a number or a
            # truth, and no tag makes an object.
            data = file.read()
            content = yaml.load(decoded(data), Loader=yaml.CBaseLoader)  # noqa: S506
        except Unreadable as error:
            yield 1, error
            return
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            yield 1, Unreadable(BadRowReason.unreadable_file, str(error), num_bytes=len(data))
            return
        conversations = content.get("conversations") if isinstance(content, dict) else None
        if not isinstance(conversations, list):
            yield (
                1,
                Unreadable(
                    BadRowReason.unexpected_shape, f"{path.name} has no list of conversations", num_bytes=len(data)
                ),
            )
            return
        categories = content.get("categories")
        category = categories[0] if isinstance(categories, list) and categories else path.stem
        for number, turns in enumerate(conversations, start=1):
            if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, str) for turn in turns):
                yield f"{number}.1", Unreadable(BadRowReason.unexpected_shape, turns)
                continue
            pairs = list(zip(turns[::2], turns[1::2], strict=False))  # a last word of the user has no answer
            for answer, row in enumerate(answers(pairs, {"category": category}), start=1):
                yield f"{number}.{answer}", row
