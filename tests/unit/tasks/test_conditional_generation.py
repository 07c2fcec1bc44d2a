"""Tasks that write a text for a text: what is learned, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.models.generation.config import Sampling
from langmill.tasks.base import Task
from langmill.tasks.completion import Completion
from langmill.tasks.conditional_generation import ConditionalGeneration
from langmill.tasks.pairs import Pair
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused

from .networks import PAIR_LENGTH, PAIRS, pair_network, tiny_pair_backbone
from .settings import shipped_task

pytestmark = pytest.mark.unit


@pytest.fixture(params=["text_to_text", "completion"])
def task(request: pytest.FixtureRequest) -> ConditionalGeneration:
    task = shipped_task(request.param)
    assert isinstance(task, ConditionalGeneration)
    return task


@pytest.fixture
def network(task: Task, tokenizer: Tokenizer) -> torch.nn.Module:
    return pair_network(task, tokenizer)


def test_the_room_for_an_answer_is_what_the_network_can_write(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer
) -> None:
    """A server refuses to be asked for more, and says how many it would be."""
    ids = task.prompt_ids(tokenizer, "what")
    written = list(task.generate(network, ids, Sampling(10_000)))
    assert len(written) == task.room(ids, task.max_length(network))


def test_a_translation_that_keeps_the_placeholders_is_accepted(tokenizer: Tokenizer) -> None:
    task, other = shipped_task("text_to_text"), shipped_task("completion")
    assert isinstance(task, ConditionalGeneration) and isinstance(other, ConditionalGeneration)
    prompt = task.prompt_ids(tokenizer, "%d of {name}")
    assert other.accepts(tokenizer, prompt) is None
    accepts = task.accepts(tokenizer, prompt)
    assert accepts is not None
    assert accepts(tokenizer.encode("{name}, %d"))
    assert not accepts(tokenizer.encode("{Name}, %d"))
    assert not accepts(tokenizer.encode("{name}, %d, %d"))


def test_labels_are_smoothed_in_training_only(tokenizer: Tokenizer) -> None:
    plain, smoothed = (shipped_task("text_to_text", label_smoothing=smoothing) for smoothing in (0.0, 0.3))
    torch.manual_seed(3)
    network = plain.network(tiny_pair_backbone(tokenizer.vocab_size))
    assert isinstance(plain, ConditionalGeneration)
    encoded = [Pair(*(np.array(tokenizer.encode(part)) for part in plain.parts(document))) for document in PAIRS]
    batch = plain.form(PAIR_LENGTH, tokenizer.eot_id).collate(encoded)
    assert smoothed.loss(network.eval(), batch) == plain.loss(network, batch)
    assert smoothed.loss(network.train(), batch) != plain.loss(network, batch)


def test_documents_that_can_not_be_used_have_a_reason() -> None:
    task = shipped_task("text_to_text", only={"source": ["imdb"]})
    assert task.check(Document("a", "")) == "empty_text"
    assert task.check(Document("a", "x")) == "missing_target"
    assert task.check(Document("a", "x", target="y", metadata={"source": "elsewhere"})) == "not_selected"
    assert task.check(PAIRS[0]) is None


@pytest.mark.parametrize("answers", ["Paris", "{}", '"Paris"', "3", '[["a"]]', "[null]", "[" * 100_000, '["a"'])
def test_answers_that_are_no_list_of_texts_are_found_before_training(answers: str) -> None:
    document = replace(PAIRS[0], metadata={"answers": answers})
    assert shipped_task("text_to_text").check(document) == "unreadable_answers"
    assert shipped_task("completion").check(document) == "unreadable_answers"


@pytest.mark.parametrize("answers", ["", "[]", '["Paris", "the city"]', "[1921, 2.5]"])
def test_answers_in_a_list_are_taken(answers: str) -> None:
    assert shipped_task("completion").check(replace(PAIRS[0], metadata={"answers": answers})) is None


@pytest.mark.parametrize("history", ["Hi", "{}", '["Hi", "Hello"]', '[["Hi"]]', '[["Hi", 1]]', '["ab"]', "[" * 100_000])
def test_a_history_that_is_no_list_of_pairs_is_found_before_training(history: str) -> None:
    document = replace(PAIRS[0], metadata={"history": history})
    assert shipped_task("chat").check(document) == "unreadable_history"
    assert shipped_task("completion").check(document) is None  # it has no turns


def test_a_template_is_filled_with_text_metadata_and_earlier_turns(tokenizer: Tokenizer) -> None:
    turn = "User: {user}\nAssistant: {assistant}\n"  # as conf/task/chat.yaml was until there was a task of its own
    task = shipped_task("completion", template="User: {text}\nAssistant: ", turn=turn)
    assert isinstance(task, Completion)
    history = json.dumps([["Hi", "Hello"], ["Who are you?", "A model."]])
    document = Document("c", "Really?", target="Yes.", metadata={"history": history})
    assert task.prompt(document) == (
        "User: Hi\nAssistant: Hello\nUser: Who are you?\nAssistant: A model.\nUser: Really?\nAssistant: "
    )
    plain = shipped_task("completion", template="[{source}] {text} {{x}}\n")
    assert isinstance(plain, Completion)
    assert plain.prompt(PAIRS[0]) == "[imdb] the film was good {x}\n"
    asked = tokenizer.decode(plain.prompt_ids(tokenizer, "the film"))
    assert asked == "[] the film {x}\n"


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"template": "no text"}, "{text}"),
        ({"template": "{text!r}"}, "nothing but a name"),
        ({"template": "{text.__class__}"}, "nothing but a name"),
        ({"template": "{text"}, "{name}"),
        ({"turn": "{user}"}, "{user} and {assistant}"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], allowed: str) -> None:
    ((name, value),) = options.items()
    with refused(ConfigError, "impossible", f"{name} is ", value, allowed):
        shipped_task("completion", **options)


def test_labels_can_not_be_smoothed_away() -> None:
    with refused(ConfigError, "impossible", "label_smoothing is 1", "0 to below 1"):
        shipped_task("text_to_text", label_smoothing=1)


def test_pairs_are_read_from_text(task: ConditionalGeneration, tokenizer: Tokenizer) -> None:
    pair = Pair(np.array(tokenizer.encode("the film")), np.array(tokenizer.encode("good")))
    batch = task.form(PAIR_LENGTH, tokenizer.eot_id).collate([pair])
    counted = batch["targets"][0][batch["targets"][0] >= 0].tolist()
    assert counted == [*tokenizer.encode("good"), tokenizer.eot_id]
