"""What decides a token beside the network: penalties, bias, a guide; and the log probabilities that are told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import GeneratedSequence, generate, generate_tokens
from langmill.models.generation.network import Ending
from langmill.models.generation.sampling import adjusted
from tests.unit.models.conftest import VOCAB_SIZE, MakeModel

pytestmark = pytest.mark.unit
GREEDY = Sampling(6)
LOGITS_V = torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_penalties_count_the_new_text_and_not_the_prompt() -> None:
    sampling = replace(GREEDY, frequency_penalty=0.5, presence_penalty=0.25)
    found_V = adjusted(LOGITS_V, sampling, [3, 3, 1, 2, 2], prompt_length=2)
    assert found_V.tolist() == [1.0, 2.0 - 0.75, 3.0 - 1.25, 4.0]
    assert LOGITS_V.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_bias_is_added() -> None:
    found_V = adjusted(LOGITS_V, replace(GREEDY, logit_bias=((0, 100.0), (3, -2.5))))
    assert found_V.tolist() == [101.0, 2.0, 3.0, 1.5]
    assert adjusted(LOGITS_V, GREEDY) is LOGITS_V


def test_a_guide_shuts_tokens_out_also_those_that_it_does_not_know() -> None:
    found_V = adjusted(LOGITS_V, GREEDY, allowed_V=torch.tensor([True, False, True]))
    assert found_V.tolist() == [1.0, -math.inf, 3.0, -math.inf]
    longer_V = adjusted(LOGITS_V, GREEDY, allowed_V=torch.tensor([True, False, True, False, True, True]))
    assert longer_V.tolist() == [1.0, -math.inf, 3.0, -math.inf]


class OneOf:
    """Lets the tokens of one text through, one after the other."""

    def __init__(self, text: list[int], *, stop_id: int | None = None) -> None:
        self.text = text
        self.stop_id = stop_id
        self.taken: list[int] = []

    @property
    def ended(self) -> bool:
        return self.stop_id is None and len(self.taken) == len(self.text)

    def allowed(self) -> Tensor | None:
        allowed_V = torch.zeros(VOCAB_SIZE, dtype=torch.bool)
        rest = self.text[len(self.taken) :]
        allowed_V[rest[0] if rest else self.stop_id] = True
        return allowed_V

    def advance(self, token_id: int) -> None:
        self.taken.append(token_id)


def run(network: Any, sampling: Sampling, **asked: Any) -> tuple[list[Any], Ending]:
    tokens, found = generate_tokens(network, [3, 141, 59], sampling, **asked), []
    while True:
        try:
            found.append(next(tokens))
        except StopIteration as end:
            return found, end.value


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("stop_id", [None, 200])
def test_a_guided_text_is_what_the_guide_lets_through(
    make_model: MakeModel, temperature: float, stop_id: int | None
) -> None:
    guide = OneOf([5, 6, 7, 8], stop_id=stop_id)
    sampling = Sampling(20, temperature=temperature, stop_ids=(200,))
    tokens, ending = run(make_model(), sampling, guide=guide)
    assert [token.id for token in tokens] == [5, 6, 7, 8] == guide.taken
    assert ending is Ending.stop


def test_a_guide_that_lets_nothing_through_ends_the_text(make_model: MakeModel) -> None:
    guide = OneOf([5])
    guide.allowed = lambda: torch.zeros(VOCAB_SIZE, dtype=torch.bool)  # type: ignore[method-assign]
    assert run(make_model(), GREEDY, guide=guide) == ([], Ending.stop)


@torch.no_grad()
def test_log_probabilities_are_the_networks_own(make_model: MakeModel) -> None:
    network = make_model(std=0.3)
    sampling = replace(GREEDY, temperature=1.3, top_k=5, repetition_penalty=1.5, logit_bias=((9, 3.0),))
    tokens, _ = run(network, sampling, logprobs=3)
    ids = [3, 141, 59, *(token.id for token in tokens)]
    expected_TV = network(torch.tensor([ids]))[0].log_softmax(dim=-1)[2:]
    for token, row_V in zip(tokens, expected_TV, strict=False):
        assert token.logprobs.token_id == token.id
        assert token.logprobs.logprob == pytest.approx(float(row_V[token.id]), abs=1e-5)
        best = row_V.topk(3)
        assert [each[0] for each in token.logprobs.top] == best.indices.tolist()
        assert [each[1] for each in token.logprobs.top] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert [token.id for token in tokens] == list(generate(network, [3, 141, 59], sampling))


def test_no_new_tokens_are_allowed(make_model: MakeModel) -> None:
    assert run(make_model(), Sampling(0)) == ([], Ending.length)
    assert GeneratedSequence([1], Sampling(0), 32).ending is Ending.length


@torch.no_grad()
def test_the_logits_of_prompts_are_those_of_a_forward_pass(make_model: MakeModel) -> None:
    network, prompts = make_model(), [[3, 4, 5], [6, 7, 8, 9, 3]]
    for ids, found_TV in zip(prompts, network.prompt_logits(prompts), strict=True):
        torch.testing.assert_close(found_TV, network(torch.tensor([ids]))[0])
