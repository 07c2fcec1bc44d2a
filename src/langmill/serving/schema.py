"""What requests and responses have in common, and how a refusal is worded.

The names are those of OpenAI's API. A field of that API which this server does not offer is accepted with the value
that asks for nothing, and refused with any other: ignoring it would give answers that were not asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

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
        optional = {field.alias or name for name, field in cls.model_fields.items() if not field.is_required()}
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
    "list_type": "a list of texts",
    "dict_type": "an object",
    "model_type": "an object",
}


def reason(errors: Sequence[Mapping[str, Any]], body: type[BaseModel] | None) -> tuple[str, str | None]:
    """What is wrong with a body, in one sentence, and the field at fault.

    Args:
        errors: Pydantic's, as FastAPI hands them over.
        body: What the route takes.
    """
    # A wrong type in a union gives an error for each member; anything else says more.
    error = next((error for error in errors if error["type"] not in _KINDS), errors[0])
    if error["type"] == "json_invalid":
        return "The body is not valid JSON.", None
    # ("body", field, then which member of a union or which place in a list)
    place = [str(part) for part in error["loc"] if part != "body"]
    if not place:
        return "The body is not a JSON object.", None
    field = ascii(place[-1])[1:-1][:100] if error["type"] == "extra_forbidden" else place[0]
    return _complaint(errors, error, field, body.model_fields if body else ()), field


def _complaint(errors: Sequence[Mapping[str, Any]], error: Mapping[str, Any], field: str, fields: Iterable[str]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    given = f"{field} is {shown(error.get('input'))}"
    place = [part for part in error["loc"] if part != "body"]
    plain = {
        "missing": f"{field} is missing." if len(place) == 1 else f"{field} lacks {place[-1]}.",
        "value_error": f"{field} {context.get('error')}.",
        "literal_error": f"{given}; this server offers {context.get('expected')} only.",
    }
    if kind in plain:
        return plain[kind]
    if kind == "extra_forbidden":
        return f"{field} is not a field of this request; {nearest(field, fields, 'leave it out.')}"
    if kind == "string_too_long":
        return f"{field} has more than {context['max_length']} characters."
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = int(context[key]) if context[key] == int(context[key]) else context[key]
        return f"{given}; it must be {words.format(bound)}."
    allowed = sorted({_KINDS[each["type"]] for each in errors if each["type"] in _KINDS and field in each["loc"]})
    return f"{given}; it must be {' or '.join(allowed) or 'something else'}."


def shown(value: Any) -> str:
    """A value that was given, short, as JSON would write its kind."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    text = json.dumps(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
