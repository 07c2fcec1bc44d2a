"""Question answering: answer from a text, as a chat whose training reads a text once for all questions on it.

A text is hundreds of tokens and an answer a few, so with a text before every question hardly anything of what a step
reads is learned. Here the questions on one text are turns of one conversation, as in CoQA (Reddy et al., 2019): the
text is read with the first, and every answer is learned. Each question is judged by itself, after its own text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.tasks.base import TASKS
from langmill.tasks.chat import Chat, ChatOptions, Learn
from langmill.tasks.conversation import Speaker
from langmill.tasks.turns import HISTORY, fields_of, filled
from langmill.tokenization.chat_template import Message
from langmill.tokenization.shards import EncodedDocument
from langmill.tokenization.tokenizer import Tokenizer


@settings
class QuestionAnsweringOptions(ChatOptions):
    """Options of the task `question_answering`: those of `chat`, and which questions are on one text."""

    renamed_fields: ClassVar[Mapping[str, str]] = {}
    shared: str
    """The metadata field with the text that is asked about. Neighbours in the corpus that are equal in it are learned
    as one conversation, as far as `length` goes; what does not fit begins another one, with the text again."""
    further: str
    """What the user says from the second question of a conversation on, with {text} for the document's text and {name}
    for a metadata field."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(fields_of("further", self.further)), "further", self.further, "a text that holds {question} or so")
        require(self.learn is Learn.every_turn, "learn", self.learn.value, "every_turn: each question is a turn")


@TASKS.register("question_answering")
class QuestionAnswering(Chat):
    """Answer questions on a text."""

    options_class = QuestionAnsweringOptions  # type: ignore[assignment]  # the same and more
    options: QuestionAnsweringOptions

    def check(self, document: Document) -> str | None:
        """As a chat; also `missing_question`, where nothing would be asked in a conversation's further turns."""
        reason = super().check(document)
        if reason is None and document.metadata.get(self.options.shared) and not self._asked(document).strip():
            return "missing_question"
        return reason

    def _asked(self, document: Document) -> str:
        """What the user says where the text was read before."""
        return filled(self.options.further, document.text, document.metadata)

    def encode(self, documents: Iterable[Document], tokenizer: Tokenizer, threads: int) -> Iterator[EncodedDocument]:
        """Conversations of the questions on one text, each answer learned once.

        A question whose text alone is too long is truncated as a chat is. Raises TokenizerError where the chat template
        refuses a conversation or fails.
        """
        del threads
        speaker = self._speaker(tokenizer)
        for _, group in itertools.groupby(documents, key=self._text):
            for name, said in self._conversations(speaker, group):
                yield from self._sequences(name, speaker, said)

    def _text(self, document: Document) -> tuple[str, str]:
        """What is equal for documents that are learned together: their text, unless one has a conversation already."""
        text = document.metadata.get(self.options.shared, "")
        return (text, "") if text and not document.metadata.get(HISTORY) else (text, document.id)

    def _conversations(self, speaker: Speaker, group: Iterable[Document]) -> Iterator[tuple[str, list[Message]]]:
        """The documents of one text as conversations that fit, each with the id of its first document."""
        name, said = "", list[Message]()
        for document in group:
            asked, answer = Message("user", self._asked(document)), Message("assistant", document.target or "")
            if said and self._fits(self._parts(speaker, longer := [*said, asked, answer])):
                said = longer
                continue
            if said:
                yield name, said
            name, said = document.id, [*self._messages(document), answer]
        if said:
            yield name, said

    @staticmethod
    def _parts(speaker: Speaker, messages: list[Message]) -> list[list[int]]:
        return speaker.parts(messages, [n for n, message in enumerate(messages) if message.role == "assistant"])
