"""What a chat model answers over HTTP: its own words, without the token that ends its turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from langmill.models.generation.config import GenerationConfig
from langmill.serving.jobs import LoadedVersion
from langmill.tasks.chat import Chat
from langmill.tasks.loading import LoadedModel
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.serving.conftest import Server, completion
from tests.unit.tasks.conftest import sentences
from tests.unit.tasks.settings import shipped_task

pytestmark = pytest.mark.unit
ANSWER = "the film was good"


class Parrot(nn.Module):
    """A network that always says the same, ends its turn, and would go on."""

    max_length = 64

    def __init__(self, said: list[int], vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.said, self.vocab_size = said, vocab_size

    def begin(self, prompts: Any, room: int) -> Any:
        return Said(), [list(ids) for ids in prompts]

    def read(self, new_ids: Any, cache: Any) -> torch.Tensor:
        logits = torch.full((len(new_ids), self.vocab_size), -20.0)
        logits[:, self.said[cache.length]] = 0.0
        cache.length += 1
        return logits


class Said:
    """How much of it has been said."""

    length = 0

    def keep(self, rows: list[int]) -> None:
        """All rows say the same."""


@pytest.fixture
def chat_server(server: Server, tmp_path: Path) -> Server:
    from langmill.tokenization.training import train_tokenizer

    file = tmp_path / "tokenizer.json"
    special = ["<|im_start|>", "<|im_end|>"]
    train_tokenizer("bpe", 320, sentences(50, 20, 0), file, lambda _: None, special_tokens=special)
    tokenizer = Tokenizer.load(file)
    task = shipped_task("chat")
    assert isinstance(task, Chat)
    words = tokenizer.encode(ANSWER)
    said = [*words, tokenizer.special_ids["<|im_end|>"], *tokenizer.encode("\nuser") * 9, *words * 20]
    config = {"langmill": {"recipe": "r", "max_length": 64}}
    network = Parrot(said, tokenizer.vocab_size)
    model = LoadedModel(
        tmp_path, task, network, tokenizer, {"provenance": "p"}, config, GenerationConfig(30, temperature=0.0)
    )
    server.engine.publish(LoadedVersion("writer", 3, model, longest_token=99))
    return server


@pytest.mark.parametrize("asked", [{}, {"num_beams": 3}, {"temperature": 0.7, "seed": 1}])
def test_an_answer_ends_with_the_turn_and_shows_no_token_of_it(chat_server: Server, asked: dict[str, Any]) -> None:
    (choice,) = completion(chat_server, **asked).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == (ANSWER, "stop")


def test_a_stream_ends_with_the_turn_too(chat_server: Server) -> None:
    response = completion(chat_server, stream=True)
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == ANSWER
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert "im_end" not in response.text


def test_langmill_generate_asks_as_the_user(chat_server: Server) -> None:
    found = chat_server.engine.loaded("writer")
    assert found is not None and isinstance(found.model.task, Chat)
    model = found.model
    assert model.generate("Hi", {}, "writer") == ANSWER
    asked = model.tokenizer.decode(found.model.task.prompt_ids(model.tokenizer, "Hi"))
    assert asked == "user\nHi\nassistant\n"


def test_a_chat_is_shown_with_a_question(chat_server: Server) -> None:
    card, *_ = chat_server.ask("GET", "/v1/models").json()["data"]
    assert card["examples"]["/v1/completions"]["prompt"].endswith("?")
