"""Connections over real sockets: deadlines, the cap, and what is left open after a refusal."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvicorn

from langmill.errors import ServingError
from langmill.serving import connections
from langmill.serving.app import Service, build_app
from langmill.serving.connections import RESERVED_FILES, connection_limit
from langmill.serving.server import listen
from tests.refused import refused
from tests.unit.serving.conftest import Server

pytestmark = pytest.mark.unit
LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


def over_sockets(server: Server, talk: Callable[[Connect], Awaitable[None]], **changes: Any) -> None:
    """Let `talk` speak with a real server on a loopback port."""
    settings = replace(server.settings, **changes)

    async def main() -> None:
        service = Service(settings, server.engine, server.follower, server.metrics, 1_700_000_000)
        config = uvicorn.Config(
            build_app(service, server.ring), http="h11", lifespan="off", ws="none", log_config=None,
            h11_max_incomplete_event_size=32768, timeout_graceful_shutdown=1,
        )  # fmt: skip
        with listen("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
            running = connections.Server(config, settings, server.metrics)
            serving = asyncio.create_task(running.serve([listener]))
            try:
                async with asyncio.timeout(20):
                    await talk(lambda: asyncio.open_connection("127.0.0.1", port))
            finally:
                running.should_exit = True
                await serving

    asyncio.run(main())


async def answer(streams: Streams, request: bytes = LIVE) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one answer."""
    reader, writer = streams
    writer.write(request)
    return await received(reader)


async def received(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    return int(head[0].split()[1]), headers, body


async def seconds_to_end(reader: asyncio.StreamReader) -> float:
    began = time.monotonic()
    assert await reader.read() == b""
    return time.monotonic() - began


def test_a_client_that_says_nothing_is_closed(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        reader, _ = await connect()
        assert 0.2 < await seconds_to_end(reader) < 5

    over_sockets(server, talk, header_seconds=0.3)
    assert server.sample("langmill_connections_closed_total", reason="head") == 1


def test_headers_that_come_byte_by_byte_gain_no_time(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        reader, writer = await connect()
        began = time.monotonic()

        async def drip() -> None:
            for byte in LIVE * 100:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        status, headers, body = await received(reader)
        assert time.monotonic() - began < 2
        dripping.cancel()
        assert (status, headers["connection"]) == (408, "close")
        assert "headers did not arrive within 0.3 s" in body["error"]["message"]

    over_sockets(server, talk, header_seconds=0.3)


def test_a_second_requests_headers_have_a_deadline_too(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        streams = await connect()
        assert (await answer(streams))[0] == 200
        assert (await answer(streams, LIVE[:20]))[0] == 408
        await seconds_to_end(streams[0])

    over_sockets(server, talk, header_seconds=0.3, keep_alive_seconds=60.0)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(server: Server) -> None:
    server.writer.seconds = 0.05

    async def talk(connect: Connect) -> None:
        idle = await connect()
        assert (await answer(idle))[0] == 200
        body = json.dumps({"model": "writer", "prompt": "x", "max_tokens": 20}).encode()
        busy = asyncio.create_task(answer(await connect(), POST + b"%d\r\n\r\n%s" % (len(body), body)))
        assert 0.1 < await seconds_to_end(idle[0]) < 5
        assert (await busy)[0] == 200  # it took longer than every deadline

    over_sockets(server, talk, header_seconds=0.2, keep_alive_seconds=0.2, body_seconds=0.2)
    assert server.sample("langmill_connections_closed_total", reason="request") == 1


def test_a_body_that_does_not_arrive_ends_the_connection(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        streams = await connect()
        status, headers, _ = await answer(streams, POST + b"100\r\n\r\n{")
        assert (status, headers["connection"]) == (408, "close")
        assert await seconds_to_end(streams[0]) < 2

    over_sockets(server, talk, body_seconds=0.2)


def test_a_body_that_is_too_large_ends_the_connection(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        streams = await connect()
        status, headers, _ = await answer(streams, POST + b"10000000\r\n\r\n{")
        assert (status, headers["connection"]) == (413, "close")
        assert await seconds_to_end(streams[0]) < 2

    over_sockets(server, talk)


def test_the_rest_of_a_refused_request_is_not_waited_for_for_ever(server: Server) -> None:
    server.keys = (b"x" * 32,)

    async def talk(connect: Connect) -> None:
        streams = await connect()
        assert (await answer(streams, POST + b"1000\r\n\r\n{"))[0] == 401

        async def drip() -> None:
            while True:
                streams[1].write(b" ")
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        with_reset = await asyncio.gather(seconds_to_end(streams[0]), return_exceptions=True)
        dripping.cancel()
        assert isinstance(with_reset[0], float | ConnectionError)

    over_sockets(server, talk, body_seconds=0.2)
    assert server.sample("langmill_connections_closed_total", reason="body") == 1


def test_what_is_no_http_is_refused_like_everything_else(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        for request, wanted in ((b"nonsense\r\n\r\n", 400), (LIVE[:-2] + b"X: " + b"x" * 70_000, 431)):
            streams = await connect()
            status, headers, body = await answer(streams, request)
            assert (status, headers["connection"], body["error"]["type"]) == (wanted, "close", "invalid_request_error")

    over_sockets(server, talk)


def test_a_request_of_two_lengths_is_refused_and_its_rest_is_no_request(server: Server) -> None:
    """Content-Length beside Transfer-Encoding: a proxy before the server may have believed the other one."""
    smuggled = b"0\r\n\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = POST + b"%d\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (len(smuggled), smuggled)

    async def talk(connect: Connect) -> None:
        streams = await connect()
        status, headers, body = await answer(streams, request)
        assert (status, headers["connection"], body["error"]["code"]) == (400, "close", "ambiguous_length")
        assert await streams[0].read() == b"", "what follows is not answered"
        for doubtful in (b"1\r\nContent-Length: 2\r\n\r\n{}", b"2 \r\nTransfer-Encoding: xchunked\r\n\r\n{}"):
            assert (await answer(await connect(), POST + doubtful))[0] in (400, 501)

    over_sockets(server, talk)


def test_requests_that_come_together_are_answered_in_order(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        streams = await connect()
        streams[1].write(LIVE * 3 + LIVE.replace(b"/live", b"/none"))
        assert [(await received(streams[0]))[0] for _ in range(4)] == [200, 200, 200, 404]

    over_sockets(server, talk)


def test_a_client_that_does_not_read_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_READ_SECONDS", 0.3)

    async def talk(connect: Connect) -> None:
        streams = await connect()
        streams[0]._limit = 1024  # type: ignore[attr-defined]
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(2000):  # a page of 17 kB each, none of them read
            streams[1].write(request)
        while not server.sample("langmill_connections_closed_total", reason="unread"):
            await asyncio.sleep(0.05)

    over_sockets(server, talk)


def test_silent_connections_give_way_at_the_cap(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        silent = [await connect() for _ in range(60)]
        began = time.monotonic()
        assert (await answer(await connect()))[0] == 200
        assert time.monotonic() - began < 10  # their deadline is an hour
        assert len(silent) == 60

    over_sockets(server, talk, max_connections=20, header_seconds=3600.0)
    assert (server.sample("langmill_connections_closed_total", reason="crowded_out") or 0) >= 41


def test_more_clients_than_connections_are_all_answered(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        async def once() -> int:
            _, writer = streams = await connect()
            status, _, _ = await answer(streams)
            writer.close()
            return status

        assert await asyncio.gather(*(once() for _ in range(100))) == [200] * 100

    over_sockets(server, talk, max_connections=5)


def test_the_accept_loop_survives_a_process_without_files(server: Server) -> None:
    async def talk(connect: Connect) -> None:
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, 3

        async def failing(listener: Any) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise OSError(24, "Too many open files")
            return await accept(listener)

        loop.sock_accept = failing  # type: ignore[method-assign]
        for _ in range(3):  # the first is accepted by the call that is already waiting
            assert (await answer(await connect()))[0] == 200
        assert failures == 0

    over_sockets(server, talk)


def test_the_cap_stays_below_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
    assert connection_limit(512) == 128 - RESERVED_FILES
    assert connection_limit(10) == 10
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connection_limit(512) == 512
    monkeypatch.setattr(resource, "getrlimit", lambda _: (RESERVED_FILES, RESERVED_FILES))
    with refused(ServingError, "too_few", "ulimit -n"):
        connection_limit(512)
