"""Conversations as tokens: rendered by a chat template, cut at the assistant's words, shortened to what fits."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from langmill.errors import ModelError
from langmill.tokenization.chat_template import ChatTemplate, Message, Rendered
from langmill.tokenization.tokenizer import Tokenizer

TURNS, PROMPT, ANSWER = "turns", "prompt", "answer"
"""What can be truncated: earlier turns that were left out, the user's last words, the assistant's."""


@dataclass(frozen=True)
class Asked:
    """A conversation up to where the assistant is to answer."""

    messages: list[Message]
    ids: list[int]
    """Its tokens."""
    truncated: frozenset[str] = frozenset()
    """`TURNS`, if earlier ones were left out, and `PROMPT`."""


@dataclass(frozen=True)
class Speaker:
    """A chat template over a tokenizer."""

    template: ChatTemplate
    tokenizer: Tokenizer

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that an answer goes on from, as `transformers` has them.

        Raises TokenizerError where the template refuses the conversation or fails.
        """
        pieces = self.template.render(messages, ask=True).pieces(self.template.special)
        return self.tokenizer.encode_rendered([pieces])[0]

    def parts(self, messages: Sequence[Message], answers: Sequence[int]) -> list[list[int]]:
        """The tokens of a conversation, cut at some of its answers.

        Args:
            messages: What was said, the assistant's words last.
            answers: Which messages to cut out, the last one among them, by their numbers in order.

        Returns:
            What is read and an answer, alternately, and at the end the token that ends the last one. Each other answer
            is ended by the first token of the part after it.

        Raises:
            TokenizerError: The template refuses the conversation, fails, or ends no answer.
            ModelError: It ends or begins an answer in a way that can't be learned.
        """
        rendered = self.template.render(messages, ask=False)
        cuts, end_of_last = [0], 0
        for number in answers:
            start = self.template.answer_start(rendered, messages[:number])
            end, end_of_last = self._end(rendered, start)
            if end == start and messages[number].content.strip():
                raise ModelError(
                    f"{self.template.where} does not open the assistant's turn where that is asked for "
                    "(add_generation_prompt), so a model would not know that it is to answer; give the task one that "
                    "does (task.options.template).",
                    "unsupported",
                )
            cuts += [start, end]
        spans = [*itertools.pairwise(cuts), (cuts[-1], end_of_last)]
        return self.tokenizer.encode_rendered(
            [rendered.pieces(self.template.special, start, end) for start, end in spans]
        )

    def _end(self, rendered: Rendered, start: int) -> tuple[int, int]:
        """Where in a rendered conversation the token stands that ends the answer from `start` on."""
        found = rendered.first_special(self.template.special, start)
        if found is None:
            self.template.end_of_turn()  # refuses a template that ends no answer
            raise ModelError(f"{self.template.where} does not end each answer.", "unsupported")
        return found

    def fit(self, messages: Sequence[Message], most: int) -> Asked:
        """A conversation that has at most `most` tokens: the oldest turns go first, whole, then the user's first words.

        The system prompt stays. One that does not fit by itself loses its beginning.

        Args:
            messages: Perhaps a system prompt, then turns of user and assistant, the user's last words at the end.
            most: Tokens.
        """
        ids = self.ids(messages)
        if len(ids) <= most:
            return Asked(list(messages), ids)
        system, turns = _parted(messages)
        earlier = len(turns) // 2
        left_out = 0
        if earlier:
            left_out = 1 + bisect.bisect_left(
                range(1, earlier + 1), True, key=lambda count: len(self.ids([*system, *turns[2 * count :]])) <= most
            )
            left_out = min(left_out, earlier)
        kept = [*system, *turns[2 * left_out :]]
        truncated = {TURNS} if left_out else set()
        ids = self.ids(kept)
        if len(ids) > most:
            kept, ids = self._shortened(kept, ids, most)
            truncated.add(PROMPT)
        return Asked(kept, ids, frozenset(truncated))

    def _shortened(self, messages: Sequence[Message], ids: list[int], most: int) -> tuple[list[Message], list[int]]:
        """Without the beginning of the user's last words."""
        *before, last = messages
        words = self.tokenizer.encode(last.content)
        cut = 0
        kept = last
        while len(ids) > most and cut < len(words):
            cut += len(ids) - most
            # A character that is cut in its middle goes.
            kept = Message(last.role, self.tokenizer.decode(words[cut:]).lstrip("\ufffd"))
            ids = self.ids([*before, kept])
        return [*before, kept], ids[max(0, len(ids) - most) :]


def require_conversation(messages: Sequence[Message]) -> None:
    """Refuse what no assistant can answer.

    Raises ModelError unless, after a system prompt if there is one, user and assistant alternate, the user last.
    """
    _, turns = _parted(messages)
    roles = [message.role for message in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ModelError(
            f"The messages' roles are {', '.join(message.role for message in messages) or 'none'}; allowed is a system "
            "message or none, then user and assistant alternately, the user last.",
            code="impossible",
        )


def _parted(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system prompt, in a list, and the turns."""
    number = 1 if messages and messages[0].role == "system" else 0
    return list(messages[:number]), list(messages[number:])
