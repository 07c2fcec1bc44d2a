"""What the tasks say that their networks read of a text, for `langmill explain`."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmill.models.base import build_backbone
from langmill.tasks.base import TASKS, Explains, Generates
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.tasks.settings import shipped_task, tiny_backbone, tiny_options

pytestmark = pytest.mark.unit


def test_a_classifier_reads_the_text_as_it_tells_its_label(tokenizer: Tokenizer) -> None:
    task = shipped_task("classification", ("neg", "pos"), truncation="head_and_tail")
    assert isinstance(task, Explains)
    network = task.network(tiny_backbone(tokenizer.vocab_size, 8))
    tokens = tokenizer.encode("the film was good and the plot was not very dull")
    encoded = task.encode_input(network, tokenizer, "the film was good and the plot was not very dull")
    assert encoded.tokens == [*tokens[:4], *tokens[-4:]]
    assert encoded.left_out == len(tokens) - 8
    assert task.encode_input(network, tokenizer, "").tokens == [tokenizer.eot_id]


@pytest.mark.parametrize("name", ["language_modelling", "completion"])
def test_a_model_that_goes_on_reads_its_prompt(name: str, tokenizer: Tokenizer) -> None:
    task = shipped_task(name)
    assert isinstance(task, Explains) and isinstance(task, Generates)
    network = task.network(tiny_backbone(tokenizer.vocab_size, 64))
    encoded = task.encode_input(network, tokenizer, "the film")
    assert encoded.tokens == task.prompt_ids(tokenizer, "the film")
    assert encoded.left_out == 0
    long = task.encode_input(network, tokenizer, "the film " * 60)
    whole = task.prompt_ids(tokenizer, "the film " * 60)
    assert long.tokens[0] == tokenizer.eot_id
    assert len(long.tokens) <= 64
    assert long.left_out == len(whole) - len(long.tokens)


def test_an_encoder_reads_masks_as_its_own_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    task = shipped_task("masked_language_modelling")
    assert isinstance(task, Explains)
    network = task.network(build_backbone("encoder", tiny_options(), tokenizer.vocab_size, 8, "test"))
    tokenizer.special_ids["<|mask|>"] = 299
    try:
        encoded = task.encode_input(network, tokenizer, "the<|mask|> was")
        assert encoded.tokens == [*tokenizer.encode("the"), 299, *tokenizer.encode(" was")]
        assert task.encode_input(network, tokenizer, "the film " * 9).left_out > 0
    finally:
        del tokenizer.special_ids["<|mask|>"]


def test_every_task_of_ours_can_be_explained() -> None:
    for name in TASKS.names():
        assert isinstance(shipped_task(name, ("a", "b") if name == "classification" else ()), Explains), name
