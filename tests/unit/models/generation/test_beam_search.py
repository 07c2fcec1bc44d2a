"""Beam search finds what transformers finds on the same weights, and what trying everything finds."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM
from transformers.generation.logits_process import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor

from langmill.errors import ConfigError
from langmill.models.base import build_backbone
from langmill.models.folder import save_model
from langmill.models.generation.beam_search import beam_search
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.generate import generate, generate_batch
from langmill.models.generation.sampling import choose, penalised
from langmill.models.heads import LanguageModel
from tests.refused import refused
from tests.unit.models.conftest import EOT_ID, MAX_LENGTH, MakeModel, randomise
from tests.unit.models.test_encoder_decoder import build as build_text_to_text
from tests.unit.models.test_encoder_decoder import theirs_of

pytestmark = pytest.mark.unit


def greedy(**changes: Any) -> Sampling:
    return Sampling(**{"max_new_tokens": 10, **changes})


def without_end(ids: list[int], stop_ids: tuple[int, ...]) -> list[int]:
    """What transformers wrote, up to the token that ended it; what follows that is padding."""
    for place, token in enumerate(ids):
        if token in stop_ids:
            return ids[:place]
    return ids


@pytest.fixture(params=[1, 2, 3])
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("num_beams", [2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_a_decoder_finds_what_transformers_finds(
    num_beams: int, length_penalty: float, seed: int, make_model: MakeModel, tmp_path: Path, tokenizer_file: Path
) -> None:
    network = make_model(seed, std=0.4)
    save_model(tmp_path / "model", network, {"langmill": {"eot_id": EOT_ID}}, tokenizer_file, {})
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "model").eval()
    random = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(9, 256, (length,), generator=random).tolist() for length in (4, 1, 7)]
    # the tokens that the network likes best end a text, so that ends really happen
    liked = network.read(*reversed(network.begin(prompts, 1)))[0].topk(12).indices.tolist()
    stop_ids = tuple(liked[6:])
    beams = Beams(12, num_beams, length_penalty, stop_ids)
    found = beam_search(network, prompts, beams)
    for prompt, own in zip(prompts, found, strict=True):
        output = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=12,
            num_beams=num_beams,
            do_sample=False,
            length_penalty=length_penalty,
            early_stopping=False,
            eos_token_id=list(stop_ids),
            pad_token_id=EOT_ID,
        )[0, len(prompt) :].tolist()
        assert own == without_end(output, stop_ids)


@pytest.mark.parametrize("num_beams", [1, 2, 4])
def test_an_encoder_decoder_finds_what_transformers_finds(num_beams: int, seed: int) -> None:
    # As many blocks in the decoder as in the encoder: the cache of transformers 5.23 takes that for granted.
    network = randomise(build_text_to_text(num_decoder_layers=2), 0.4).eval()
    theirs = theirs_of(network)
    random = torch.Generator().manual_seed(seed)
    sources = [[*torch.randint(9, 256, (length,), generator=random).tolist(), EOT_ID] for length in (6, 2, 9)]
    cache, first = network.begin(sources, 1)
    stop_ids = tuple(network.read(first, cache)[0].topk(12).indices.tolist()[6:])
    found = beam_search(network, sources, Beams(12, num_beams, 1.0, stop_ids))
    for source, own in zip(sources, found, strict=True):
        output = theirs.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            max_new_tokens=12,
            num_beams=num_beams,
            do_sample=False,
            eos_token_id=list(stop_ids),
            pad_token_id=0,
        )[0, 1:].tolist()
        assert own == without_end(output, stop_ids)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_enough_beams_find_the_best_of_all_texts(name: str) -> None:
    """With as many beams as there are texts, nothing is overlooked."""
    torch.manual_seed(4)
    options = {"embedding_dim": 8, "dim": 8, "num_layers": 1, "tie_embeddings": False, "dropout": 0.0}
    network = randomise(LanguageModel(build_backbone(name, options, 4, MAX_LENGTH, "test")), 0.8).eval()
    prompt, length, stop = [1, 2], 3, 0
    scores = {}
    for text in itertools.chain.from_iterable(itertools.product(range(1, 4), repeat=n) for n in range(length + 1)):
        ended = text if len(text) == length else (*text, stop)
        with torch.no_grad():
            logits = network(torch.tensor([[*prompt, *ended]]))[0, len(prompt) - 1 : -1].log_softmax(dim=-1)
        scores[text] = float(logits[torch.arange(len(ended)), torch.tensor(ended)].sum()) / len(ended)
    beams = Beams(length, 40, 1.0, (stop,))
    (found,) = beam_search(network, [prompt], beams)
    best = max(scores, key=lambda text: scores[text])
    assert tuple(found) == best
    (other,) = beam_search(network, [prompt], beams, [lambda text: tuple(text) != best and len(text) > 0])
    assert tuple(other) == max(scores.keys() - {best, ()}, key=lambda text: scores[text])
    (nothing_fits,) = beam_search(network, [prompt], beams, [lambda text: False])
    assert tuple(nothing_fits) == best


def test_one_beam_is_greedy(make_model: MakeModel) -> None:
    network = make_model(2, std=0.4)
    prompts = [[5, 6, 7], [8]]
    expected = generate_batch(network, prompts, [greedy()] * 2)
    assert beam_search(network, prompts, Beams(10, 1, 1.0, ())) == expected


def test_a_search_together_is_a_search_alone(make_model: MakeModel) -> None:
    network = make_model(3, std=0.4)
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    beams = Beams(10, 3, 1.0, (40, 41, 42, 43))
    assert beam_search(network, prompts, beams) == [beam_search(network, [prompt], beams)[0] for prompt in prompts]


def test_a_text_ends_where_the_network_can_look_back_no_further(make_model: MakeModel) -> None:
    network = make_model(1)
    prompt = list(range(MAX_LENGTH - 2))
    assert len(beam_search(network, [prompt], Beams(10, 2, 1.0, ()))[0]) == 3
    assert len(list(generate(network, prompt, greedy()))) == 3


@pytest.mark.parametrize("penalty", [0.7, 1.3, 2.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    logits_V = torch.randn(50, generator=torch.Generator().manual_seed(1)) * 3
    seen = [3, 7, 7, 20]
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([seen]), logits_V[None].clone())[0]
    torch.testing.assert_close(penalised(logits_V, penalty, seen), theirs)


def test_a_repetition_penalty_changes_greedy_texts_as_in_transformers(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path
) -> None:
    network = make_model(1, std=0.1)
    save_model(tmp_path / "model", network, {"langmill": {"eot_id": EOT_ID}}, tokenizer_file, {})
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "model").eval()
    prompt = [5, 6, 7]
    output = theirs.generate(
        torch.tensor([prompt]),
        max_new_tokens=20,
        do_sample=False,
        repetition_penalty=1.5,
        eos_token_id=None,
        pad_token_id=0,
    )[0, 3:].tolist()
    assert list(generate(network, prompt, greedy(repetition_penalty=1.5, max_new_tokens=20))) == output
    assert output != list(generate(network, prompt, greedy(max_new_tokens=20)))


@pytest.mark.parametrize("min_p", [0.05, 0.3, 0.9])
def test_min_p_keeps_what_transformers_keeps(min_p: float) -> None:
    logits_V = torch.randn(30, generator=torch.Generator().manual_seed(1)) * 2
    kept = torch.isfinite(MinPLogitsWarper(min_p)(torch.tensor([[0]]), logits_V[None].clone())[0])
    random = torch.Generator().manual_seed(2)
    drawn = {choose(logits_V, greedy(temperature=1.0, min_p=min_p), random) for _ in range(3000)}
    assert drawn <= set(kept.nonzero().flatten().tolist())
    assert len(drawn) > int(kept.sum()) * 0.8


@pytest.mark.parametrize("wrong", [{"min_p": 1.5}, {"repetition_penalty": 0.0}])
def test_impossible_sampling_is_refused(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with refused(ConfigError, "impossible", f"{name} is ", str(value)):
        greedy(**wrong)


def test_impossible_beams_are_refused() -> None:
    with refused(ConfigError, "impossible", "num_beams is 0", "1 to 100"):
        Beams(5, 0, 1.0, ())


class Undecided:
    """A network of four tokens whose logits are said beforehand, whatever was read."""

    max_length = 20

    def __init__(self, logits: list[float]) -> None:
        self.logits_V = torch.tensor(logits)

    def begin(self, prompts: Any, max_new_tokens: int) -> tuple[Any, list[list[int]]]:
        cache = type("Lengths", (), {"lengths": [1] * len(prompts), "keep": lambda self, rows: None})()
        return cache, [list(ids) for ids in prompts]

    def read(self, new_ids: Any, cache: Any) -> torch.Tensor:
        return self.logits_V.expand(len(new_ids), -1)


@pytest.mark.parametrize(
    ("logits", "greedy_close", "beams_close"),
    [
        ([3.0, 2.0, 1.0, 0.0], False, False),
        ([3.0, 2.9999, 1.0, 0.0], True, True),  # which is the best
        ([3.0, 2.0, 1.9999, 0.0], False, True),  # which of two is kept
        ([3.0, 2.0, 1.0, 0.9999], False, False),  # neither is
    ],
)
def test_choices_that_rounding_may_decide_are_told(logits: list[float], greedy_close: bool, beams_close: bool) -> None:
    network: Any = Undecided(logits)
    close: set[int] = set()
    generate_batch(network, [[5], [6]], [greedy(max_new_tokens=1), greedy(max_new_tokens=1, temperature=1.0)], close)
    assert close == ({0} if greedy_close else set())  # what is drawn depends on the seed
    close = set()
    beam_search(network, [[5]], Beams(1, 2, 0.0, ()), None, close)
    assert bool(close) == beams_close
