"""What documents say of a conversation: its earlier turns and its system prompt, and templates that they fill."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from typing import Any

from langmill.config.constraints import require
from langmill.data.document import Document
from langmill.errors import FieldError
from langmill.tokenization.chat_template import Message

HISTORY = "history"
"""The metadata field with the earlier turns of a chat: a JSON list of pairs [user, assistant]."""
SYSTEM = "system"
"""The metadata field with what a conversation opens with for the assistant's eyes."""


def unreadable_history(document: Document) -> str | None:
    """The reason of `Task.check` for a document whose `history` can't be read; None where it can."""
    try:
        history_of(document)
    except (ValueError, RecursionError):
        return "unreadable_history"
    return None


def history_of(document: Document) -> list[tuple[str, str]]:
    """The earlier turns of a chat: what the user and the assistant said.

    Raises ValueError where the metadata field `history` is no JSON list of pairs of texts.
    """
    turns = json.loads(document.metadata.get(HISTORY) or "[]")
    if not (isinstance(turns, list) and all(_is_pair(turn) for turn in turns)):
        raise ValueError(f"{HISTORY} is {turns!r}")
    return [(user, assistant) for user, assistant in turns]


def _is_pair(turn: object) -> bool:
    return isinstance(turn, list) and len(turn) == 2 and all(isinstance(said, str) for said in turn)


def conversation_of(document: Document, system: str | None, message: str) -> list[Message]:
    """A document as a conversation that ends with the user's last words.

    Args:
        document: The document.
        system: The system prompt of a document that has none of its own.
        message: What the user says, with {text} for the words and {name} for a metadata field.
    """
    said = document.metadata.get(SYSTEM) or system
    found = [Message("system", said)] if said else []
    for user, assistant in history_of(document):
        found += [Message("user", filled(message, user, document.metadata)), Message("assistant", assistant)]
    return [*found, Message("user", filled(message, document.text, document.metadata))]


def filled(template: str, text: str, metadata: Mapping[str, str]) -> str:
    """A template with a text and metadata; what is not there is empty."""
    fields = {name: metadata.get(name, "") for name in fields_of("template", template)}
    return template.format(**{**fields, "text": text})


def fields_of(where: str, template: str) -> set[str]:
    """The names in a template. Raises ConfigError where it is not a template of plain names."""
    try:
        found: list[tuple[str, Any, Any, Any]] = list(string.Formatter().parse(template))
    except ValueError as error:
        raise FieldError(f"{where} is {template!r}; allowed is text with {{name}} in it ({error})", where) from error
    names = {name for _, name, _, _ in found if name is not None}
    plain = all(name.isidentifier() for name in names) and not any(spec or change for _, _, spec, change in found)
    require(plain, where, template, "text with {name} in it, nothing but a name between the braces")
    return names
