"""Chat: answer in a conversation as the model's own chat template has it; the loss is on the assistant's words alone.

A document is a conversation that ends with its text, the user's last words, and its target, the answer; `history` and
`system` in its metadata are what was said before. How it is written for the model is the chat template's matter: the
pretrained model's own, one that the recipe gives, or ours.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt
from torch import Tensor, nn

from langmill.config.constraints import require
from langmill.config.sections import Training
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.data.folding import key_of
from langmill.models.heads import LanguageModel
from langmill.tasks.base import TASKS, Chats, EncodedInput
from langmill.tasks.batching import Batch, MicroBatches, Share, Truncation, first_batches
from langmill.tasks.conditional_generation import AfterPrompt, ConditionalGenerationOptions
from langmill.tasks.conversation import ANSWER, TURNS, Asked, Speaker, require_conversation
from langmill.tasks.pairs import NOT_COUNTED, Pair, PromptAsItIs
from langmill.tasks.sequences import SequenceBatches, Sequences
from langmill.tasks.turns import SYSTEM, conversation_of, fields_of, history_of, unreadable_history
from langmill.tokenization.chat_template import IM_END, IM_START, Message, own_template
from langmill.tokenization.shards import EncodedDocument, Shard
from langmill.tokenization.tokenizer import Tokenizer

_LEAST_ROOM = 2  # tokens of an answer that a prompt leaves at least


class Learn(StrEnum):
    """Which of the assistant's words are learned."""

    every_turn = "every_turn"
    last_turn = "last_turn"


@settings
class ChatOptions(ConditionalGenerationOptions):
    """Options of the task `chat`."""

    renamed_fields: ClassVar[Mapping[str, str]] = {}
    template: str | None
    """The chat template in Jinja, as `tokenizer_config.json` has it. null takes the tokenizer's own, and where it has
    none, ours: ChatML with the special tokens <|im_start|> and <|im_end|>, plain lines without them."""
    system: str | None
    """The system prompt of conversations that have none of their own (the metadata field `system`); null for none."""
    message: str
    """What the user says, with {text} for the document's text and {name} for a metadata field; {{ and }} are braces."""
    learn: Learn
    """The assistant's words that are learned: `last_turn` those of each document, after its history; `every_turn` all
    of a conversation in one sequence, once each."""
    length: PositiveInt
    """Tokens of a conversation and its answer, at most: training.block_length."""
    prompt_length: PositiveInt
    """Tokens of a prompt: as many it may have where the answer is not known yet, and as many it keeps however long the
    answer is. Earlier turns are left out first, the oldest before the others, then the user's first words."""

    def __post_init__(self) -> None:
        fields = fields_of("message", self.message)
        require("text" in fields, "message", self.message, "a text that holds {text}")


@dataclass(frozen=True)
class _Example:
    """A conversation with its last answer, as tokens."""

    asked: Asked
    answer: list[int]
    end: list[int]
    """The token that ends the answer."""


@TASKS.register("chat")
class Chat(AfterPrompt, Chats):
    """Answer in a conversation."""

    options_class = ChatOptions
    options: ChatOptions
    special_tokens = (IM_START, IM_END)

    def check(self, document: Document) -> str | None:
        """As every writing task; also `unreadable_history`: no JSON list of pairs of texts."""
        return super().check(document) or unreadable_history(document)

    def prompt(self, document: Document) -> str:
        """What was said so far, a message a line."""
        return "\n".join(message.content for message in self._messages(document))

    def _messages(self, document: Document) -> list[Message]:
        return conversation_of(document, self.options.system, self.options.message)

    # The template ----------------------------------------------------------------------------------------------------

    def chat_template(self, tokenizer: Tokenizer) -> str:
        """The recipe's, the tokenizer's own, or ours."""
        return self.options.template or tokenizer.chat_template or own_template(tokenizer.special_ids)

    def _speaker(self, tokenizer: Tokenizer) -> Speaker:
        where = "task.options.template" if self.options.template else f"The chat template of {tokenizer.file}"
        return Speaker(tokenizer.template(self.chat_template(tokenizer), where), tokenizer)

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """What ends a text, and what ends an answer in the chat template."""
        end = self._speaker(tokenizer).template.end_of_turn()
        return tuple(dict.fromkeys((*tokenizer.stop_ids, end)))

    # Learning --------------------------------------------------------------------------------------------------------

    def covered(self, documents: Iterable[Document]) -> Set[str]:
        """Documents whose answer stands in the history of a longer one, where every turn is learned."""
        if self.options.learn is Learn.last_turn:
            return frozenset()
        begun: set[bytes] = set()
        whole: dict[str, bytes] = {}
        for document in documents:
            if self.check(document) is not None:
                continue
            said = hashlib.sha256(key_of(document.metadata.get(SYSTEM, "")))
            for turn in history_of(document):
                said.update(b"".join(map(_key, turn)))
                begun.add(said.digest())
            said.update(_key(document.text) + _key(document.target or ""))
            whole[document.id] = said.digest()
        return frozenset(name for name, digest in whole.items() if digest in begun)

    def encode(self, documents: Iterable[Document], tokenizer: Tokenizer, threads: int) -> Iterator[EncodedDocument]:
        """Conversations cut at what is learned (`langmill.tasks.sequences`).

        Where every turn is learned and a conversation is longer than `length`, its earlier turns make further
        sequences, so that each answer is learned once. Raises TokenizerError where the chat template refuses a
        conversation or fails.
        """
        del threads
        speaker = self._speaker(tokenizer)
        for document in documents:
            messages = [*self._messages(document), Message("assistant", document.target or "")]
            yield from self._sequences(document.id, speaker, messages)

    def _sequences(self, name: str, speaker: Speaker, messages: Sequence[Message]) -> Iterator[EncodedDocument]:
        end = len(messages)
        first = 1 if messages[0].role == "system" else 0
        while end > first:
            window, found = self._every_turn(speaker, messages[:end], first)
            if not found:
                window = end - 2
                example = self._example(speaker, messages[:end], self.options.length)
                found, truncated = self._cut(example), example.asked.truncated
                said = [*example.asked.messages, messages[end - 1]]
                if len(example.answer) + len(example.end) > sum(map(len, found[1:])):
                    truncated |= {ANSWER}
            else:
                truncated = frozenset({TURNS} if window > first else ())
                said = [*messages[:first], *messages[window:end]]
            size = sum(len(message.content.encode(errors="replace")) for message in said)
            parts = [np.asarray(part, dtype=speaker.tokenizer.dtype) for part in found]
            yield EncodedDocument(name, parts, size, None, truncated)
            if self.options.learn is Learn.last_turn:
                return
            end = window

    def _every_turn(self, speaker: Speaker, messages: Sequence[Message], first: int) -> tuple[int, list[list[int]]]:
        """The longest end of a conversation that fits, of two turns or more: where it begins, and its parts.

        The parts are empty where there is none, or one turn is learned only.
        """
        if self.options.learn is Learn.last_turn:
            return first, []
        starts = range(first, len(messages) - 2, 2)

        def parts(start: int) -> list[list[int]]:
            window = [*messages[:first], *messages[start:]]
            return speaker.parts(window, range(first + 1, len(window), 2))

        place = bisect.bisect_left(starts, True, key=lambda start: self._fits(parts(start)))
        return (first, []) if place == len(starts) else (starts[place], parts(starts[place]))

    def _fits(self, parts: Iterable[Sequence[int]]) -> bool:
        """Whether a conversation's tokens are a sequence: the last one is only learned, not read."""
        return sum(map(len, parts)) <= self.options.length + 1

    def _example(self, speaker: Speaker, messages: Sequence[Message], length: int) -> _Example:
        """A conversation before its last answer, shortened to what the answer leaves of `length`, and the answer."""
        prompt, answer, end = speaker.parts(messages, [len(messages) - 1])
        before = list(messages[:-1])
        most = max(self.options.prompt_length, length + 1 - len(answer) - len(end))
        most = max(1, min(most, length - _LEAST_ROOM))
        if len(prompt) <= most:
            return _Example(Asked(before, prompt), answer, end)
        return _Example(speaker.fit(before, most), answer, end)

    def _cut(self, example: _Example) -> list[list[int]]:
        """The parts of an example, the answer truncated where it does not fit."""
        room = max(0, self.options.length + 1 - len(example.asked.ids))
        answer = example.answer[:room]
        return [example.asked.ids, answer, example.end[: room - len(answer)]]

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Padded batches of conversations of about equal length."""
        share = Share.of(training, rank, world_size)
        return SequenceBatches(Sequences(shard), self._block_length(training), eot_id, share)

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Conversations drawn from the whole split, each at most once."""
        sequences, length = Sequences(shard), self._block_length(training)
        return first_batches(len(sequences), training, lambda share: SequenceBatches(sequences, length, eot_id, share))

    def _block_length(self, training: Training) -> int:
        """Tokens of a sequence.

        Raises ConfigError where conversations may be longer than that, and would lose their end, which is the answer.
        """
        allowed = f"training.block_length, which is {training.block_length}, or less"
        require(self.options.length <= training.block_length, "task.options.length", self.options.length, allowed)
        return training.block_length

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the assistant's tokens; logits are computed of these alone."""
        assert isinstance(network, LanguageModel)
        hidden_BTD, targets_BT = network.model(batch["tokens"]), batch["targets"]
        learned_BT = targets_BT != NOT_COUNTED
        return network.cross_entropy(hidden_BTD[learned_BT][None], targets_BT[learned_BT][None])

    # Judging and answering -------------------------------------------------------------------------------------------

    def pairs(self, tokenizer: Tokenizer, documents: Sequence[Document], length: int, threads: int) -> list[Pair]:
        """Each document's last answer after its conversation.

        What is asked, where the answer is the model's own, is shortened without a look at the document's answer.
        """
        del threads
        speaker = self._speaker(tokenizer)
        return [self._pair(speaker, document, length) for document in documents]

    def _pair(self, speaker: Speaker, document: Document, length: int) -> Pair:
        messages = self._messages(document)
        example = self._example(speaker, [*messages, Message("assistant", document.target or "")], length)
        asked = speaker.fit(messages, self._most(length))
        ids = (example.asked.ids, example.answer, asked.ids)
        prompt, answer, open_prompt = (np.asarray(each, dtype=np.int64) for each in ids)
        return Pair(prompt, answer, example.end[0], open_prompt)

    def _most(self, length: int) -> int:
        """Tokens of a prompt, where the answer is not known yet, for a network that reads `length`."""
        return max(1, min(self.options.prompt_length, length - _LEAST_ROOM))

    def targets(self, shard: Shard) -> Iterator[np.ndarray]:
        """All answers that are learned."""
        return Sequences(shard).targets()

    def form(self, length: int, eot_id: int) -> PromptAsItIs:
        """Conversation and answer in one sequence."""
        return PromptAsItIs(length, Truncation.tail, eot_id, length)

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """The prompt as what the user says first."""
        return self._speaker(tokenizer).ids(self._messages(Document("", prompt)))

    def conversation_ids(
        self, tokenizer: Tokenizer, messages: Sequence[Message], max_tokens: int | None = None
    ) -> list[int]:
        """The conversation as the chat template has it, with our system prompt where it has none."""
        require_conversation(messages)
        if self.options.system and messages[0].role != "system":
            messages = [Message("system", self.options.system), *messages]
        speaker = self._speaker(tokenizer)
        return speaker.ids(messages) if max_tokens is None else speaker.fit(messages, max(1, max_tokens)).ids

    def encode_input(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> EncodedInput:
        """The prompt that a text makes, truncated as it is judged."""
        speaker, messages = self._speaker(tokenizer), self._messages(Document("", text))
        kept = speaker.fit(messages, self._most(self.max_length(network))).ids
        return EncodedInput(kept, len(speaker.ids(messages)) - len(kept))


def _key(text: str) -> bytes:
    """What is equal for texts that read alike: histories are as the file has them, texts are cleaned."""
    return hashlib.sha256(key_of(text)).digest()
