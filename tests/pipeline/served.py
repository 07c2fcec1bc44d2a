"""Two tiny models with random weights, a real registry on SQLite, and a real server process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from langmill.config.compose import compose_recipe, compose_serving
from langmill.files import sha256_file
from langmill.models.base import build_backbone
from langmill.models.folder import save_model
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, ModelVersion
from langmill.tasks.base import build_task
from langmill.tasks.loading import interface_of
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from langmill.tracking.addresses import artifact_root

CONF = Path(__file__).parents[2] / "conf"
RECIPES = {"language_modelling": "reviews-lm", "classification": "sentiment-decoder"}
"""The shipped recipes, whose settings the tiny models have but for their size."""
LABELS: dict[str, list[str]] = {"language_modelling": [], "classification": ["negative", "positive"]}
SMALL = [
    "model.options.dim=32", "model.options.num_layers=1", "model.options.num_heads=2", "model.options.num_kv_heads=2",
    "model.options.hidden_dim=48",
]  # fmt: skip
MAX_LENGTH = 128
TEXTS = ["It was a fine film and a long evening.", "Émile said: nothing works, not even the end.", "The film was fine."]


def make_model(folder: Path, recipe: str, task_name: str, seed: int) -> Path:
    """A model folder with random weights drawn from a seed."""
    tokenizer_file = folder.with_name(f"{folder.name}.tokenizer.json")
    train_tokenizer("bpe", 300, TEXTS, tokenizer_file, lambda text: None)
    tokenizer = Tokenizer.load(tokenizer_file)
    settings, labels = compose_recipe(RECIPES[task_name], SMALL, CONF), LABELS[task_name]
    model = settings.model
    torch.manual_seed(seed)
    task = build_task(task_name, settings.task.options, labels, "test")
    network = task.network(build_backbone(model.architecture, model.options, tokenizer.vocab_size, MAX_LENGTH, "test"))
    with torch.no_grad():  # larger than at a training's start, so that versions differ visibly
        for parameter in network.parameters():
            parameter.mul_(3)
    own = {
        "recipe": recipe,
        "task": {"name": task_name, "options": settings.task.options, "labels": labels},
        "model": {"architecture": model.architecture, "options": model.options},
        "max_length": MAX_LENGTH,
        "eot_id": tokenizer.eot_id,
    }
    interface = interface_of(task, network.get_submodule("model"), MAX_LENGTH, tokenizer)
    facts = {"provenance": f"{recipe}-{seed}"}
    save_model(folder, network, {"langmill": own}, tokenizer_file, facts, interface=interface)
    return folder


@dataclass
class Workspace:
    """A workspace's root with a registry of its own."""

    root: Path
    uri: str = field(init=False)

    def __post_init__(self) -> None:
        self.uri = f"sqlite:///{self.root}/.langmill/mlflow.db"
        self.registry = ModelRegistry(self.uri)

    def register(self, name: str, task_name: str, seed: int) -> ModelVersion:
        """A new version; no alias is moved."""
        folder = make_model(self.root / "made" / f"{name}-{seed}", name, task_name, seed)
        package = self.root / "packages" / f"{name}-{seed}"
        shutil.copytree(folder, package / "artifacts" / "model")
        client = self.registry._client
        experiment = client.get_experiment_by_name(name)
        kept = artifact_root(self.uri)
        assert kept is not None  # without a place of its own MLflow would write into the current folder
        experiment_id = (
            experiment.experiment_id if experiment else client.create_experiment(name, (kept / name).as_uri())
        )
        version, _ = self.registry.register(
            package,
            name=name,
            provenance=f"{name}-{seed}",
            weights=sha256_file(folder / "model.safetensors"),
            run_id=client.create_run(experiment_id).info.run_id,
            tags={},
            description="",
        )
        return version

    def promote(self, name: str, version: int) -> None:
        """Let the alias name a version."""
        current = self.registry.champion(name)
        self.registry.move_alias(name, CHAMPION, version, None if current is None else current.version)

    def registered_file(self, name: str, version: int, file: str) -> Path:
        """Where the registry keeps a file of a version's model folder."""
        location = self.registry.location(name, version).removeprefix("file://")
        return Path(location) / "artifacts" / "model" / file

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The server's settings for this workspace; what is not said here is as shipped."""
        return {
            **asdict(compose_serving(conf=CONF)),
            "host": "127.0.0.1", "port": 0, "recipes": ["tiny-lm", "tiny-judge"], "poll_seconds": 0.1,
            "max_prompt_tokens": 100, "max_new_tokens": 64, "max_inputs": 8, "max_body_bytes": 65536, "max_beams": 4,
            "max_running": 4, "max_waiting": 64, "drain_seconds": 10.0, "api_keys_file": None, "allowed_hosts": [],
            "max_connections": 200, "header_seconds": 5.0, "body_seconds": 5.0, "keep_alive_seconds": 5.0,
            "stalled_seconds": 4.0, "threads": 1, "key_share": 1.0, **changes,
        }  # fmt: skip

    @contextmanager
    def serving(self, **changes: Any) -> Iterator[Process]:
        """A server process of this workspace; killed at the end if it still runs."""
        process = Process(self, self.settings(**changes))
        try:
            yield process
        finally:
            process.close()


_RUN = """
import json, sys
from langmill.config.sections import Serving
from langmill.config.typed import typed
from langmill.errors import LangmillError
from langmill.serving.server import serve
from langmill.workspace import Workspace
try:
    serve(typed(Serving, json.loads(sys.argv[1]), "test"), sys.argv[2], Workspace())
except LangmillError as error:
    sys.exit(f"{error}")
"""


class Process:
    """A running server, as its user meets it: lines on the terminal, a port, an exit code."""

    def __init__(self, workspace: Workspace, settings: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps(settings), workspace.uri],
            cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        wait_for(lambda: bool(re.search(r"http://\S+", self.output)) or self._process.poll() is not None, 60)
        found = re.search(r"http://[^\s]+", self.output)
        self.url = found[0] if found else ""
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    def until_ready(self) -> Process:
        """Wait for /ready and for the last line of the greeting."""
        wait_for(lambda: self.ready()[0] == 200 and "Ctrl-C" in self.output, 60)
        return self

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and content of /ready; 0 while nobody answers."""
        try:
            response = self.client.get("/ready")
        except httpx.TransportError:
            return 0, {}
        return response.status_code, response.json()

    def complete(self, **fields: Any) -> httpx.Response:
        body = {"model": "tiny-lm", "prompt": "It was", "max_tokens": 8, "seed": 1, **fields}
        return self.client.post("/v1/completions", json=body)

    def classify(self, texts: Any, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/classify", json={"model": "tiny-judge", "input": texts, **fields})

    def metric(self, line: str) -> float:
        """The value of a line of /metrics."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        assert found, line
        return float(found[1])

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def exit_code(self, seconds: float = 60) -> int:
        return self._process.wait(seconds)

    def close(self) -> None:
        self.client.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so; fails when it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
