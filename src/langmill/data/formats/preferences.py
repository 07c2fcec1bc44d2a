"""Pairs of answers of which one was preferred: rows with `chosen` and `rejected`, as UltraFeedback and HH have them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.auto import ROW_FILES, Auto
from langmill.data.formats.base import FORMATS, Shape
from langmill.data.formats.conversations import is_turn, said_in
from langmill.data.formats.json_rows import json_list
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

_SPEAKERS = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ \n]?")
Said = list[tuple[str, str]]
"""Who said what, by role, in order."""


@FORMATS.register("preferences")
class Preferences(Auto):
    """Files of which each row compares two answers.

    `chosen` and `rejected` are the answers alone, with `prompt` or `conversations` before them (a text, or a list of
    messages as the format `messages` has them); or both are whole conversations, as lists of messages or as texts with
    `Human:` and `Assistant:`, that differ in the last answer only. Fields: `question`, `answer` (the chosen one),
    `rejected`, `history` (earlier pairs of user and assistant as JSON), `system`, and `opening`, the first question, by
    which conversations that begin alike can be kept on one side of a split. Rows of another shape are quarantined.
    """

    file_endings = ROW_FILES
    shape = Shape("question", "answer", ("rejected", "history", "system", "opening"), "opening", "preferences")

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row has `chosen` and `rejected`, both texts, messages or conversations."""
        both = [values.get("chosen"), values.get("rejected")]
        return any(all(isinstance(answer, kind) and answer for answer in both) for kind in (str, list, dict))

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The comparisons of one file; see `Format.read`."""
        for place, values in super().read(file, path):
            if isinstance(values, Unreadable):
                yield place, values
                continue
            try:
                yield place, _comparison(values)
            except Unreadable as error:
                yield place, error


def _comparison(values: Values) -> Values:
    before, chosen, rejected = _prompt(values), _said(values.get("chosen")), _said(values.get("rejected"))
    if chosen[:-1] != rejected[:-1] or not chosen or not rejected or {chosen[-1][0], rejected[-1][0]} != {"assistant"}:
        raise Unreadable(BadRowReason.unexpected_shape, values)
    if chosen[:-1]:  # a whole conversation; `prompt` repeats its beginning
        before = chosen[:-1]
    system = before.pop(0)[1] if before and before[0][0] == "system" else ""
    roles = [role for role, _ in before]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise Unreadable(BadRowReason.unexpected_shape, values)
    texts = [content for _, content in before]
    history = [list(pair) for pair in zip(texts[:-1:2], texts[1::2], strict=True)]
    return {
        "question": texts[-1],
        "answer": chosen[-1][1],
        "rejected": rejected[-1][1],
        "history": json.dumps(history, ensure_ascii=False),
        "system": system,
        "opening": texts[0],
    }


def _prompt(values: Values) -> Said:
    given = [values[name] for name in ("prompt", "conversations") if values.get(name) is not None]
    return _spoken_by("user", given[0]) if given else []


def _said(answer: object) -> Said:
    """An answer with what it repeats of the conversation; of an answer alone, that."""
    return _spoken_by("assistant", answer)


def _spoken_by(role: str, given: object) -> Said:
    """A conversation, as messages or as a text; of any other text, that `role` says it."""
    messages = [given] if is_turn(given) else json_list(given)
    if messages is not None:
        return said_in(messages)
    if not isinstance(given, str):
        raise Unreadable(BadRowReason.unexpected_shape, given)
    return _spoken(given) or [(role, given)]


def _spoken(text: str) -> Said:
    """A conversation of `Human:` and `Assistant:`; empty where the text is none."""
    if not _SPEAKERS.match(text):
        return []
    parts: Sequence[str] = _SPEAKERS.split(text)[1:]
    roles = ["user" if speaker == "Human" else "assistant" for speaker in parts[::2]]
    return [(role, content.strip()) for role, content in zip(roles, parts[1::2], strict=True) if content.strip()]
