"""`langmill serve` beside `mlflow models serve`, with the same registered versions, over HTTP.

    cd A_WORKSPACE && python benchmarks/beside_mlflow.py reviews-lm sentiment

For recipes that have a champion in the workspace. Both run at once, each with the settings that it comes with, and are
asked in turns: ours is one process for all models, MLflow's one for each. The clients are the same: one and then eight,
each with a text of its own, over a connection that it keeps. They ask for a label, or for what follows a prompt,
greedily, and whole, since MLflow does not stream. Labels and texts are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmill.cli.workspace import operation
from langmill.lifetime import end_group

CLIENTS = 8
START_SECONDS = 300.0
WORDS = "the film was good bad and not very story plot of a it in scene with for actors never again".split()  # noqa: SIM905


@dataclass(frozen=True)
class Server:
    """Where and how a model is asked."""

    port: int
    path: str
    body: Callable[[str], dict[str, Any]]
    said: Callable[[dict[str, Any]], str]
    """The label or the text of an answer."""


def main() -> None:
    """Parse, start, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=200, help="labels that each client asks for in a round")
    parser.add_argument("--texts", type=int, default=5, help="texts that each client asks for in a round")
    parser.add_argument("--new-tokens", type=int, default=64)
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        port = free_port()
        ours = [sys.executable, "-m", "langmill.cli", "serve", "--port", str(port), *asked.recipes]
        stack.enter_context(started(ours, port, "/ready"))
        for name in asked.recipes:
            theirs = free_port()
            uri = f"models:/{name}@champion"
            command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
            with started([*command, "--port", str(theirs)], theirs, "/ping"):
                compare(name, port, theirs, asked)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], port: int, path: str) -> Iterator[None]:
    """Run a server during the block, from the moment that a path answers with 200."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": operation().tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # MLflow looks for uvicorn there
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(port, path):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{' '.join(command)} did not start:\n{log.read().decode()}")
                time.sleep(0.1)
            yield
        finally:
            end_group(process, signal.SIGTERM, 10)


def answers(port: int, path: str) -> bool:
    """Whether a server is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
            return response.status == 200
    except OSError:  # a refusal by HTTP, too
        return False


def compare(name: str, ours: int, theirs: int, asked: argparse.Namespace) -> None:
    """Ask both servers in turns, and print what each does in a second."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ours}/v1/models/{name}") as response:
        labels = bool(json.load(response)["labels"])
    pair = labelling(name, ours, theirs) if labels else writing(name, ours, theirs, asked.new_tokens)
    times = asked.labels if labels else asked.texts
    drawn = random.Random(1)
    texts = [" ".join(drawn.choices(WORDS, k=60 if labels else 16)) for _ in range(CLIENTS)]
    for clients in (1, CLIENTS):
        first = [ask(server, texts[:clients], 1)[1] for server in pair]  # warm
        differ = sum(one != other for one, other in zip(*first, strict=True))
        rounds = [
            [clients * times / ask(server, texts[:clients], times)[0] for server in pair] for _ in range(asked.rounds)
        ]
        ratios = [one / other for one, other in rounds]
        rates = [statistics.median(column) for column in zip(*rounds, strict=True)]
        what = f"{'labels' if labels else f'texts of up to {asked.new_tokens} tokens'} a second"
        print(
            f"{name}, {clients} {'client' if clients == 1 else 'clients'}: {rates[0]:.1f} {what}, "
            f"`mlflow models serve` {rates[1]:.1f}: {statistics.median(ratios):.2f} times as many "
            f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})" + (f"; {differ} answers differ" if differ else ""),
            flush=True,
        )


def labelling(name: str, ours: int, theirs: int) -> tuple[Server, Server]:
    """How both are asked for a text's label."""
    return (
        Server(
            ours, "/v1/classify", lambda text: {"model": name, "input": text}, lambda said: said["data"][0]["label"]
        ),
        Server(theirs, "/invocations", lambda text: {"inputs": [text]}, lambda said: said["predictions"][0]["label"]),
    )


def writing(name: str, ours: int, theirs: int, count: int) -> tuple[Server, Server]:
    """How both are asked to go on from a prompt."""
    params = {"max_new_tokens": count, "temperature": 0.0}
    return (
        Server(
            ours, "/v1/completions",
            lambda text: {"model": name, "prompt": text, "max_tokens": count, "temperature": 0.0},
            lambda said: said["choices"][0]["text"],
        ),
        Server(
            theirs, "/invocations", lambda text: {"inputs": [text], "params": params},
            lambda said: said["predictions"][0]["text"],
        ),
    )  # fmt: skip


def ask(server: Server, texts: list[str], times: int) -> tuple[float, list[str]]:
    """Let one client for each text ask `times` times; seconds until the last is done, and what each heard last."""

    def client(text: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        body = json.dumps(server.body(text)).encode()
        with contextlib.closing(connection):
            for _ in range(times):
                connection.request("POST", server.path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200:
                    sys.exit(f"{server.path} said {response.status}: {answer.decode()}")
        return server.said(json.loads(answer))

    with ThreadPoolExecutor(len(texts)) as pool:
        began = time.perf_counter()
        heard = list(pool.map(client, texts))
        return time.perf_counter() - began, heard


if __name__ == "__main__":
    main()
