"""Structured output in a request: OpenAI's `response_format`, and vLLM's `structured_outputs`, as one grammar."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from langmill.errors import RequestError
from langmill.serving.schema import Given, Items, Text
from langmill.serving.structured import choice_grammar, json_grammar, lark_grammar, regex_grammar

_ANY_OBJECT = {"type": "object"}


class JsonSchema(Given):
    """A schema with a name."""

    name: str = Field(default="", description="Accepted and ignored.", max_length=200)
    description: str | None = Field(default=None, description="Accepted and ignored.")
    schema_: dict[str, Any] = Field(alias="schema", description="The JSON schema.")
    strict: bool = Field(default=True, description="Accepted: the answer always keeps to the schema.")


class ResponseFormat(Given):
    """OpenAI's `response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Given):
    """vLLM's `structured_outputs`: one of these."""

    json_: dict[str, Any] | str | None = Field(default=None, alias="json", description="A JSON schema.")
    json_object: bool = Field(default=False, description="Any JSON object.")
    regex: Text | None = Field(default=None, description="A regular expression that the whole text matches.")
    choice: Items[Text] = Field(default=[], description="The texts to choose from.")
    grammar: Text | None = Field(default=None, description="A grammar in Lark's notation, from `start` on.")


def grammar_of(form: ResponseFormat | None, structure: StructuredOutputs | None) -> str | None:
    """The grammar that a text must follow; None where it is free.

    Raises RequestError where it is said twice, or is none.
    """
    found = _of_format(form) + ([] if structure is None else _of_structure(structure))
    if len(found) > 1:
        raise RequestError("More than one structure is asked for; send one.", 400, "structured_outputs")
    return found[0] if found else None


def _of_format(form: ResponseFormat | None) -> list[str]:
    if form is None or form.type == "text":
        return []
    if form.type == "json_object":
        return [json_grammar(_ANY_OBJECT, "response_format")]
    if form.json_schema is None:
        raise RequestError("response_format has the type json_schema and no json_schema.", 400, "response_format")
    return [json_grammar(form.json_schema.schema_, "response_format")]


def _of_structure(asked: StructuredOutputs) -> list[str]:
    field = "structured_outputs"
    found = []
    if asked.json_ is not None:
        found.append(json_grammar(_parsed(asked.json_), field))
    if asked.json_object:
        found.append(json_grammar(_ANY_OBJECT, field))
    if asked.regex is not None:
        found.append(regex_grammar(asked.regex))
    if asked.choice:
        found.append(choice_grammar(asked.choice))
    if asked.grammar is not None:
        found.append(lark_grammar(asked.grammar))
    return found


def _parsed(schema: dict[str, Any] | str) -> dict[str, Any]:
    try:
        parsed = json.loads(schema) if isinstance(schema, str) else schema
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"structured_outputs has a schema that is no JSON ({error}).", 400, "structured_outputs"
        ) from error
    if not isinstance(parsed, dict):
        raise RequestError("structured_outputs has a schema that is no object.", 400, "structured_outputs")
    return parsed
