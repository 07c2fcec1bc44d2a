"""Completion: write a response to a prompt with a causal model; the loss is on the response alone.

A template makes the prompt of a document's text and metadata: a poem from its title, a function from its docstring, an
answer from a question. In a chat the earlier turns stand before it, each in a template of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import PositiveInt

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.tasks.base import TASKS
from langmill.tasks.batching import Truncation
from langmill.tasks.conditional_generation import AfterPrompt, ConditionalGenerationOptions
from langmill.tasks.pairs import PromptAndResponse
from langmill.tasks.turns import fields_of, filled, history_of, unreadable_history
from langmill.tokenization.tokenizer import Tokenizer


@settings
class CompletionOptions(ConditionalGenerationOptions):
    """Options of the task `completion`."""

    truncation: Truncation
    """Which tokens of a prompt that is too long are kept: `head`, `tail`, or half of each."""
    template: str
    """The prompt, with {text} for the document's text and {name} for a metadata field; {{ and }} are braces."""
    turn: str
    """An earlier turn of a chat, with {user} and {assistant}; "" where there is no chat. Better is the task `chat`."""
    prompt_length: PositiveInt
    """Tokens of a prompt, at most; what training.block_length leaves is the response's."""

    def __post_init__(self) -> None:
        fields = fields_of("template", self.template)
        require("text" in fields, "template", self.template, "a template that holds {text}")
        known = fields_of("turn", self.turn)
        require(known in (set(), {"user", "assistant"}), "turn", self.turn, "empty, or {user} and {assistant}")


@TASKS.register("completion")
class Completion(AfterPrompt):
    """Write a response to a prompt."""

    options_class = CompletionOptions
    options: CompletionOptions
    eot_before = True

    def check(self, document: Document) -> str | None:
        """As every writing task; in a chat also `unreadable_history`: no JSON list of pairs of texts."""
        return super().check(document) or (unreadable_history(document) if self.options.turn else None)

    def prompt(self, document: Document) -> str:
        """The template, filled with the document."""
        return self.fill(document.text, history_of(document) if self.options.turn else [], document.metadata)

    def fill(self, text: str, history: Sequence[tuple[str, str]], metadata: Mapping[str, str]) -> str:
        """The prompt that a text makes after earlier turns; metadata that is not there is empty."""
        turns = "".join(self.options.turn.format(user=user, assistant=assistant) for user, assistant in history)
        return turns + filled(self.options.template, text, metadata)

    def form(self, length: int, eot_id: int) -> PromptAndResponse:
        """Prompt and response in one sequence."""
        return PromptAndResponse(length, self.options.truncation, eot_id, min(self.options.prompt_length, length - 2))

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """An end-of-text token, as before every document in training, and the filled template."""
        return [tokenizer.eot_id, *tokenizer.encode(self.fill(prompt, [], {}))]
