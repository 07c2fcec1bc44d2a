"""Completion: write a response to a prompt with a causal model; the loss is on the response alone.

A template makes the prompt of a document's text and metadata: a poem from its title, a function from its docstring, an
answer from a question. In a chat the earlier turns stand before it, each in a template of its own.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import PositiveInt
from torch import Tensor, nn

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.errors import FieldError
from langmill.models.base import Backbone, Kind
from langmill.models.heads import LanguageModel
from langmill.tasks.base import TASKS
from langmill.tasks.batching import Batch
from langmill.tasks.conditional_generation import ConditionalGeneration, ConditionalGenerationOptions
from langmill.tasks.pairs import PromptAndResponse
from langmill.tokenization.tokenizer import Tokenizer

HISTORY = "history"
"""The metadata field with the earlier turns of a chat: a JSON list of pairs [user, assistant]."""


@settings
class CompletionOptions(ConditionalGenerationOptions):
    """Options of the task `completion`."""

    template: str
    """The prompt, with {text} for the document's text and {name} for a metadata field; {{ and }} are braces."""
    turn: str
    """An earlier turn of a chat, with {user} and {assistant}; "" where there is no chat."""
    prompt_length: PositiveInt
    """Tokens of a prompt, at most; what training.block_length leaves is the response's."""

    def __post_init__(self) -> None:
        fields = _fields("template", self.template)
        require("text" in fields, "template", self.template, "a template that holds {text}")
        known = _fields("turn", self.turn)
        require(known in (set(), {"user", "assistant"}), "turn", self.turn, "empty, or {user} and {assistant}")


@TASKS.register("completion")
class Completion(ConditionalGeneration):
    """Write a response to a prompt."""

    options_class = CompletionOptions
    options: CompletionOptions
    kinds = frozenset({Kind.causal})
    eot_before = True

    def check(self, document: Document) -> str | None:
        """As every writing task; in a chat also `unreadable_history`: no JSON list of pairs of texts."""
        reason = super().check(document)
        if reason is None and self.options.turn:
            try:
                history_of(document)
            except (ValueError, RecursionError):
                return "unreadable_history"
        return reason

    def prompt(self, document: Document) -> str:
        """The template, filled with the document."""
        return self.fill(document.text, history_of(document) if self.options.turn else [], document.metadata)

    def fill(self, text: str, history: Sequence[tuple[str, str]], metadata: Mapping[str, str]) -> str:
        """The prompt that a text makes after earlier turns; metadata that is not there is empty."""
        turns = "".join(self.options.turn.format(user=user, assistant=assistant) for user, assistant in history)
        fields = {name: metadata.get(name, "") for name in _fields("task.options.template", self.options.template)}
        return turns + self.options.template.format(**{**fields, "text": text})

    def form(self, length: int, eot_id: int) -> PromptAndResponse:
        """Prompt and response in one sequence."""
        return PromptAndResponse(length, self.options.truncation, eot_id, min(self.options.prompt_length, length - 2))

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        return LanguageModel(backbone)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the responses' tokens."""
        assert isinstance(network, LanguageModel)
        return network.loss(batch["tokens"], batch["targets"])

    def target_hidden(self, network: nn.Module, batch: Batch) -> Tensor:
        """The hidden states of the whole sequence."""
        assert isinstance(network, LanguageModel)
        return cast("Tensor", network.model(batch["tokens"], batch["lengths"]))

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """An end-of-text token, as before every document in training, and the filled template."""
        return [tokenizer.eot_id, *tokenizer.encode(self.fill(prompt, [], {}))]


def history_of(document: Document) -> list[tuple[str, str]]:
    """The earlier turns of a chat: what the user and the assistant said.

    Raises:
        ValueError: The metadata field `history` is no JSON list of pairs of texts.
    """
    turns = json.loads(document.metadata.get(HISTORY) or "[]")
    if not (isinstance(turns, list) and all(_is_pair(turn) for turn in turns)):
        raise ValueError(f"{HISTORY} is {turns!r}")
    return [(user, assistant) for user, assistant in turns]


def _is_pair(turn: object) -> bool:
    return isinstance(turn, list) and len(turn) == 2 and all(isinstance(said, str) for said in turn)


def _fields(where: str, template: str) -> set[str]:
    """The names in a template.

    Raises:
        ConfigError: It is not a template of plain names.
    """
    try:
        found: list[tuple[str, Any, Any, Any]] = list(string.Formatter().parse(template))
    except ValueError as error:
        raise FieldError(f"{where} is {template!r}; allowed is text with {{name}} in it ({error})", where) from error
    names = {name for _, name, _, _ in found if name is not None}
    plain = all(name.isidentifier() for name in names) and not any(spec or change for _, _, spec, change in found)
    require(plain, where, template, "text with {name} in it, nothing but a name between the braces")
    return names
