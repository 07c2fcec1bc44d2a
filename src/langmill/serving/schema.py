"""What requests and responses have in common, and how a refusal is worded.

The names are those of OpenAI's API. A field of that API which this server does not offer is accepted with the value
that asks for nothing, and refused with any other: ignoring it would give answers that were not asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from langmill.config.names import nearest

ItemT = TypeVar("ItemT")
_MOST_UNKNOWN = 100
"""Fields that are not known, of which each is complained of: no client sends more."""


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can spell
        raise ValueError(f"holds a character that Unicode does not have, at place {error.start}") from error
    return text


def _not_offered(value: Any) -> Any:
    # By identity: 0 equals False, and is often a wish (`logprobs: 0` asks for those of the tokens that were chosen).
    if not (value is None or value is False or (isinstance(value, str | dict | list) and not value)):
        raise ValueError("asks for something that this server does not offer; leave the field out")
    return value


Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
NotOffered = Annotated[Any, AfterValidator(_not_offered), WithJsonSchema({"enum": [None, False, "", [], {}]})]
"""A field of OpenAI's API of which only the values that ask for nothing are accepted."""
Ignored = Annotated[str | None, Field(max_length=1000, description="Accepted and ignored.")]
"""A field of OpenAI's API that says something to OpenAI alone."""
IgnoredObject = Annotated[dict[str, Any] | None, Field(max_length=100, description="Accepted and ignored.")]
"""The same, where it is an object."""
Items = Annotated[list[ItemT], Field(fail_fast=True)]
"""A list that a client sends; the first item that is wrong is told, for it may have a hundred thousand."""
_NO_TEXT = "is an empty list; send at least one text"
_TOKEN_IDS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}}
_INPUTS_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        _TOKEN_IDS,
        {"type": "array", "minItems": 1, "items": _TOKEN_IDS},
    ]
}


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int and 0 <= each < 2**31 for each in value)


def some_texts(value: str | list[str], lacks: str) -> list[str]:
    """One text or many as a list, none of them empty: that would have no `lacks`.

    Raises ValueError where one is, or there is none; what is wrong with the field.
    """
    texts = [value] if isinstance(value, str) else value
    if not texts:
        raise ValueError(_NO_TEXT)
    if any(not text.strip() for text in texts):
        raise ValueError(f"holds an empty text, which has no {lacks}")
    return texts


def _inputs(value: Any) -> list[str] | list[list[int]]:
    """One text or many, or their tokens, as a list."""
    if isinstance(value, str):
        return [_encodable(value)]
    if _is_ids(value):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(each, str) for each in value):
            return [_encodable(each) for each in value]
        if all(map(_is_ids, value)):
            return value
    if value == []:
        raise ValueError(_NO_TEXT)
    raise ValueError(
        f"is {shown(value)}; it must be a text, a list of texts, a list of token ids, or a list of such lists"
    )


Inputs = Annotated[list[str] | list[list[int]], BeforeValidator(_inputs), WithJsonSchema(_INPUTS_SCHEMA)]
"""A text, a list of texts, the ids of one text's tokens, or a list of such ids: always a list once it is read."""


class Given(BaseModel):
    """An object that a client sends: no field is ignored, and null means that a field is left out."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = {field.alias or name: field for name, field in cls.model_fields.items()}
        if (unknown := len(value.keys() - known)) > _MOST_UNKNOWN:
            raise ValueError(f"has {unknown} fields that are not known")
        optional = {name for name, field in known.items() if not field.is_required()}
        return {key: each for key, each in value.items() if each is not None or key not in optional}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema, which says that null is taken wherever a field may be left out."""
        schema = handler(core_schema)
        found = handler.resolve_ref_schema(schema)
        properties = found.get("properties", {})
        for name in properties.keys() - set(found.get("required", [])):
            about = {
                key: properties[name].pop(key) for key in ("title", "description", "default") if key in properties[name]
            }
            properties[name] = {"anyOf": [properties[name], {"type": "null"}], **about}
        return schema


class Body(Given):
    """What every request to a model says."""

    model: Text = Field(description="One of the names that /v1/models lists.", max_length=200)
    user: Ignored = None


class Identified(BaseModel):
    """Who answered: `LoadedVersion.identity`."""

    model: str
    version: int
    system_fingerprint: str


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Problem(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(BaseModel):
    """A response of any status from 400 on."""

    error: Problem


_BOUNDS = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} or less"),
    "less_than": ("lt", "less than {}"),
}
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "string_unicode": "a text of valid Unicode characters",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
Place = tuple[int | str, ...]
"""Keys and numbers in lists, from a body's outermost object inwards."""


def place_of(place: Sequence[int | str], body: Any) -> Place:
    """The part of pydantic's place that leads through a body: that also names the members of unions."""
    found = []
    for part in place:
        known = part in body if isinstance(body, dict) else isinstance(body, list) and isinstance(part, int)
        if known:
            body = body[part]
            found.append(part)
    return tuple(found)


def reason(errors: Sequence[Mapping[str, Any]], sent: Any, body: type[BaseModel] | None) -> tuple[str, str | None]:
    """What is wrong with a body, in one sentence, and the field at fault.

    Args:
        errors: Pydantic's, as FastAPI hands them over.
        sent: The body.
        body: What the route takes.
    """
    # A wrong type in a union gives an error for each member; anything else says more, and what lies deepest most.
    telling = [error for error in errors if error["type"] not in _KINDS] or errors
    places = [place_of(error["loc"][1:], sent) for error in telling]  # the first part is "body"
    number = max(range(len(places)), key=lambda each: (places[each][:1] == places[0][:1], len(places[each])))
    error, place = telling[number], places[number]
    kind, given = error["type"], error["loc"][1:]
    if kind == "json_invalid":
        return "The body is not valid JSON.", None
    if kind == "missing" and given:
        field = str(place[0] if place else given[0])
        return (f"{_shown_place(place)} lacks {given[-1]}." if place else f"{field} is missing."), field
    if not place:
        said = error.get("ctx", {}).get("error") if kind == "value_error" else "is not a JSON object"
        return f"The body {said}.", None
    field = _shown_place(place[:1])
    alike = {each["type"] for each in errors if each["type"] in _KINDS and place_of(each["loc"][1:], sent) == place}
    known = body.model_fields if body is not None and len(place) == 1 else ()
    return _complaint(error, _shown_place(place), sorted(_KINDS[each] for each in alike), known), field


def _shown_place(place: Place) -> str:
    """A place as one writes it, as in `messages[0].role`."""
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{ascii(part)[1:-1]}" for part in place)
    return shown.removeprefix(".")[:100]


def _complaint(error: Mapping[str, Any], place: str, kinds: Sequence[str], known: Collection[str]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    given = f"{place} is {shown(error.get('input'))}"
    plain = {
        "value_error": f"{place} {context.get('error')}.",
        "literal_error": f"{given}; this server offers {context.get('expected')} only.",
        "string_too_long": f"{place} has more than {context.get('max_length')} characters.",
        "too_long": f"{place} holds more than {context.get('max_length')} entries.",
        "too_short": f"{place} holds {context.get('actual_length')} entries; send {context.get('min_length')} or more.",
    }
    if kind in plain:
        return plain[kind]
    if kind == "extra_forbidden":
        return f"{place} is not a field of this request; {nearest(place, known, 'leave it out.')}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = int(context[key]) if context[key] == int(context[key]) else context[key]
        return f"{given}; it must be {words.format(bound)}."
    return f"{given}; it must be {' or '.join(kinds)}." if kinds else f"{given}: {error['msg']}."


def shown(value: Any) -> str:
    """A value that was given, short, as JSON would write its kind."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    text = json.dumps(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
