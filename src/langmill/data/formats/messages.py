"""Conversations as OpenAI's fine-tuning files keep them: a row is `{"messages": [{"role", "content"}]}`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import ClassVar

from langmill.data.formats.base import FORMATS
from langmill.data.formats.conversations import ConversationFormat, is_turn, paired, role_of, said_in
from langmill.data.formats.json_rows import json_list
from langmill.data.rows import BadRowReason, Unreadable, Values


@FORMATS.register("messages")
class Messages(ConversationFormat):
    """Fields as of every `ConversationFormat`.

    Words of one speaker in a row are joined by new lines. A system prompt may stand first in the list, or under
    `system` beside it. Who speaks is said by `role` or `from`, what by `content` or `value`, in whichever of the usual
    names (`ROLES`). A row with other roles (tools), with contents that are not text, or in which the assistant speaks
    first, is quarantined whole. An answer of `weight` 0, as OpenAI has it, is read and is no row of its own; where a
    task learns every turn at once, it is learned with the others.
    """

    names: ClassVar[tuple[str, ...]] = ("messages",)
    """The fields that may hold the list."""

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row has such a list, of which the first says whose it is, and no second answer to compare with."""
        return "rejected" not in values and is_turn(next(iter(cls._turns(values) or []), None))

    def conversation(self, values: Values) -> tuple[str, list[tuple[str, str]]]:
        """The system's words and the pairs of question and answer."""
        turns, beside = self._turns(values), values.get("system") or ""
        if turns is None or not isinstance(beside, str):
            raise Unreadable(BadRowReason.unexpected_shape, values)
        return paired([("system", beside)] * bool(beside) + said_in(turns), values)

    def own_rows(self, values: Values, pairs: Sequence[tuple[str, str]]) -> Collection[int]:
        """All answers but those of weight 0."""
        turns = [turn for turn in self._turns(values) or [] if isinstance(turn, dict)]
        spoken = [list(said) for role, said in groupby(turns, key=role_of) if role == "assistant"]
        return {number for number, said in enumerate(spoken) if all(turn.get("weight") != 0 for turn in said)}

    @classmethod
    def _turns(cls, values: Values) -> list[object] | None:
        return next((turns for name in cls.names if (turns := json_list(values.get(name))) is not None), None)
