"""Instructions as in Stanford Alpaca's files (Taori et al., 2023): `{"instruction", "input", "output"}` a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from langmill.data.formats.base import FORMATS
from langmill.data.formats.conversations import ConversationFormat
from langmill.data.rows import BadRowReason, Unreadable, Values


@FORMATS.register("alpaca")
class Alpaca(ConversationFormat):
    """Fields as of every `ConversationFormat`; the question is the instruction and, after an empty line, its input.

    `system` and `history` (pairs of what was said before) may stand beside them, as in LLaMA-Factory's files.
    """

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row has an instruction and an output."""
        return {"instruction", "output"} <= set(values)

    def conversation(self, values: Values) -> tuple[str, list[tuple[str, str]]]:
        """The system prompt, and the pairs of question and answer."""
        instruction, output = values.get("instruction"), values.get("output")
        given, system = values.get("input") or "", values.get("system") or ""
        texts = (instruction, output, given, system)
        if not all(isinstance(text, str) for text in texts) or not str(instruction).strip():
            raise Unreadable(BadRowReason.unexpected_shape, values)
        question = f"{instruction}\n\n{given}" if str(given).strip() else str(instruction)
        return str(system), [*_history(values), (question, str(output))]

    def own_rows(self, values: Values, pairs: Sequence[tuple[str, str]]) -> Collection[int]:
        """The last one: what was said before is there to be read."""
        del values
        return {len(pairs) - 1}


def _history(values: Values) -> list[tuple[str, str]]:
    """What was said before. Raises Unreadable where it is no list of pairs of texts."""
    turns = values.get("history") or []
    if not isinstance(turns, list) or not all(_is_pair(turn) for turn in turns):
        raise Unreadable(BadRowReason.unexpected_shape, values)
    return [(user, assistant) for user, assistant in turns]


def _is_pair(turn: object) -> bool:
    return isinstance(turn, list) and list(map(type, turn)) == [str, str]
