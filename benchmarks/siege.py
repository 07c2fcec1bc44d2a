"""A server under load, while its champion changes and strangers misbehave: what breaks, and how long things take.

    python benchmarks/siege.py                                    # ten minutes, a reload every thirty seconds
    python benchmarks/siege.py --seconds 120 --every 10 --strangers 500

Two tiny models with random weights are served by the real server in a workspace of its own. Streams and
classifications come all the time; every so often `langmill promote` or `langmill rollback` is typed. Strangers hold
connections open and send a byte a second, flood it with headers, send many requests at once, and requests whose length
is said in two ways. Meanwhile `/live` is asked five times a second over a new connection each, and the server's memory
is looked at ten times.

It prints one line of JSON: answers and errors, streams with events of two versions, seconds from a command's start to
the first answer by the new version, how long `/live` took, and the server's memory as pairs of answers so far and MiB.
It ends with 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from langmill.registry.versions import State, Tag  # noqa: E402
from tests.pipeline.served import Process, Workspace  # noqa: E402

LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASK = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
MOST_LIVE_SECONDS = 0.5
MOST_MOVE_SECONDS = 3.0

_PROBE = """
import json, socket, sys, time
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
live, dead, end = [], [], time.monotonic() + seconds
while time.monotonic() < end:
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=30) as connection:
            connection.sendall(b"GET /live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        answer = repr(error).encode()
    live.append(time.monotonic() - began)
    if not answer.startswith(b"HTTP/1.1 200"):
        dead.append(answer[:80].decode("latin-1"))
    time.sleep(0.2)
print(json.dumps([live, dead]))
"""


class Siege:
    """All that happens to one server."""

    def __init__(self, server: Process, root: Path, asked: argparse.Namespace) -> None:
        self.url, self.root, self.asked = server.url, root, asked
        self.pid = server.pid
        self.memory: list[tuple[int, int]] = []
        self.host, self.port = "127.0.0.1", urlsplit(server.url).port
        self.counts: Counter[str] = Counter()
        self.live: list[float] = []
        self.moves: list[float] = []
        self.commands: list[float] = []
        self.said: list[str] = []
        self.version = 1
        self.end = time.monotonic() + asked.seconds

    def over(self) -> bool:
        """Whether it is time to end."""
        return time.monotonic() >= self.end

    async def run(self) -> None:
        """Everything at once."""
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits) as client:
            kinds = [self.slow] * self.asked.strangers + [self.flood, self.pipeline, self.smuggle]
            strangers = [asyncio.create_task(kind()) for kind in kinds if self.asked.strangers]
            streams = [self.stream(client) for _ in range(self.asked.streams)]
            labels = [self.classify(client) for _ in range(self.asked.classifiers)]
            await asyncio.gather(self.probe(), self.watch(), self.move(client), *streams, *labels)
            for task in strangers:
                task.cancel()
            await asyncio.gather(*strangers, return_exceptions=True)

    # Clients ---------------------------------------------------------------------------------------------------------

    async def stream(self, client: httpx.AsyncClient) -> None:
        """Read streams, one after the other."""
        while not self.over():
            body = {"model": "tiny-lm", "prompt": "It was", "max_tokens": 48, "stream": True, "seed": 1}
            versions, done = set(), False
            try:
                async with client.stream("POST", "/v1/completions", json=body) as response:
                    async for line in response.aiter_lines():
                        text = line.removeprefix("data: ")
                        done = done or text == "[DONE]"
                        if text and text != "[DONE]":
                            versions.add(json.loads(text).get("version"))
                good = response.status_code == httpx.codes.OK and done
                self.count("streams" if good else "broken", f"{response.status_code}, done: {done}")
            except httpx.HTTPError as error:
                self.count("broken", repr(error))
            if len(versions) > 1:
                self.count("mixed", str(versions))

    async def classify(self, client: httpx.AsyncClient) -> None:
        """Classify, one request after the other."""
        while not self.over():
            try:
                response = await client.post("/v1/classify", json={"model": "tiny-judge", "input": "A fine film."})
                self.count("classified" if response.status_code == httpx.codes.OK else "broken", response.text)
            except httpx.HTTPError as error:
                self.count("broken", repr(error))
            await asyncio.sleep(0.02)

    async def probe(self) -> None:
        """Ask whether it lives, from another process: this one has the strangers to play."""
        seconds = str(max(0.0, self.end - time.monotonic()))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROBE, self.host, str(self.port), seconds, stdout=asyncio.subprocess.PIPE
        )  # fmt: skip
        said, _ = await process.communicate()
        self.live, dead = json.loads(said)
        for answer in dead:
            self.count("dead", answer)

    async def watch(self) -> None:
        """Note the server's resident memory beside the answers it has given."""
        server = psutil.Process(self.pid)
        while not self.over():
            await asyncio.sleep(self.asked.seconds / 10)
            answers = self.counts["streams"] + self.counts["classified"]
            self.memory.append((answers, server.memory_info().rss // 2**20))

    async def move(self, client: httpx.AsyncClient) -> None:
        """Type `promote` and `rollback` in turn, and wait for the first answer by the version."""
        while not self.over():
            await asyncio.sleep(min(self.asked.every, max(0.0, self.end - time.monotonic())))
            if self.over():
                return
            forward = self.version == 1
            self.version = 3 - self.version
            command = ["promote", "tiny-lm", "2", "--force", "siege"] if forward else ["rollback", "tiny-lm"]
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "langmill.cli", *command, cwd=self.root,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            ended = asyncio.create_task(self.ended(process, began))
            body = {"model": "tiny-lm", "prompt": "It", "max_tokens": 1}
            while (await client.post("/v1/completions", json=body)).json().get("version") != self.version:
                await asyncio.sleep(0.05)
                if time.monotonic() - began > 60:
                    self.count("unmoved", await ended)
                    return
            self.moves.append(time.monotonic() - began)

    async def ended(self, process: asyncio.subprocess.Process, began: float) -> str:
        """What a command said once it has ended; notes how long it took."""
        said, _ = await process.communicate()
        self.commands.append(time.monotonic() - began)
        return said.decode()

    # Strangers -------------------------------------------------------------------------------------------------------

    async def slow(self) -> None:
        """Send a request byte by byte, and begin again when it is thrown out."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                for byte in LIVE[:30]:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
                    if reader.at_eof():
                        break
                writer.close()
            self.count("slow connections")
            await asyncio.sleep(random.random())

    async def flood(self) -> None:
        """Send large headers."""
        while True:
            answer = await self.raw(LIVE[:-2] + b"X-Flood: " + b"x" * 100_000 + b"\r\n\r\n")
            self.count(
                "floods refused" if not answer or b" 431 " in answer[:20] else "floods let in", answer[:80].decode()
            )
            await asyncio.sleep(0.05)

    async def pipeline(self) -> None:
        """Send fifty requests at once."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(LIVE * 49 + LIVE[:-2] + b"Connection: close\r\n\r\n")
                self.count("pipelined", n=(await reader.read()).count(b"HTTP/1.1 200"))
                writer.close()
            await asyncio.sleep(0.2)

    async def smuggle(self) -> None:
        """Say a request's length in two ways."""
        rest = b"0\r\n\r\n" + LIVE
        while True:
            head = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(rest)
            answer = await self.raw(ASK + head + rest)
            refused = not answer or (b" 400 " in answer[:20] and answer.count(b"HTTP/1.1") == 1)
            self.count("smuggled requests refused" if refused else "smuggled", answer[:200].decode())
            await asyncio.sleep(0.1)

    async def raw(self, request: bytes) -> bytes:
        """What comes back until the connection closes; nothing where it breaks."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        except (OSError, TimeoutError):
            return b""
        return answer

    def count(self, what: str, why: str = "", n: int = 1) -> None:
        """Note that something happened, and what was said where it should not have."""
        self.counts[what] += n
        if what in WRONG and len(self.said) < 10:
            self.said.append(f"{what}: {why}")


WRONG = {"broken", "mixed", "dead", "unmoved", "floods let in", "smuggled"}


def main() -> None:
    """Lay the siege and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two reloads")
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--classifiers", type=int, default=2)
    parser.add_argument("--strangers", type=int, default=200, help="connections that send a byte a second")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        shutil.copytree(ROOT / "conf", workspace.root / "conf")
        shutil.copy(ROOT / "dvc.yaml", workspace.root)
        for seed in (1, 2):
            made = workspace.register("tiny-lm", "language_modelling", seed)
            workspace.registry.note(made, {Tag.state: State.validated})
        workspace.register("tiny-judge", "classification", 1)
        workspace.promote("tiny-lm", 1)
        workspace.promote("tiny-judge", 1)
        with workspace.serving(poll_seconds=1.0, max_connections=2048, max_running=8) as server:
            siege = Siege(server.until_ready(), workspace.root, asked)
            asyncio.run(siege.run())
    live = np.array(siege.live)
    found: dict[str, Any] = {
        **siege.counts,
        "memory": siege.memory,
        "live_p99_seconds": round(float(np.quantile(live, 0.99)), 3),
        "live_max_seconds": round(float(live.max()), 3),
        "moves": len(siege.moves),
        "command_mean_seconds": round(float(np.mean(siege.commands)) if siege.commands else 0.0, 2),
        "move_max_seconds": round(max(siege.moves, default=0.0), 2),
        "move_mean_seconds": round(float(np.mean(siege.moves)) if siege.moves else 0.0, 2),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    wrong = siege.said + [f"/live took {live.max():.2f} s"] * bool(live.max() > MOST_LIVE_SECONDS)
    wrong += [f"A reload took {each:.1f} s" for each in siege.moves if each > MOST_MOVE_SECONDS]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
