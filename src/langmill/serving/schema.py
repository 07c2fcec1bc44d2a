"""What a request may say, and how a refusal is worded.

The names are those of OpenAI's completions API. A field of that API which this server does not offer is accepted with
the value that asks for nothing, and refused with any other: ignoring it would give answers that were not asked for.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from langmill.models.generation.config import LEAST_PENALTY

_MAX_STOPS = 4
_MAX_STOP_CHARACTERS = 100


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can spell
        raise ValueError(f"holds a character that Unicode does not have, at place {error.start}") from error
    return text


Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model: Text = Field(description="One of the names that /v1/models lists.", max_length=200)
    user: str | None = Field(default=None, description="Accepted and ignored.", max_length=1000)


class StreamOptions(BaseModel):
    """OpenAI's options of a stream."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = Field(default=False, description="Send the token counts before the stream ends.")


class CompletionBody(_Body):
    """A request to go on from a prompt."""

    prompt: Text | list[Text] = Field(description="What to go on from; empty begins a new text. A list holds one text.")
    # What is left out of these is as the model's own generation_config.json has it.
    max_tokens: int | None = Field(default=None, ge=1, description="Tokens to generate at most.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="0 takes the likeliest token.")
    top_p: float | None = Field(default=None, gt=0, le=1, description="Share of the probability to draw from.")
    top_k: int | None = Field(
        default=None, ge=0, description="Draw from this many of the likeliest tokens; 0 from all."
    )
    min_p: float | None = Field(
        default=None, ge=0, le=1, description="Draw from tokens this many times as likely as the first."
    )
    repetition_penalty: float | None = Field(
        default=None, ge=LEAST_PENALTY, le=100, description="Make what is there already less likely; 1 does not."
    )
    num_beams: int | None = Field(
        default=None, ge=1, description="Search for the likeliest text with so many beams; not with stream."
    )
    length_penalty: float | None = Field(default=None, ge=-10, le=10, description="With beams: favour longer texts.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Equal seeds give equal texts.")
    stop: str | list[str] | None = Field(default=None, description="Up to four texts to stop before.")
    stream: bool = Field(default=False, description="Send the text as server-sent events while it is written.")
    stream_options: StreamOptions | None = None
    n: int = Field(default=1, ge=1, le=1, description="Only 1.")
    best_of: int = Field(default=1, ge=1, le=1, description="Only 1.")
    echo: bool = Field(default=False, description="Only false.")
    logprobs: int | None = Field(default=None, description="Only null.")
    suffix: str | None = Field(default=None, description="Only null.")
    presence_penalty: float = Field(default=0, ge=0, le=0, description="Only 0.")
    frequency_penalty: float = Field(default=0, ge=0, le=0, description="Only 0.")
    logit_bias: dict[str, float] | None = Field(default=None, description="Only null.")

    @field_validator("prompt")
    @classmethod
    def _one_prompt(cls, value: str | list[str]) -> str:
        if isinstance(value, list):
            if len(value) != 1:
                raise ValueError(f"holds {len(value)} texts; send one text a request")
            return value[0]
        return value

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> list[str]:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > _MAX_STOPS:
            raise ValueError(f"holds {len(stops)} texts; up to {_MAX_STOPS} are allowed")
        if any(not 0 < len(stop) <= _MAX_STOP_CHARACTERS for stop in stops):
            raise ValueError(f"holds a text that does not have 1 to {_MAX_STOP_CHARACTERS} characters")
        return stops

    @field_validator("echo", "logprobs", "suffix", "logit_bias")
    @classmethod
    def _not_offered(cls, value: Any) -> Any:
        # By identity: 0 equals False, and `logprobs: 0` asks for the log probabilities of the tokens that were chosen.
        if not (value is None or value is False or (isinstance(value, str | dict) and not value)):
            raise ValueError("asks for something that this server does not offer; leave the field out")
        return value


class ClassifyBody(_Body):
    """A request to tell the label of one text or several."""

    input: Text | list[Text] = Field(description="The text, or a list of texts.")

    @field_validator("input")
    @classmethod
    def _some_text(cls, value: str | list[str]) -> list[str]:
        texts = [value] if isinstance(value, str) else value
        if not texts:
            raise ValueError("is an empty list; send at least one text")
        if any(not text.strip() for text in texts):
            raise ValueError("holds an empty text, which has no label")
        return texts


_BODIES: dict[str, type[BaseModel]] = {"/v1/completions": CompletionBody, "/v1/classify": ClassifyBody}
_ONLY = {"n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0}
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


def reason(errors: Sequence[Mapping[str, Any]], path: str) -> tuple[str, str | None]:
    """What is wrong with a body, in one sentence, and the field at fault.

    Args:
        errors: Pydantic's, as FastAPI hands them over.
        path: The route, for the hint at a misspelt field.
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
    return _complaint(errors, error, field, path), field


def _complaint(errors: Sequence[Mapping[str, Any]], error: Mapping[str, Any], field: str, path: str) -> str:
    kind, context = error["type"], error.get("ctx", {})
    given = f"{field} is {_shown(error.get('input'))}"
    plain = {"missing": f"{field} is missing.", "value_error": f"{field} {context.get('error')}."}
    if kind in plain:
        return plain[kind]
    if kind == "extra_forbidden":
        known = list(_BODIES[path].model_fields) if path in _BODIES else []
        close = difflib.get_close_matches(field, known, n=1)
        return f"{field} is not a field of this request; {f'did you mean {close[0]}?' if close else 'leave it out.'}"
    if kind == "string_too_long":
        return f"{field} has more than {context['max_length']} characters."
    if kind in _BOUNDS and field in _ONLY:
        return f"{given}; this server offers {_ONLY[field]} only."
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = context[key]
        return f"{given}; it must be {words.format(int(bound) if bound == int(bound) else bound)}."
    allowed = sorted({_KINDS[each["type"]] for each in errors if each["type"] in _KINDS and field in each["loc"]})
    return f"{given}; it must be {' or '.join(allowed) or 'something else'}."


def _shown(value: Any) -> str:
    """A given value, short, as JSON would write its kind."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    text = json.dumps(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
