"""Conversations as OpenAI's fine-tuning files keep them: a row is `{"messages": [{"role", "content"}]}`."""

from __future__ import annotations

from langmill.data.formats.base import FORMATS
from langmill.data.formats.conversations import ConversationFormat, paired
from langmill.data.formats.json_rows import json_list
from langmill.data.rows import BadRowReason, Unreadable, Values

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@FORMATS.register("messages")
class Messages(ConversationFormat):
    """Fields as of every `ConversationFormat`.

    Words of one speaker in a row are joined by new lines. A row with other roles than system, developer, user and
    assistant (tools), with contents that are not text, or in which the assistant speaks first, is quarantined whole.
    """

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row has `messages`, a list of which the first has a role, and no second answer to compare with."""
        first = next(iter(json_list(values.get("messages")) or []), None)
        return isinstance(first, dict) and "role" in first and "rejected" not in values

    def conversation(self, values: Values) -> tuple[str, list[tuple[str, str]]]:
        """The system's words and the pairs of question and answer."""
        messages = json_list(values.get("messages"))
        if messages is None:
            raise Unreadable(BadRowReason.unexpected_shape, values)
        said: list[tuple[str, str]] = []
        for message in messages:
            role = _ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
            content = _text(message.get("content")) if isinstance(message, dict) else None
            if role is None or content is None:
                raise Unreadable(BadRowReason.unexpected_shape, message if isinstance(message, dict) else values)
            said.append((role, content))
        return paired(said, values)


def _text(content: object) -> str | None:
    """A message's text, also where it comes in parts; None for pictures, calls and nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return "".join(str(part) for part in parts) if all(isinstance(part, str) for part in parts) else None
