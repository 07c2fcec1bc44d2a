"""Connections: how many there may be, and how long each may take to say what it wants.

uvicorn has a deadline for the pause between two requests and for nothing else, and asyncio accepts connections until
the process has no files left. Here every state in which the server waits for a client has a deadline, and the number of
connections a cap: at the cap whoever has been silent longest gives way, and if nobody has, new connections wait in the
system's queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Generator, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from langmill.config.sections import Serving
from langmill.errors import RequestError, ServingError
from langmill.serving.metrics import Metrics
from langmill.serving.middleware import MAX_HEADER_BYTES, headers_too_large, refusal

log = logging.getLogger(__name__)
RESERVED_FILES = 64
"""Files that the rest of the process needs at once: the log, the registry's database, a version that is loaded."""
_FLUSH_SECONDS = 5.0
"""For a client to take what was written to it before its connection was closed."""
_READ_SECONDS = 30.0
"""For a client that does not read its answer."""
_RETRY_SECONDS = 0.05


class Owed(StrEnum):
    """What a client has to do next."""

    head = "head"
    """Send a request's line and headers."""
    body = "body"
    """Send the rest of a request."""
    request = "request"
    """Send another request, or nothing more."""
    end = "end"
    """Take the last bytes of a connection that is closed."""


_PATIENCE_SECONDS = {Owed.head: 1.0, Owed.request: 1.0, Owed.body: 5.0}
"""How long a client that owes something keeps its connection when another one needs the place."""


def connection_limit(wanted: int) -> int:
    """The connections that there may be at once: as many as wanted, or as the limit of open files leaves room for.

    Raises ServingError where it leaves room for none.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    if files <= RESERVED_FILES:
        raise ServingError(
            f"This process may open {files} files, and the server needs more than {RESERVED_FILES}; "
            "raise the limit, as with `ulimit -n 1024`.",
            code="too_few",
        )
    return min(wanted, files - RESERVED_FILES)


class Connection(H11Protocol):
    """One client's connection, closed when the client keeps it waiting."""

    def __init__(self, *, seconds: Mapping[Owed, float], metrics: Metrics, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.owed: Owed | None = None
        """What the client has to do next; None while an answer is made."""
        self.owed_since = 0.0
        self._seconds = seconds
        self._lost = False
        self._metrics = metrics
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect(Owed.head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._expect(None)
        self._lost = True
        self._stop_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what is still owed keeps its deadline, so that a byte now and then gains no time."""
        super().data_received(data)
        self._expect(self._owed(between=Owed.head))

    def on_response_complete(self) -> None:
        """Wait for the rest of this request, which was answered early, or for the next one."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # uvicorn's clock is stopped by any byte
        self._expect(self._owed(between=Owed.request))

    def pause_writing(self) -> None:
        """The client does not read; wait for it, but not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(_READ_SECONDS, self.give_up, "unread")

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._stop_unread()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of every other refusal."""
        too_large = len(self.conn.trailing_data[0]) > MAX_HEADER_BYTES
        self._refuse(headers_too_large() if too_large else RequestError("The request is not valid HTTP.", 400))

    def give_up(self, reason: str) -> None:
        """Drop the connection with whatever is under way on it."""
        self._metrics.connections_closed.labels(reason).inc()
        self.transport.abort()

    # Deadlines -------------------------------------------------------------------------------------------------------

    def _owed(self, between: Owed) -> Owed | None:
        if self.transport.is_closing():
            return Owed.end
        if self.conn.their_state is h11.SEND_BODY:
            return Owed.body
        return between if self.conn.their_state is h11.IDLE else None

    def _expect(self, owed: Owed | None) -> None:
        if owed is self.owed or self._lost:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self.owed, self.owed_since, self._deadline = owed, self.loop.time(), None
        if owed is not None:
            self._deadline = self.loop.call_later(self._seconds[owed], self._late)

    def _late(self) -> None:
        assert self.owed is not None
        if self.owed is Owed.end:
            self.give_up(self.owed)
            return
        self._metrics.connections_closed.labels(self.owed).inc()
        if self.owed is Owed.head and self.conn.trailing_data[0]:
            seconds = self._seconds[Owed.head]
            self._refuse(RequestError(f"The request's headers did not arrive within {seconds:g} s.", 408))
        else:
            self.transport.close()
        self._expect(Owed.end)

    def _refuse(self, error: RequestError) -> None:
        """Answer without the application, where no answer has begun, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = refusal(error)
            response.headers["connection"] = "close"
            reason = HTTPStatus(error.status).phrase.encode()
            head = h11.Response(status_code=error.status, headers=response.raw_headers, reason=reason)
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()


class Server(uvicorn.Server):
    """Uvicorn with an accept loop that keeps to a number of connections, and without its signal handlers."""

    def __init__(self, config: uvicorn.Config, settings: Serving, metrics: Metrics) -> None:
        super().__init__(config)
        self._seconds = {
            Owed.head: settings.header_seconds,
            # `Limits` refuses a late body with a reason; this is for what is left of a request that was refused.
            Owed.body: settings.body_seconds + 1,
            Owed.request: settings.keep_alive_seconds,
            Owed.end: _FLUSH_SECONDS,
        }
        self._max_connections = connection_limit(settings.max_connections)
        self._metrics = metrics
        self._accepting: list[asyncio.Task[None]] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `Lifecycle`: uvicorn would close the port at once and end the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections at listening sockets."""
        await self.lifespan.startup()
        self.servers = []
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in sockets or []]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and end as uvicorn does."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        in_trouble = False
        while True:
            while len(self.server_state.connections) >= self._max_connections:
                # The connection is gone at the loop's next turn.
                await asyncio.sleep(0 if self._make_room() else _RETRY_SECONDS)
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:  # no files are left, or the client has already gone
                if not in_trouble:
                    log.warning("A connection can't be accepted: %s", error)
                in_trouble = True
                self._make_room()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            in_trouble = False
            try:
                await loop.connect_accepted_socket(self._connection, accepted)
            except BaseException as error:
                accepted.close()
                if not isinstance(error, OSError):  # the client has already gone
                    raise

    def _connection(self) -> Connection:
        return Connection(
            seconds=self._seconds,
            metrics=self._metrics,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _make_room(self) -> bool:
        """Drop the connection whose client has owed something longest, if one has for long enough."""
        now = asyncio.get_running_loop().time()
        silent = [
            each
            for each in self.server_state.connections
            if isinstance(each, Connection)
            and each.owed in _PATIENCE_SECONDS
            and not each.transport.is_closing()
            and now - each.owed_since > _PATIENCE_SECONDS[each.owed]
        ]
        if silent:
            min(silent, key=lambda each: each.owed_since).give_up("crowded_out")
        return bool(silent)
