"""A model whose answers are known in advance, in an engine without a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from torch import nn

from langmill.config.sections import Serving, Trial, TrialMode, Vllm
from langmill.config.sections.serving import UnknownFields
from langmill.errors import IntegrityError, TrackingError
from langmill.files import write_manifest
from langmill.models.generation.network import Ending
from langmill.serving.alias_state import AliasState, RegisteredVersion
from langmill.serving.app import build_app
from langmill.serving.engine import Engine
from langmill.serving.jobs import LoadedVersion
from langmill.serving.keys import Grant, KeyRing
from langmill.serving.metrics import Metrics
from langmill.serving.service import Service
from langmill.tasks.base import Classifies, Generates
from langmill.tasks.loading import LoadedModel
from tests.unit.serving.small_server import KEY, SmallServer, serving

EOT = 256
COMPLETIONS, CLASSIFY = "/v1/completions", "/v1/classify"
W, J = {"model": "writer", "prompt": "x"}, {"model": "judge", "input": "x"}


TRIAL = Trial(
    mode=TrialMode.off, share=1.0, min_pairs=4, max_pairs=200, confidence=0.95, max_more_errors=0.01, max_slowdown=1.5,
    max_other_answers=1.0,
)  # fmt: skip


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    vocab_size = 257
    eot_id = EOT
    stop_ids = (EOT,)
    longest_token = 1

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(token for token in ids if token < EOT).decode(errors="replace")


class Writer(Generates):
    """Goes on with a fixed text, whatever the prompt; may be slow, and may fail after some tokens."""

    labels = ()

    def __init__(self, text: str = "abcdefghij" * 10, *, seconds: float = 0.0, fails_after: int = 10**9) -> None:
        self.text = text
        self.seconds = seconds
        self.fails_after = fails_after
        self.tokens_made = 0
        self.samplings: list[Any] = []

    def prompt_ids(self, tokenizer: Any, prompt: str) -> list[int]:
        return [EOT, *tokenizer.encode(prompt)]

    def generate(self, network: Any, prompt_ids: Any, sampling: Any) -> Any:
        self.samplings.append(sampling)
        for count, token in enumerate(self.text.encode(), start=1):
            time.sleep(self.seconds)
            if count > self.fails_after:
                raise RuntimeError("out of memory")
            self.tokens_made += 1
            yield token
            if count == sampling.max_new_tokens:
                return Ending.length
        return Ending.stop


class Judge(Classifies):
    """The longer a text, the more positive, up to 100 characters."""

    labels = ("negative", "positive")

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def probabilities(self, network: Any, tokenizer: Any, texts: Any) -> np.ndarray:
        self.batches.append(list(texts))
        positive = np.array([min(len(text), 100) / 100 for text in texts])
        return np.stack([1 - positive, positive], axis=1)


def loaded(task: Any, max_length: int = 64) -> LoadedModel:
    """A loaded model around a task; the network has one weight."""
    config = {"langmill": {"recipe": "r", "max_length": max_length}}
    writes = task.generation_config if isinstance(task, Generates) else None
    return LoadedModel(Path(), task, nn.Linear(1, 1), Bytes(), {"provenance": "p"}, config, writes)  # type: ignore[arg-type]


def loaded_version(name: str, version: int, task: Any) -> LoadedVersion:
    return LoadedVersion(name, version, loaded(task), longest_token=1)


class Quiet:
    """A follower that has found everything."""

    def __init__(self, names: list[str]) -> None:
        self.alias_states = {name: AliasState(RegisteredVersion(1, "p"), "registry") for name in names}
        self.dead: str | None = None

    def failure(self) -> str | None:
        return self.dead


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    """A started server with small models of every kind."""
    with serving(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="session")
def client(small: SmallServer) -> Iterator[openai.OpenAI]:
    """OpenAI's client, which does not try again."""
    with openai.OpenAI(base_url=f"{small.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def settings() -> Serving:
    return Serving(
        host="127.0.0.1",
        port=0,
        recipes=["writer", "judge"],
        poll_seconds=0.05,
        max_prompt_tokens=40,
        max_new_tokens=50,
        max_inputs=10,
        max_body_bytes=4096,
        unknown_fields=UnknownFields.refuse,
        max_beams=4,
        max_running=2,
        max_waiting=1,
        max_waiting_tokens=1000,
        request_seconds=60.0,
        prefill_tokens=256,
        prefix_megabytes=1,
        exact=False,
        max_beside=1,
        drain_seconds=5.0,
        api_keys_file=None,
        allowed_hosts=[],
        cors_origins=[],
        key_share=1.0,
        max_connections=20,
        header_seconds=5.0,
        body_seconds=5.0,
        keep_alive_seconds=5.0,
        stalled_seconds=4.0,
        threads=1,
        trial=TRIAL,
        backends={},
        vllm=Vllm("vllm", [], 20.0),
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def engine(metrics: Metrics) -> Iterator[Engine]:
    made = Engine(max_running=2, max_waiting=1, metrics=metrics, stalled_seconds=4.0)
    made.start()
    yield made
    made.stop()


Ask = Callable[[httpx.AsyncClient], Awaitable[Any]]


class Server:
    """The application around two models, spoken to without a socket."""

    def __init__(self, settings: Serving, engine: Engine, metrics: Metrics) -> None:
        self.settings = settings
        self.engine = engine
        self.metrics = metrics
        self.follower = Quiet(settings.recipes)
        self.writer, self.judge = Writer(), Judge()
        self.keys: Sequence[bytes | Grant] = ()
        engine.publish(loaded_version("writer", 3, self.writer))
        engine.publish(loaded_version("judge", 7, self.judge))

    @property
    def ring(self) -> KeyRing:
        """The server's keys; one that is given as a digest alone opens everything."""
        return KeyRing(None, [each if isinstance(each, Grant) else Grant(each) for each in self.keys])

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        service = Service(self.settings, self.engine, self.follower, self.metrics, 1_700_000_000)
        transport = httpx.ASGITransport(build_app(service, self.ring), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            yield client

    def ask(self, method: str, path: str, **rest: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **rest)

        return asyncio.run(once())

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def server(settings: Serving, engine: Engine, metrics: Metrics) -> Server:
    return Server(settings, engine, metrics)


def completion(server: Server, **fields: Any) -> httpx.Response:
    return server.ask("POST", COMPLETIONS, json={"model": "writer", "prompt": "x", **fields})


def classify(server: Server, texts: Any, **fields: Any) -> httpx.Response:
    return server.ask("POST", CLASSIFY, json={"model": "judge", "input": texts, **fields})


class Shelf:
    """A registry of small folders; everything about it can be broken."""

    def __init__(self) -> None:
        self.alias: RegisteredVersion | None = None
        self.generation_config: str | None = None
        self.down = False
        self.damaged: set[int] = set()
        self.damaged_once: set[int] = set()
        self.downloads: list[int] = []
        self.asked = 0
        self.full_disk = False
        self.stamps = "as registered"
        self.other: tuple[RegisteredVersion, bool] | None = None
        self.aliases: dict[str, RegisteredVersion] = {}

    def champion(self, name: str) -> RegisteredVersion | None:
        self.asked += 1
        if self.down:
            raise TrackingError("The tracking server at http://nowhere does not answer.")
        return self.alias

    def place(self, name: str, version: int) -> str:
        return f"file:///registry/{name}/{version}"

    def stamp(self, name: str, version: int) -> str | None:
        return self.stamps

    def moved(self) -> object:
        return self.alias

    def beside(self, name: str) -> tuple[RegisteredVersion, bool] | None:
        return self.other

    def aliased(self, name: str) -> dict[str, RegisteredVersion]:
        return self.aliases

    def download(self, name: str, version: int, into: Path) -> Path:
        self.downloads.append(version)
        registered = self.alias
        for each in (*([self.other[0]] if self.other is not None else []), *self.aliases.values()):
            registered = each if each.version == version else registered
        assert registered is not None
        if self.full_disk:
            raise OSError(28, "No space left on device")
        into.mkdir(parents=True)
        (into / "weights").write_text(f"{name} {version}", encoding="utf-8")
        if self.generation_config is not None:
            (into / "generation_config.json").write_text(self.generation_config, encoding="utf-8")
        write_manifest(into, {"provenance": registered.provenance})
        if version in self.damaged | self.damaged_once:
            self.damaged_once.discard(version)
            raise IntegrityError(f"{into} is damaged: weights differ from manifest.json.")
        return into


@contextmanager
def started(**limits: Any) -> Iterator[Engine]:
    """A running engine."""
    made = Engine(**{"max_running": 8, "max_waiting": 8, "metrics": Metrics(), "stalled_seconds": 4.0, **limits})
    made.start()
    yield made
    made.stop()
