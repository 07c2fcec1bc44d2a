"""What surrounds every request: the host it is meant for, keys, limits on its body, accounting.

Plain ASGI: Starlette's `BaseHTTPMiddleware` would hide from a handler that its client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langmill.errors import RequestError
from langmill.serving.keys import KeyRing
from langmill.serving.keys import Scope as KeyScope
from langmill.serving.metrics import Metrics

access = logging.getLogger("langmill.access")
MAX_HEADER_BYTES = 32768
_SWALLOWED_BODIES = 16
"""So many times the limit is read and thrown away before a large body is refused: a client that is still sending when
the connection is closed sees a broken pipe instead of the reason."""
CLIENT_GONE = 499
"""The status that is counted when a client left before its answer; nginx's, there is no official one."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_HOST = "*"
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+?)\.?)(?::\d*)?")
_TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
    503: "unavailable_error",
}  # fmt: skip
_RETRY_SECONDS = 1.0
AMBIGUOUS = "ambiguous_length"
_CLOSING = frozenset({408, 413, 431})
"""Refusals after which the connection is closed: what is still to come on it is not wanted."""


def refusal(error: RequestError) -> JSONResponse:
    """An error in the shape of OpenAI's API."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    headers = {}
    if error.status == 503 or error.retry_after is not None:
        # Whole seconds, as HTTP has them; a client that comes back too early is refused once more.
        headers["retry-after"] = str(math.ceil(error.retry_after or _RETRY_SECONDS))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status in _CLOSING or error.code == AMBIGUOUS:
        headers["connection"] = "close"
    body = {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}
    return JSONResponse(body, error.status, headers)


def headers_too_large() -> RequestError:
    """The refusal of headers beyond `MAX_HEADER_BYTES`."""
    return RequestError(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes.", 431)


class Paths:
    """Some of the server's paths, which may have parameters, as in `/v1/models/{id}`."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._patterns = [(compile_path(path)[0], path) for path in paths]

    def find(self, path: str) -> str | None:
        """The one that a request's path is at, with the parameters' names in it; None where it is at none."""
        return next((known for pattern, known in self._patterns if pattern.match(path)), None)


class _Check(ABC):
    """Refuses some requests and passes on the others; the server has neither web sockets nor lifespan events."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        try:
            receive = await self.checked(scope, receive)
        except RequestError as error:
            await refusal(error)(scope, receive, send)
        except ClientDisconnect:
            pass
        else:
            await self._app(scope, receive, send)

    @abstractmethod
    async def checked(self, scope: Scope, receive: Receive) -> Receive:
        """Where the application reads the body from.

        Raises:
            RequestError: The request is refused.
            ClientDisconnect: Nobody waits for an answer any more.
        """


class Heads:
    """Answers HEAD as GET without its body, for monitors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and keep what a HEAD's response would hold."""
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


class Hosts(_Check):
    """Answers only requests that are meant for this server, others with 403.

    A web page can give its own name this server's address (DNS rebinding); the browser of whoever reads the page then
    lets its script ask here. The header Host still has the page's name.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        super().__init__(app)
        self._any = _ANY_HOST in allowed
        self._allowed = _LOOPBACK | {name.lower() for name in allowed}

    async def checked(self, scope: Scope, receive: Receive) -> Receive:
        """Compare the header Host."""
        header = Request(scope).headers.get("host")
        if not (self._any or header is None or self._is_allowed(header, scope)):  # no browser leaves it out
            raise RequestError(
                f"The host {ascii(header)[:100]} is not one that this server answers to; "
                "add its name to serving.allowed_hosts if it should.",
                403,
                code="host_not_allowed",
            )
        return receive

    def _is_allowed(self, header: str, scope: Scope) -> bool:
        found = _HOST.fullmatch(header.strip().lower())
        name = (found[1] or found[2]) if found else None
        # The address that the connection came in at: a name can point to it, but it is no name.
        here = str((scope.get("server") or ("",))[0]).removeprefix("::ffff:")
        return name is not None and (name in self._allowed or name == here)


class Keys(_Check):
    """Lets in who carries one of the keys, and anybody at the public paths; others get 401.

    At the administrators' paths a key that may only ask gets 403.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, public: Paths, administrators: Paths) -> None:
        super().__init__(app)
        self._keys = keys
        self._public = public
        self._administrators = administrators

    async def checked(self, scope: Scope, receive: Receive) -> Receive:
        """Look for the key, and note for the routes what its sender may know."""
        state = scope.setdefault("state", {})
        if not self._keys:
            state["known"] = True
            return receive
        scheme, _, key = Request(scope).headers.get("authorization", "").partition(" ")
        grant = self._keys.find(key.strip()) if scheme.lower() == "bearer" else None
        state["known"] = administers = grant is not None and grant.scope is KeyScope.administer
        state["key"] = grant.who if grant else None
        if grant is None and self._public.find(scope["path"]) is None:
            raise RequestError(
                "This server wants a key: send the header Authorization: Bearer KEY with one that it knows.",
                401,
                code="invalid_api_key",
            )
        if not administers and self._administrators.find(scope["path"]) is not None:
            raise RequestError(
                "This key may ask the models and no more; `langmill key --scope administer` makes one that may.",
                403,
                code="insufficient_scope",
            )
        return receive


class Places:
    """The places in the engine that one request takes of its key's share.

    Args:
        taken: By key, the places of all requests under way.
        key: The request's.
        limit: Places of one key, at most.
    """

    def __init__(self, taken: Counter[str], key: str, limit: int) -> None:
        self._taken = taken
        self._key = key
        self._limit = limit
        self._own = 0

    def take(self, places: int) -> None:
        """Take further places, which `free` gives back.

        Raises:
            RequestError: The key has too many under way (429), or the request alone asks for more than its share (400).
        """
        own = self._own + places
        if own > self._limit:
            raise RequestError(
                f"The request asks for {own} answers; {self._limit} at once are the share of one key "
                "(serving.key_share).",
                400,
            )
        if self._taken[self._key] + places > self._limit:
            raise RequestError(
                f"{self._taken[self._key]} answers are under way with this key, and {self._limit} are its share "
                "(serving.key_share); wait for one of them.",
                429,
                code="rate_limited",
                retry_after=_RETRY_SECONDS,
            )
        self._own = own
        self._taken[self._key] += places

    def free(self) -> None:
        """Give all places back."""
        self._taken[self._key] -= self._own
        self._own = 0
        if not self._taken[self._key]:  # keys without requests are forgotten
            del self._taken[self._key]


class Shares:
    """Lets no key have more than a number of places in the engine, so that one client leaves room for the others: 429.

    A request takes one; who answers it takes more where it asks for several texts.
    """

    def __init__(self, app: ASGIApp, limit: int, paths: Paths) -> None:
        self._app = app
        self._limit = limit
        self._paths = paths
        self._taken: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it while its key has too many."""
        key = scope.get("state", {}).get("key")
        if key is None or scope["method"] != "POST" or self._paths.find(scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        places = Places(self._taken, key, self._limit)
        try:
            places.take(1)
        except RequestError as error:
            await refusal(error)(scope, receive, send)
            return
        scope["state"]["places"] = places
        try:
            await self._app(scope, receive, send)
        finally:
            places.free()


class Framing(_Check):
    """Refuses a request whose length is said in two ways: a proxy before this server may have believed the other one.

    What one of the two takes for the next request is then a part of this one's body (request smuggling; RFC 9112, 6.3).
    """

    async def checked(self, scope: Scope, receive: Receive) -> Receive:
        """Look at the headers."""
        names = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= names:
            raise RequestError(
                "The request has both Content-Length and Transfer-Encoding; send one of them.", 400, code=AMBIGUOUS
            )
        return receive


class Limits(_Check):
    """Reads a request's body first, up to a number of bytes and for a limited time; else 408, 413 or 431."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        super().__init__(app)
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def checked(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body."""
        # The parser limits only headers that come in parts.
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise headers_too_large()
        if scope["method"] in ("GET", "HEAD"):
            return receive
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(Request(scope), receive)
        except TimeoutError as error:
            raise RequestError(f"The request's body did not arrive within {self._seconds:g} s.", 408) from error
        left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return left.pop() if left else await receive()

        return replay

    async def _read(self, request: Request, receive: Receive) -> bytes:
        announced = request.headers.get("content-length", "0")
        length = int(announced) if announced.isdigit() else 0
        chunks: list[bytes] = []
        total, more, too_large = 0, True, length > self._max_bytes
        give_up = self._max_bytes * _SWALLOWED_BODIES
        while more and max(length, total) <= give_up:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            total += len(chunk)
            too_large = too_large or total > self._max_bytes
            if not too_large:
                chunks.append(chunk)
        if too_large:
            raise RequestError(
                f"The request's body is larger than {self._max_bytes} bytes (serving.max_body_bytes).", 413
            )
        return b"".join(chunks)


class Accounting:
    """Counts and logs every request, and knows how many are under way."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Paths, probes: Paths) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths
        self._probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it ended."""
        began = time.monotonic()
        status = CLIENT_GONE

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:
            status = 500
            raise
        finally:
            route = self._paths.find(scope["path"]) or "other"
            seconds = time.monotonic() - began
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            if self._probes.find(scope["path"]) is None:
                client = scope["client"][0] if scope.get("client") else "-"
                path = ascii(scope["path"])[1:-1][:200]
                who = scope.get("state", {}).get("answered_by", "-")
                access.info("%s %s %s %s %.1f ms %s", client, scope["method"], path, status, 1000 * seconds, who)
