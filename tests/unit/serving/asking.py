"""What the tests of real clients share."""

from __future__ import annotations

from typing import Any

import httpx
import torch

from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate
from langmill.tokenization.chat_template import Message
from tests.unit.serving.small_server import KEY, SmallServer

ASKED: list[Any] = [{"role": "user", "content": "the film"}]


def ask(small: SmallServer, path: str, **body: Any) -> httpx.Response:
    """A request with the key."""
    return httpx.post(f"{small.url}{path}", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)


def greedy(small: SmallServer, name: str, ids: list[int], tokens: int) -> str:
    """What the model writes after some tokens, without the server."""
    model = small.models[name]
    stop_ids = model.task.stop_ids(model.tokenizer)  # type: ignore[attr-defined]
    with torch.inference_mode():
        return model.tokenizer.decode(list(generate(model.network, ids, Sampling(tokens, stop_ids=stop_ids))))  # type: ignore[arg-type]


def chat_ids(small: SmallServer, *said: tuple[str, str]) -> list[int]:
    """The tokens of a conversation with the chat model, without the server."""
    model = small.models["chat"]
    return model.task.conversation_ids(model.tokenizer, [Message(*each) for each in said])  # type: ignore[attr-defined]
