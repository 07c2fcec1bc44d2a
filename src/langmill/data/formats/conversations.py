"""Conversations as rows: each answer of the assistant with what led to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from langmill.data.rows import BadRowReason, Unreadable, Values

_HISTORY_CHARACTERS = 2**27
"""Of all histories of one conversation: each answer's has what was said before it, so they grow with the square."""


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
