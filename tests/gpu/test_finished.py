"""A finished model on a card scores, writes, explains and serves what it does on the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from langmill.evaluation.explain import attention_maps, attribute
from langmill.models.generation.beam_search import beam_search
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.generate import generate, generate_batch
from langmill.serving.engine import Engine
from langmill.serving.generation import Completion
from langmill.serving.jobs import Job, LoadedVersion
from langmill.serving.metrics import Metrics
from langmill.serving.routes.classify import Classification
from langmill.serving.warm_up import warm_up
from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.tokenizer import Tokenizer
from tests.gpu.material import NEEDS_CARD, finished_model
from tests.unit.evaluation.explained import model as save_and_load
from tests.unit.models.checkpoints import write_checkpoint
from tests.unit.models.pretrained import CAUSAL, ENCODER_DECODERS, HEADS, KINDS, load
from tests.unit.scoring.test_metrics import CASES, case_of
from tests.unit.tasks.conftest import sentences
from tests.unit.tasks.networks import masking_tokenizer
from tests.unit.tasks.settings import evaluation

pytestmark = NEEDS_CARD
GREEDY = Sampling(24, 0.0, 0, 1.0, 0.0, 1.0, seed=1, stop_ids=(0,))
WAYS = {
    "greedy": GREEDY,
    "penalised": replace(GREEDY, repetition_penalty=1.3),
    "drawn": replace(GREEDY, temperature=1.0, top_k=20, top_p=0.9),
}
WRITERS = {
    "decoder": ("language_modelling", "decoder-small"),
    "gru": ("completion", "gru-small"),
    "lstm": ("language_modelling", "lstm-small"),
    "rnn": ("language_modelling", "rnn-small"),
    "encoder_decoder": ("text_to_text", "encoder-decoder-small"),
}


@pytest.fixture(autouse=True)
def on_card() -> Iterator[None]:
    with finished_model() as device:
        assert device == "cuda"
        yield


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return masking_tokenizer(tmp_path_factory.mktemp("masking"))


def assert_close(one: pa.Table, other: pa.Table) -> None:
    """Counts, labels and texts are equal; numbers but for rounding."""
    assert one.column_names == other.column_names
    for name in one.column_names:
        values, others = (table[name].combine_chunks() for table in (one, other))
        if name == "position_nats":
            values, others = values.flatten(), others.flatten()
        if pa.types.is_floating(values.type):
            assert np.allclose(values, others, rtol=1e-4, atol=1e-5), name
        else:
            assert values.equals(others), name


@pytest.mark.parametrize("case", CASES)
def test_scores_are_the_cpus_whatever_is_scored_together(case: str, masking: Tokenizer) -> None:
    scorer, documents, network = case_of(case, masking, 40)
    on_cpu = scorer.score(network, masking, documents, evaluation(batch_tokens=512))
    network.cuda()
    few, many, again = (
        scorer.score(network, masking, documents, evaluation(batch_tokens=batch_tokens))
        for batch_tokens in (512, 16_384, 16_384)
    )
    assert_close(few, on_cpu)
    assert_close(many, on_cpu)
    assert again.equals(many)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("writer", WRITERS)
def test_texts_are_the_cpus(writer: str, way: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    prompts = [[5, 9, 30], [7], [40, 41, 42, 43, 44]]
    network: Any = save_and_load(tmp_path, *WRITERS[writer], tokenizer).network
    expected = generate_batch(network, prompts, [WAYS[way]] * 3), list(generate(network, prompts[0], WAYS[way]))
    network.cuda()
    assert expected == (
        generate_batch(network, prompts, [WAYS[way]] * 3),
        list(generate(network, prompts[0], WAYS[way])),
    )
    assert len(set(expected[1])) > 1


@pytest.mark.parametrize("writer", WRITERS)
def test_searches_find_what_they_find_on_the_cpu(writer: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    prompts, beams = [[5, 9, 30], [7], [40, 41, 42, 43, 44]], Beams(16, 4, 1.0, (0,))
    network: Any = save_and_load(tmp_path, *WRITERS[writer], tokenizer).network
    expected = beam_search(network, prompts, beams)
    assert beam_search(network.cuda(), prompts, beams) == expected


@pytest.mark.parametrize("family", [*CAUSAL, *ENCODER_DECODERS])
def test_models_of_transformers_write_the_same(family: str, tmp_path: Path) -> None:
    prompts, beams = [[5, 9, 13], [7, 8], [10, 11, 12, 14]], Beams(8, 3, 1.0, (2,))
    write_checkpoint(tmp_path, family, HEADS[family])
    network: Any = load(tmp_path, KINDS[family])
    sampling = replace(GREEDY, max_new_tokens=8, stop_ids=(2,))
    expected = generate_batch(network, prompts, [sampling] * 3), beam_search(network, prompts, beams)
    network.cuda()
    assert (generate_batch(network, prompts, [sampling] * 3), beam_search(network, prompts, beams)) == expected


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(max_running=3, max_waiting=8, metrics=Metrics(), stalled_seconds=30.0)
    made.start()
    yield made
    made.stop()


def answered(engine: Engine, jobs: list[Job[Any]]) -> list[list[Any]]:
    """The events of jobs that run side by side."""

    async def all_of_them() -> list[list[Any]]:
        streams = [engine.submit(job) for job in jobs]

        async def collect(stream: Any) -> list[Any]:
            return [event async for event in stream]

        return list(await asyncio.gather(*map(collect, streams)))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("writer", ["decoder", "encoder_decoder", "gru"])
def test_the_server_writes_the_same(writer: str, tmp_path: Path, tokenizer: Tokenizer, engine: Engine) -> None:
    found = []
    save_and_load(tmp_path, *WRITERS[writer], tokenizer)
    for device in ("cpu", "cuda"):
        loaded = LoadedVersion("writer", 1, load_model(tmp_path, verify=True, device=device), longest_token=16)
        warm_up(loaded)
        task: Any = loaded.model.task
        jobs: list[Job[Any]] = [
            Completion(loaded, task, prompt_ids=[7, number], decoding=GREEDY, stop=(), streamed=True)
            for number in range(5, 9)
        ]
        beams = Beams(8, 3, 1.0, (0,))
        jobs.append(Completion(loaded, task, prompt_ids=[7, 9], decoding=beams, stop=(), streamed=False))
        chunks = answered(engine, jobs)
        found.append([("".join(chunk.text for chunk in each), each[-1].tokens, each[-1].ending) for each in chunks])
    assert found[0] == found[1]


@pytest.mark.parametrize("network", ["encoder-small", "lstm-small"])
def test_the_server_classifies_the_same(network: str, tmp_path: Path, tokenizer: Tokenizer, engine: Engine) -> None:
    found = []
    save_and_load(tmp_path, "classification", network, tokenizer)
    for device in ("cpu", "cuda"):
        loaded = LoadedVersion("judge", 1, load_model(tmp_path, verify=True, device=device), longest_token=16)
        warm_up(loaded)
        task: Any = loaded.model.task
        job = Classification(loaded, task, sentences(20, 40, 3), prompt_tokens=120)
        found.append(answered(engine, [job])[0][-1])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def on_both(folder: Path, task: str, network: str, tokenizer: Tokenizer) -> list[LoadedModel]:
    save_and_load(folder, task, network, tokenizer)
    return [load_model(folder, verify=True, device=device) for device in ("cpu", "cuda")]


@pytest.mark.parametrize("network", ["decoder-small", "encoder-small", "gru-small"])
def test_a_label_is_attributed_as_on_the_cpu(network: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    one, other = (
        attribute(model, "m", "the film was good and the plot bad")
        for model in on_both(tmp_path, "classification", network, tokenizer)
    )
    assert (one.pieces, one.label) == (other.pieces, other.label)
    np.testing.assert_allclose(one.shares_T, other.shares_T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "network"), [("language_modelling", "decoder-small"), ("text_to_text", "encoder-decoder-small")]
)
def test_attention_is_the_cpus(task: str, network: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    one, other = (
        attention_maps(model, "m", "the film was good") for model in on_both(tmp_path, task, network, tokenizer)
    )
    assert (one.rows, one.columns, one.answer) == (other.rows, other.columns, other.answer)
    np.testing.assert_allclose(one.weights_LHTS, other.weights_LHTS, rtol=1e-3, atol=1e-5)
