"""The HTTP server: conf/serving/."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from langmill.config.constraints import Allowed, Port, require
from langmill.config.sections.operation import Recipes
from langmill.config.typed import settings


def _is_host(name: str) -> bool:
    return name == "*" or (bool(name) and not set(name) & set("/[]@*") and name.count(":") != 1)


def _is_origin(text: str) -> bool:
    scheme, _, host = text.partition("://")
    return text == "*" or (scheme in ("http", "https") and bool(host) and not set(host) & set("/*@ "))


Part = Annotated[float, Field(gt=0, le=1)]
"""A share of a whole, which may be all of it."""


class TrialMode(StrEnum):
    """How a challenger meets live traffic."""

    off = "off"
    """Not at all."""
    shadow = "shadow"
    """A copy of a share of the requests is sent to it; clients get the champion's answers."""
    canary = "canary"
    """It answers a share of the requests; a copy of those is sent to the champion."""


@settings
class Trial:
    """A challenger on live traffic, and a new champion beside the previous one: conf/serving/, `trial`."""

    mode: TrialMode
    """Whether clients see the challenger's answers."""
    share: Part
    """The part of the requests that both versions answer."""
    min_pairs: PositiveInt
    """Requests that both must have answered before anything is concluded."""
    max_pairs: PositiveInt
    """Requests after which a trial ends: what has not been breached by then is kept."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """How sure a breach must be, all looks of a trial together."""
    max_more_errors: Annotated[float, Field(ge=0, lt=1)]
    """Of all requests, the part that may fail beyond what the other version fails on."""
    max_slowdown: Annotated[float, Field(ge=1)]
    """How many times as long an answer may take, in the geometric mean."""
    max_other_answers: Annotated[float, Field(ge=0, le=1)]
    """The part of the answers that may differ from the other version's: other labels, other texts of greedy decoding.
    1 allows any."""

    def __post_init__(self) -> None:
        require(self.max_pairs >= self.min_pairs, "max_pairs", self.max_pairs, f"min_pairs ({self.min_pairs}) or more")


class Backend(StrEnum):
    """What runs a model."""

    own = "own"
    """The engine of this server."""
    vllm = "vllm"
    """vLLM, in a process and an environment of its own."""


@settings
class Vllm:
    """vLLM behind this server, for big decoders on a GPU: conf/serving/, `vllm`."""

    command: str
    """Its executable, in an environment of its own: /opt/vllm/bin/vllm."""
    arguments: list[str]
    """Further arguments of `vllm serve`. During a promotion two of them run, so that each may have less than half of
    the GPU's memory."""
    start_seconds: PositiveFloat
    """Seconds that a new one may take until it answers."""


class UnknownFields(StrEnum):
    """What happens to fields of a request that the server does not know."""

    refuse = "refuse"
    warn = "warn"


@settings
class Serving:
    """The HTTP server."""

    host: str
    """The address to listen on; 127.0.0.1 answers this machine only."""
    port: Port
    """The TCP port; 0 takes a free one."""
    recipes: Recipes
    """The recipes whose champions are served."""
    poll_seconds: PositiveFloat
    """Seconds between two looks at the registry for a new champion."""
    max_prompt_tokens: PositiveInt
    """A longer prompt is refused."""
    max_new_tokens: PositiveInt
    """A request for more tokens is refused."""
    max_inputs: PositiveInt
    """Texts in one request, at most."""
    max_body_bytes: PositiveInt
    """A larger request body is refused."""
    unknown_fields: UnknownFields
    """What happens to fields of a request that the server does not know: `refuse` it (400), or `warn`, leave them out
    and say so in the header X-Langmill-Ignored and in the log, for clients that send fields of their own."""
    max_beams: PositiveInt
    """A search with more beams is refused."""
    max_running: PositiveInt
    """Requests that the models work on interleaved; the others wait."""
    max_waiting: NonNegativeInt
    """Requests that may wait for their turn; further ones are turned away with 503."""
    max_waiting_tokens: PositiveInt
    """Tokens of the prompts that wait, at most; further requests are turned away with 503. One prompt may always
    wait."""
    request_seconds: PositiveFloat
    """Seconds from a request to the end of its answer, at most; then the work on it stops."""
    prefill_tokens: PositiveInt
    """Tokens of prompts that a model reads in one turn, at most; fewer while it writes other texts, so that none of
    them waits for long."""
    prefix_megabytes: NonNegativeInt
    """Memory of each model for what it read of earlier prompts, so that one that begins like them (with the same
    instructions, or with the conversation so far) is read from where it differs. 0 reads every prompt whole."""
    exact: bool
    """Decode every text alone, as `langmill generate` does, bit for bit. False decodes the texts of several requests
    together, which is faster; where two tokens are almost equally likely, rounding may then decide otherwise. A request
    may ask for it with its field `exact`."""
    max_beside: NonNegativeInt
    """Versions that are not in service and can be asked all the same, as NAME@previous or NAME@challenger, in memory at
    once. One is loaded when it is first asked for and let go of after ten minutes without a request; 0 offers none."""
    drain_seconds: NonNegativeFloat
    """Seconds that requests in flight get to finish when the server is stopped."""
    api_keys_file: str | None
    """A file with the SHA-256 digest of one key a line, as `langmill key` writes it; requests must then carry a key.
    Null lets anyone in."""
    allowed_hosts: list[Annotated[str, Allowed("host names without scheme and port, or *", _is_host)]]
    """Names besides those of the loopback address, `host` and the address that is connected to, by which requests may
    call this server in their header Host, without scheme and port. `*` allows any, and with it DNS rebinding."""
    cors_origins: list[Annotated[str, Allowed("origins as in https://example.org, or *", _is_origin)]]
    """Origins of web pages whose scripts may ask this server from a browser; none by default."""
    key_share: Part
    """The part of `max_running` and `max_waiting` together that requests with one key may take, one for each text that
    they ask for; with more under way they are refused with 429. Without keys it means nothing."""
    max_connections: PositiveInt
    """Connections at once, at most; fewer where the limit of open files leaves no room. At the cap the one that has
    been silent longest is closed; if none has, new ones wait."""
    header_seconds: PositiveFloat
    """Seconds for a request's line and headers to arrive, from the connection's or the request's first moment."""
    body_seconds: PositiveFloat
    """Seconds for a request's body to arrive."""
    keep_alive_seconds: PositiveFloat
    """Seconds that a connection may be idle between two requests."""
    stalled_seconds: PositiveFloat
    """A turn of the models (one token, or a few texts) that takes longer counts as stuck: `/live` and `/ready` then
    answer 503."""
    threads: PositiveInt
    """CPU threads."""
    trial: Trial
    """A challenger on live traffic."""
    backends: dict[str, Backend]
    """By recipe, what runs its model; `own` where it is not named."""
    vllm: Vllm
    """vLLM, where `backends` names it."""
