"""Conversations as rows: each answer of the assistant with what led to it."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.auto import ROW_FILES, Auto
from langmill.data.formats.base import Shape
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
}  # fmt: skip
"""Who speaks, by what files call them in small letters."""
_HISTORY_CHARACTERS = 2**27
"""Of all histories of one conversation: each answer's has what was said before it, so they grow with the square."""


class ConversationFormat(Auto):
    """Files of which each row is a conversation; a kind says how one is read.

    The fields are those of `answers`, and `system`: what the conversation opens with for the assistant's eyes.
    """

    file_endings = ROW_FILES
    shape = Shape("question", "answer", ("history", "system", "opening"), "opening")

    @abstractmethod
    def conversation(self, values: Values) -> tuple[str, list[tuple[str, str]]]:
        """The system prompt of a row, `""` without one, and the pairs of what user and assistant said.

        Raises Unreadable where the row is no such conversation.
        """

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The answers of every conversation, placed by row and answer (`3.1`)."""
        for place, values in super().read(file, path):
            try:
                if isinstance(values, Unreadable):
                    raise values
                system, pairs = self.conversation(values)
            except Unreadable as error:
                yield f"{place}.1", error
                continue
            own = self.own_rows(values, pairs)
            for answer, row in enumerate(answers(pairs, {"system": system})):
                if answer in own or isinstance(row, Unreadable):
                    yield f"{place}.{answer + 1}", row

    def own_rows(self, values: Values, pairs: Sequence[tuple[str, str]]) -> Collection[int]:
        """The numbers of the pairs whose answers are rows of their own; the others are only read."""
        del values
        return range(len(pairs))


def answers(turns: Sequence[tuple[str, str]], extra: Values) -> Iterator[Values | Unreadable]:
    """One row for each answer.

    Args:
        turns: Pairs of the user's and the assistant's words, in their order.
        extra: Fields that every row gets.

    Yields:
        `question` and `answer`, `history` (the pairs before as JSON, `[]` at first), and `opening`: the first question,
        by which a conversation, and every other one that begins alike, can be kept on one side of a split. In place of
        a conversation whose histories would fill the memory, one row that says so.
    """
    said = sum(len(question) + len(answer) for question, answer in turns)
    if len(turns) * said > 2 * _HISTORY_CHARACTERS:
        yield Unreadable(BadRowReason.too_large, f"{len(turns)} answers, {said} characters: {turns[0][0]}")
        return
    for number, (question, answer) in enumerate(turns):
        history = json.dumps([list(pair) for pair in turns[:number]], ensure_ascii=False)
        yield {"question": question, "answer": answer, "history": history, "opening": turns[0][0], **extra}


def is_turn(turn: object) -> bool:
    """Whether something says who speaks, as a message of OpenAI's does or a turn of ShareGPT's."""
    return isinstance(turn, dict) and ("role" in turn or "from" in turn)


def role_of(turn: Values) -> str | None:
    """Who speaks: `system`, `user` or `assistant`; None for another."""
    return ROLES.get(str(turn.get("role") or turn.get("from")).lower())


def said_in(turns: Sequence[object]) -> list[tuple[str, str]]:
    """Who said what, by `system`, `user` and `assistant`.

    Raises Unreadable where a turn is another's, or no text.
    """
    said = []
    for turn in turns:
        given = turn if isinstance(turn, dict) else {}
        role = role_of(given)
        content = _text(given.get("value") if given.get("content") is None else given["content"])
        if role is None or content is None:
            raise Unreadable(BadRowReason.unexpected_shape, turn)
        said.append((role, content))
    return said


def _text(content: object) -> str | None:
    """A message's text, also where it comes in parts; None for pictures, calls and nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return "".join(str(part) for part in parts) if all(isinstance(part, str) for part in parts) else None


def paired(said: Sequence[tuple[str, str]], values: Values) -> tuple[str, list[tuple[str, str]]]:
    """A system prompt and the pairs of question and answer, from what `system`, `user` and `assistant` said in a row.

    Words of one speaker in a row are joined by new lines; last words of the user have no answer. Raises Unreadable
    where there is no answer, or another order; `values` are what is shown of it.
    """
    merged = [
        (speaker, "\n".join(content for _, content in turns)) for speaker, turns in groupby(said, key=itemgetter(0))
    ]
    system = merged.pop(0)[1] if merged and merged[0][0] == "system" else ""
    speakers = [speaker for speaker, _ in merged]
    if len(merged) < 2 or speakers != ["user", "assistant"] * (len(merged) // 2) + ["user"] * (len(merged) % 2):
        raise Unreadable(BadRowReason.unexpected_shape, values)
    texts = [content for _, content in merged]
    return system, list(zip(texts[::2], texts[1::2], strict=False))
