"""Texts that join and leave a common cache get the logits that they get alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from langmill.models import functions
from langmill.models.base import Kind, build_backbone
from langmill.models.decoder import Decoder
from langmill.models.generation.slots import Slot, Slots
from langmill.models.heads import LanguageModel, TextToText
from tests.unit.models.checkpoints import write_checkpoint
from tests.unit.models.conftest import MAX_LENGTH, VOCAB_SIZE, MakeModel, randomise
from tests.unit.models.pretrained import CAUSAL, load
from tests.unit.models.test_encoder_decoder import OPTIONS as T5_OPTIONS
from tests.unit.models.test_recurrent import OPTIONS as RECURRENT_OPTIONS

pytestmark = pytest.mark.unit
PUBLISHED = ["GPT2", "OPT", "Bloom"]
NETWORKS = ["decoder", "prepared", "prepared, from the left", "lstm", "gru", "encoder_decoder", *PUBLISHED]
REQUESTS = [  # when it comes, the prompt, new tokens
    (0, [3, 141, 59, 26, 5], 9),
    (0, [9], 3),
    (2, list(range(20)), 12),
    (3, [200, 13], 1),
    (4, [7, 7, 7], 14),
    (9, list(range(100, 117)), 6),
]
PREFIX_BYTES = 2**20


@pytest.fixture(params=NETWORKS)
def network(
    request: pytest.FixtureRequest, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    torch.manual_seed(1)
    if request.param in PUBLISHED:
        write_checkpoint(tmp_path, request.param, CAUSAL[request.param], vocab_size=VOCAB_SIZE)
        return load(tmp_path, Kind.causal)
    if request.param.startswith(("decoder", "prepared")):
        model = make_model()
        if request.param.startswith("prepared"):
            model.model.prepare_for_inference()
        if request.param.endswith("left"):  # as large matrices are read
            monkeypatch.setattr(functions, "_LARGE_MATRIX", 0)
        return model
    if request.param == "encoder_decoder":
        backbone: Any = build_backbone("encoder_decoder", T5_OPTIONS, VOCAB_SIZE, MAX_LENGTH, "test")
        return randomise(TextToText(backbone), 0.15).eval()
    backbone = build_backbone(request.param, RECURRENT_OPTIONS, VOCAB_SIZE, MAX_LENGTH, "test")
    return randomise(LanguageModel(backbone), 0.3).eval()


class Run:
    """One text: what was chosen, and from which logits."""

    def __init__(self, prompt: Sequence[int], count: int) -> None:
        self.prompt = list(prompt)
        self.count = count
        self.ids: list[int] = []
        self.logits: list[Tensor] = []

    def take(self, logits_V: Tensor) -> bool:
        """Whether the text goes on."""
        self.logits.append(logits_V.clone())
        self.ids.append(int(logits_V.argmax()))
        return len(self.ids) < self.count

    def alone(self, network: Any) -> list[Tensor]:
        """The logits of the same tokens, decoded as today."""
        cache, (ids,) = network.begin([self.prompt], self.count)
        found = [network.read([ids], cache)[0]]
        found += [network.read([[token]], cache)[0] for token in self.ids[:-1]]
        return found


def run_staggered(slots: Slots, requests: Sequence[tuple[int, list[int], int]], chunk: int) -> list[Run]:
    """Every text from its first to its last token, the others coming and going."""
    runs = [Run(prompt, count) for _, prompt, count in requests]
    texts: dict[Slot, Run] = {}
    for step in range(200):
        for (when, prompt, count), run in zip(requests, runs, strict=True):
            if when == step:
                slot = slots.begin(prompt, count)
                while (logits_V := slots.prefill(slot, chunk)) is None:
                    pass
                texts[slot] = run
                if not run.take(logits_V):
                    slots.free(slot)
                    del texts[slot]
        if texts:
            logits_BV = slots.decode({slot: run.ids[-1] for slot, run in texts.items()})
            for slot, logits_V in zip(list(slots.rows), logits_BV, strict=True):
                if not texts[slot].take(logits_V):
                    slots.free(slot)
                    del texts[slot]
        elif step > max(when for when, _, _ in requests):
            return runs
    raise AssertionError("texts that do not end")


@pytest.mark.parametrize("chunk", [256, 4])
@torch.inference_mode()
def test_logits_are_those_of_each_text_alone(network: Any, chunk: int) -> None:
    slots = Slots(network, 0)
    for run in run_staggered(slots, REQUESTS, chunk):
        assert len(run.ids) == run.count
        for ours, alone in zip(run.logits, run.alone(network), strict=True):
            torch.testing.assert_close(ours, alone, rtol=0, atol=1e-4)
    assert not slots.rows


@pytest.mark.parametrize("network", ["decoder", "encoder_decoder"], indirect=True)
@torch.inference_mode()
def test_memory_is_allocated_once(network: Any) -> None:
    slots: Any = Slots(network, PREFIX_BYTES)
    run_staggered(slots, REQUESTS, 256)
    memory = slots._cache.keys_LBGSE.data_ptr()
    for _ in range(3):
        run_staggered(slots, REQUESTS, 256)
    assert slots._cache.keys_LBGSE.data_ptr() == memory


@torch.inference_mode()
def test_a_prompt_that_is_cancelled_leaves_nothing(network: Any) -> None:
    slots = Slots(network, PREFIX_BYTES)
    kept = slots.begin([1, 2, 3], 5)
    slots.prefill(kept, 256)
    cancelled = slots.begin(list(range(20)), 5)
    slots.free(cancelled)
    assert slots.rows == [kept]
    slots.free(kept)
    assert not slots.rows


class Counting:
    """Counts the tokens that a network reads."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def read(self, new_ids: Any, cache: Any) -> Tensor:
        self.tokens += sum(map(len, new_ids))
        logits_BV: Tensor = self.network.read(new_ids, cache)
        return logits_BV


@torch.inference_mode()
def test_a_prefix_that_is_known_is_not_read_again(make_model: MakeModel) -> None:
    network = Counting(make_model())
    slots: Any = Slots(network, PREFIX_BYTES)
    system = list(range(18))
    requests = [(0, [*system, 40, 41], 4), (1, [*system, 50], 5), (20, [*system, 40, 41], 3)]
    runs = run_staggered(slots, requests, 256)
    for run in runs:
        for ours, alone in zip(run.logits, run.alone(network.network), strict=True):
            torch.testing.assert_close(ours, alone, rtol=0, atol=1e-4)
    # The first prompt whole, of the second what follows the system prompt, of the third its last token.
    assert network.tokens == (20 + 3) + (1 + 4) + (1 + 2)
    assert runs[2].ids == runs[0].ids[:3]


@torch.inference_mode()
def test_an_earlier_turn_with_its_answer_is_a_prefix(make_model: MakeModel) -> None:
    network = Counting(make_model())
    slots: Any = Slots(network, PREFIX_BYTES)
    (first,) = run_staggered(slots, [(0, list(range(16)), 5)], 256)
    network.tokens = 0
    run_staggered(slots, [(0, [*range(16), *first.ids, 99], 1)], 256)
    assert network.tokens == 2  # the last new token was never read


@pytest.mark.parametrize(("tokens", "most"), [(40, 256), (4000, 2)])
@torch.inference_mode()
def test_what_is_kept_of_prefixes_is_bounded(
    make_model: MakeModel, tokens: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langmill.models.generation.slots._MOST_PREFIXES", most)
    network = Counting(make_model())
    token_bytes = network.network.model.new_cache(1).token_bytes
    slots: Any = Slots(network, tokens * token_bytes)
    for first in range(6):
        run_staggered(slots, [(0, [first, *range(19)], 1)], 256)
    kept = slots._prefixes._kept
    assert [ids[0] for ids in kept] == [4, 5]
    assert Slots(network, 0)._prefixes._kept == {}


@torch.inference_mode()
def test_only_our_own_keys_and_values_are_shared(network: Any) -> None:
    slots = Slots(network, PREFIX_BYTES)
    run_staggered(slots, [(0, list(range(20)), 3)], 256)
    shared = isinstance(network.model, Decoder)
    assert bool(slots._prefixes._kept) == shared
