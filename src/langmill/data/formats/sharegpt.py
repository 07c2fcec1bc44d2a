"""Conversations as ShareGPT's files keep them: a row is `{"conversations": [{"from", "value"}]}`."""

from __future__ import annotations

from langmill.data.formats.base import FORMATS
from langmill.data.formats.conversations import ConversationFormat, paired
from langmill.data.formats.json_rows import json_list
from langmill.data.rows import BadRowReason, Unreadable, Values

_SPEAKERS = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "assistant": "assistant", "model": "assistant",
}  # fmt: skip


@FORMATS.register("sharegpt")
class ShareGPT(ConversationFormat):
    """Fields as of every `ConversationFormat`.

    A system prompt may stand first in the list or under `system` beside it. A row with other speakers (tools,
    observations), or in which the assistant speaks first, is quarantined whole.
    """

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row has `conversations`, a list of which the first says whom it is from."""
        return _is_turn(next(iter(json_list(values.get("conversations")) or []), None))

    def conversation(self, values: Values) -> tuple[str, list[tuple[str, str]]]:
        """The system's words and the pairs of question and answer."""
        turns, beside = json_list(values.get("conversations")), values.get("system") or ""
        if turns is None or not isinstance(beside, str):
            raise Unreadable(BadRowReason.unexpected_shape, values)
        said = [("system", beside)] if beside else []
        for turn in turns:
            speaker = _SPEAKERS.get(str(turn["from"])) if _is_turn(turn) else None
            if speaker is None or not isinstance(turn["value"], str):
                raise Unreadable(BadRowReason.unexpected_shape, turn)
            said.append((speaker, turn["value"]))
        return paired(said, values)


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and "from" in turn and "value" in turn
