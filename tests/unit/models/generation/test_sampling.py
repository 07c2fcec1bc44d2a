"""Generation: equal to `transformers` and to decoding without a cache, repeatable, and stopped where it must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from langmill.errors import ConfigError, ModelError
from langmill.models.generation.config import GREEDY_BELOW, Sampling
from langmill.models.generation.generate import generate, generate_batch
from langmill.models.generation.network import Ending
from langmill.models.generation.sampling import choose
from langmill.models.heads import LanguageModel
from tests.refused import refused
from tests.unit.models.conftest import MAX_LENGTH, MakeModel

pytestmark = pytest.mark.unit
GREEDY = Sampling(12)
RANDOM = replace(GREEDY, temperature=1.0)
PROMPT = [3, 141, 59, 26, 5]


def finished(network: LanguageModel, prompt: list[int], sampling: Sampling) -> tuple[list[int], Ending]:
    ids = []
    stream = generate(network, prompt, sampling)
    while True:
        try:
            ids.append(next(stream))
        except StopIteration as end:
            return ids, end.value


@torch.no_grad()
def without_cache(network: LanguageModel, prompt: list[int], sampling: Sampling) -> list[int]:
    ids, generator = list(prompt), sampling.generator()
    for _ in range(sampling.max_new_tokens):
        ids.append(choose(network(torch.tensor([ids]))[0, -1], sampling, generator))
    return ids[len(prompt) :]


@pytest.mark.parametrize("tie", [True, False])
def test_greedy_equals_transformers_and_no_cache(make_model: MakeModel, tie: bool) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    network = make_model(tie=tie, std=0.3)
    reference = LlamaForCausalLM(LlamaConfig(**network.config(), bos_token_id=None, eos_token_id=None)).eval()
    reference.load_state_dict({**network.state_dict(), "lm_head.weight": network.head_weight_VD})
    expected = reference.generate(torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, pad_token_id=0)
    ids, ending = finished(network, PROMPT, GREEDY)
    assert ids == expected[0, len(PROMPT) :].tolist()
    assert ids == without_cache(network, PROMPT, GREEDY)
    assert len(set(ids)) >= 3
    assert ending is Ending.length


@pytest.mark.parametrize(
    "sampling", [RANDOM, replace(RANDOM, top_k=5), replace(RANDOM, top_p=0.7), replace(RANDOM, temperature=2.0)]
)
def test_sampling_with_cache_equals_sampling_without(make_model: MakeModel, sampling: Sampling) -> None:
    network = make_model()
    assert list(generate(network, PROMPT, sampling)) == without_cache(network, PROMPT, sampling)


def test_a_seed_means_the_same_whatever_else_is_drawn(make_model: MakeModel) -> None:
    network = make_model(std=0.05)
    first = list(generate(network, PROMPT, RANDOM))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert list(generate(network, PROMPT, RANDOM)) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert list(generate(network, PROMPT, replace(RANDOM, seed=2))) != first


def test_stops_before_a_stop_token(make_model: MakeModel) -> None:
    network = make_model()
    ids, _ = finished(network, PROMPT, GREEDY)
    stop = ids[4]
    assert finished(network, PROMPT, replace(GREEDY, stop_ids=(stop, 0))) == (ids[: ids.index(stop)], Ending.stop)


def test_stops_where_the_network_can_look_back_no_further(make_model: MakeModel) -> None:
    network = make_model()
    prompt = [7] * (MAX_LENGTH - 2)
    ids, ending = finished(network, prompt, GREEDY)
    assert (len(ids), ending) == (3, Ending.length)
    assert len(list(generate(network, [7] * MAX_LENGTH, GREEDY))) == 1


def test_a_batch_gives_what_each_prompt_gives_alone(make_model: MakeModel) -> None:
    network = make_model()
    prompts = [PROMPT, [9], list(range(MAX_LENGTH - 4)), [200, 13]]
    alone = list(generate(network, PROMPT, GREEDY))
    samplings = [replace(GREEDY, stop_ids=(alone[6],)), RANDOM, GREEDY, replace(RANDOM, max_new_tokens=3, seed=4)]
    expected = [list(generate(network, *pair)) for pair in zip(prompts, samplings, strict=True)]
    assert generate_batch(network, prompts, samplings) == expected
    assert [len(ids) for ids in expected[1:]] == [12, 5, 3]


def test_temperature_top_k_and_top_p_shape_the_distribution() -> None:
    logits_V = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25]))

    def shares(**options: Any) -> list[float]:
        sampling = replace(RANDOM, **options)
        generator = sampling.generator()
        drawn = torch.tensor([choose(logits_V, sampling, generator) for _ in range(2000)])
        return (torch.bincount(drawn, minlength=4) / 2000).tolist()

    assert shares() == pytest.approx([0.1, 0.5, 0.15, 0.25], abs=0.04)
    assert shares(top_k=2) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.04)
    assert shares(top_k=100) == pytest.approx([0.1, 0.5, 0.15, 0.25], abs=0.04)
    assert shares(top_p=0.6) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.04)
    assert shares(top_p=0.01) == [0, 1, 0, 0]
    assert shares(top_k=3, top_p=0.8) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.04)
    squares = torch.tensor([0.1, 0.5, 0.15, 0.25]) ** 2
    assert shares(temperature=0.5) == pytest.approx((squares / squares.sum()).tolist(), abs=0.04)
    assert shares(temperature=0.0) == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-46, 1e-45, 1e-40, 1e-38, 1e-20, 1e-6])
@pytest.mark.parametrize("more", [{}, {"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.5}, {"repetition_penalty": 1.5}])
def test_a_tiny_temperature_takes_the_most_likely_token(temperature: float, more: dict[str, Any]) -> None:
    logits_V = torch.tensor([-40.0, 1.0, 60.0, 3.0, -2.0])
    sampling = replace(RANDOM, temperature=temperature, **more)
    assert sampling.greedy
    assert {choose(logits_V, sampling, sampling.generator(), [0]) for _ in range(20)} == {2}


def test_the_smallest_temperature_that_draws_leaves_no_float() -> None:
    sampling = replace(RANDOM, temperature=GREEDY_BELOW)
    assert not sampling.greedy
    assert choose(torch.tensor([-1e4, 1e4, 2.0]), sampling, sampling.generator()) == 1


def test_a_tiny_top_p_keeps_the_most_likely_token() -> None:
    sampling = replace(RANDOM, top_p=1e-46)
    assert choose(torch.tensor([0.0, 2.0, 1.0]), sampling, sampling.generator()) == 1


@pytest.mark.parametrize("sampling", [GREEDY, RANDOM, replace(RANDOM, top_k=2), replace(RANDOM, top_p=0.5)])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_is_an_error_and_not_the_last_word(sampling: Sampling, wrong: float) -> None:
    with refused(ModelError, "diverged"):
        choose(torch.tensor([0.0, wrong, 1.0]), sampling, sampling.generator())


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"max_new_tokens": -1}, "0 or more"),
        ({"frequency_penalty": 2.1}, "-2 to 2"),
        ({"presence_penalty": -2.1}, "-2 to 2"),
        ({"temperature": -1.0}, "0 to 100"),
        ({"temperature": float("nan")}, "0 to 100"),
        ({"top_k": -1}, "0 or more"),
        ({"top_p": 0.0}, "above 0, at most 1"),
        ({"top_p": 1.1}, "above 0, at most 1"),
        ({"seed": -1}, "0 to"),
        ({"repetition_penalty": 1e-46}, "0.01 to 100"),
    ],
)
def test_impossible_sampling_is_refused(change: dict[str, float], allowed: str) -> None:
    (name,) = change
    with refused(ConfigError, "impossible", f"{name} is ", allowed):
        replace(GREEDY, **change)


def test_impossible_prompts_are_refused(make_model: MakeModel) -> None:
    network = make_model()
    with refused(ModelError, "impossible", "empty"):
        next(generate(network, [], GREEDY))
    with refused(ModelError, "impossible", "33", "32"):
        next(generate(network, [1] * 33, GREEDY))
    with refused(ModelError, "impossible", "eval()"):
        next(generate(network.train(), PROMPT, GREEDY))
