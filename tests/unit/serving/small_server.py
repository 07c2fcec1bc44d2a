"""A started server with five small models of drawn weights: what real clients are let loose on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import uvicorn
import yaml

from langmill.config.compose import compose_serving, plain
from langmill.config.sections import Serving
from langmill.models.base import build_backbone
from langmill.models.folder import save_model
from langmill.serving.alias_state import AliasState, RegisteredVersion
from langmill.serving.app import build_app
from langmill.serving.connections import Server
from langmill.serving.engine import Engine
from langmill.serving.jobs import LoadedVersion
from langmill.serving.keys import KeyRing, digest
from langmill.serving.metrics import Metrics
from langmill.serving.server import listen
from langmill.serving.service import Service
from langmill.serving.warm_up import warm_up
from langmill.tasks.loading import LoadedModel, interface_of, load_model
from langmill.tokenization.chat_template import IM_END, IM_START
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.unit.tasks.conftest import sentences
from tests.unit.tasks.settings import CONF, shipped_task, tiny_options

KEY = "a-key"
MAX_LENGTH = 160
"""Context length of every model, in tokens."""
LABELS = ("negative", "positive")
METRICS = {
    "metric": "bits_per_byte", "better": "lower", "value": 2.5, "low": 2.4, "high": 2.6,
    "trivial_baseline": "unigram 4.1",
}  # fmt: skip


def _options(architecture: str) -> dict[str, Any]:
    if architecture == "decoder":
        return tiny_options()
    file = {"gru": "gru-small", "encoder_decoder": "encoder-decoder-small"}[architecture]
    values: dict[str, Any] = yaml.safe_load((CONF / "model" / f"{file}.yaml").read_text())["options"]
    small = {"dim": 16, "num_heads": 2, "hidden_dim": 32, "dropout": 0.0, "embedding_dim": 16}
    return {name: small.get(name, value) for name, value in values.items()}


MODELS = {
    "chat": ("chat", "decoder", {}),
    "writer": ("language_modelling", "decoder", {}),
    "gru": ("language_modelling", "gru", {}),
    "translator": ("text_to_text", "encoder_decoder", {"source_language": "en", "target_language": "de"}),
    "judge": ("classification", "decoder", {}),
}
"""By name: the task, the architecture, and the task's options."""


def make_folder(folder: Path, name: str, tokenizer_file: Path) -> Path:
    """A model folder as training packs it, with drawn weights."""
    task_name, architecture, changes = MODELS[name]
    labels = LABELS if task_name == "classification" else ()
    task, tokenizer = shipped_task(task_name, labels, **changes), Tokenizer.load(tokenizer_file)
    options = _options(architecture)
    torch.manual_seed(5)
    backbone = build_backbone(architecture, options, tokenizer.vocab_size, MAX_LENGTH, "test")
    network = task.network(backbone)
    for weight in network.parameters():  # larger than at a training's start, so that texts differ
        torch.nn.init.normal_(weight, std=0.3)
    own = {
        "recipe": name,
        "task": {"name": task_name, "options": plain(task.options), "labels": list(labels)},
        "model": {"architecture": architecture, "options": options},
        "max_length": MAX_LENGTH,
        "eot_id": tokenizer.eot_id,
    }
    interface = interface_of(task, backbone, MAX_LENGTH, tokenizer)
    save_model(folder, network, {"langmill": own}, tokenizer_file, {"provenance": name}, interface=interface)
    return folder


@dataclass
class SmallServer:
    """A server that listens."""

    url: str
    models: dict[str, LoadedModel]
    engine: Engine
    settings: Serving


class _Following:
    """A follower that has found everything."""

    def __init__(self) -> None:
        registered = RegisteredVersion(1, "p", {}, METRICS)
        self.alias_states = {name: AliasState(registered, "registry") for name in MODELS}

    def failure(self) -> str | None:
        return None


class _Previous:
    """A previous version of `writer`, which is the same once more."""

    def __init__(self, models: dict[str, LoadedModel]) -> None:
        self._loaded = LoadedVersion("writer", 0, models["writer"], 8)

    def known(self, name: str) -> dict[str, int]:
        return {"writer@previous": 0} if name == "writer" else {}

    def in_memory(self, name: str, alias: str) -> LoadedVersion:
        assert (name, alias) == ("writer", "previous")
        return self._loaded

    loaded = in_memory


@contextlib.contextmanager
def serving(folder: Path, **changes: Any) -> Iterator[SmallServer]:
    """Make the models, start a server with them and with `KEY` as its key, and stop it."""
    special = {True: [IM_START, IM_END], False: []}
    files = {}
    for chats, names in special.items():
        files[chats] = folder / f"tokenizer-{chats}.json"
        texts = [*sentences(50, 20, 0), '{"name": "film", "good": true}', "naïve café 映画"]
        train_tokenizer("bpe", 330, texts, files[chats], lambda _: None, special_tokens=names)
    models = {name: load_model(make_folder(folder / name, name, files[name == "chat"]), verify=True) for name in MODELS}
    small = {"recipes": list(MODELS), "port": 0, "max_prompt_tokens": MAX_LENGTH, "max_new_tokens": 64, "threads": 1}
    settings = dataclasses.replace(compose_serving(), **{**small, **changes})
    metrics = Metrics()
    engine = Engine.of(settings, metrics)
    for name, model in models.items():
        loaded = LoadedVersion(name, 1, model, model.tokenizer.longest_token)
        warm_up(loaded)
        engine.publish(loaded)
    service = Service(settings, engine, _Following(), metrics, int(time.time()), beside=_Previous(models))
    config = uvicorn.Config(
        build_app(service, KeyRing.fixed([digest(KEY)])), http="h11", loop="asyncio", lifespan="off", ws="none",
        log_config=None, access_log=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = Server(config, settings, metrics)
    engine.start()
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        try:
            yield SmallServer(f"http://127.0.0.1:{listener.getsockname()[1]}", models, engine, settings)
        finally:
            server.should_exit = True
            thread.join(10)
            engine.stop()
