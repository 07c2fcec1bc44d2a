"""Conversations as OpenAI's fine-tuning files keep them (.jsonl): a line is `{"messages": [{"role", "content"}]}`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.auto import json_object
from langmill.data.formats.base import FORMATS, Format, lines_of
from langmill.data.formats.conversations import answers
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

_SYSTEM_ROLES = ("system", "developer")


@FORMATS.register("messages")
class Messages(Format):
    """Fields as in `conversations.answers`, and `system`: what the conversation opens with for the assistant's eyes.

    Words of one speaker in a row are joined by new lines. A line with other roles than system, developer, user and
    assistant (tools), with contents that are not text, or in which the assistant speaks first, is quarantined whole.
    """

    file_endings = frozenset({".jsonl"})

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The answers of every conversation, placed by line and answer (`3.1`)."""
        for number, data in enumerate(lines_of(file), start=1):
            if not data.strip():
                continue
            values = json_object(data)
            try:
                if isinstance(values, Unreadable):
                    raise values
                system, pairs = _turns(values)
            except Unreadable as error:
                yield f"{number}.1", error
                continue
            for answer, row in enumerate(answers(pairs, {"system": system}), start=1):
                yield f"{number}.{answer}", row


def _turns(values: Values) -> tuple[str, list[tuple[str, str]]]:
    """The system's words and the pairs of question and answer.

    Raises:
        Unreadable: The conversation has another shape.
    """
    wrong = Unreadable(BadRowReason.unexpected_shape, str(values))
    messages = values.get("messages")
    if not isinstance(messages, list):
        raise wrong
    said: list[tuple[str, str]] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = _text(message.get("content")) if isinstance(message, dict) else None
        if role not in (*_SYSTEM_ROLES, "user", "assistant") or content is None:
            raise wrong
        said.append(("system" if role in _SYSTEM_ROLES else str(role), content))
    merged = [
        (speaker, "\n".join(content for _, content in turns)) for speaker, turns in groupby(said, key=itemgetter(0))
    ]
    system = merged.pop(0)[1] if merged and merged[0][0] == "system" else ""
    speakers = [speaker for speaker, _ in merged]
    if len(merged) < 2 or speakers != ["user", "assistant"] * (len(merged) // 2) + ["user"] * (len(merged) % 2):
        raise wrong
    texts = [content for _, content in merged]
    return system, list(zip(texts[::2], texts[1::2], strict=False))


def _text(content: object) -> str | None:
    """A message's text, also where it comes in parts; None for pictures, calls and nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return "".join(str(part) for part in parts) if all(isinstance(part, str) for part in parts) else None
