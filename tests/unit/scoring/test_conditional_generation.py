"""Models that write a text for a text: what is scored, what is written, and what they are measured against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.models.generation.beam_search import run_to_end
from langmill.models.generation.config import Beams
from langmill.models.heads import TextToText
from langmill.scoring.base import Baseline, Scorer, Strength
from langmill.scoring.conditional_generation import ConditionalGenerationScorer
from langmill.scoring.pace import Pace
from langmill.tasks.base import Task
from langmill.tasks.completion import Completion
from langmill.tasks.conditional_generation import ConditionalGeneration
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused

from ..tasks.networks import PAIR_LENGTH, PAIRS, pair_network
from ..tasks.settings import evaluation, shipped_scorer, training_data

pytestmark = pytest.mark.unit
DECODING = {"max_new_tokens": 6, "num_beams": 2}


@pytest.fixture(params=["text_to_text", "completion"])
def scorer(request: pytest.FixtureRequest) -> ConditionalGenerationScorer:
    scorer = shipped_scorer(request.param, decoding=DECODING)
    assert isinstance(scorer, ConditionalGenerationScorer)
    return scorer


@pytest.fixture
def task(scorer: ConditionalGenerationScorer) -> ConditionalGeneration:
    return scorer.task


@pytest.fixture
def network(task: Task, tokenizer: Tokenizer) -> torch.nn.Module:
    return pair_network(task, tokenizer)


def test_the_score_is_the_likelihood_of_the_target_alone(
    task: ConditionalGeneration, scorer: ConditionalGenerationScorer, network: Any, tokenizer: Tokenizer
) -> None:
    scores = scorer.score(network, tokenizer, PAIRS, evaluation(batch_tokens=64))
    for row, document in enumerate(PAIRS):
        source, target = (tokenizer.encode(part) for part in task.parts(document))
        wanted = torch.tensor([[*target, tokenizer.eot_id]])
        with torch.no_grad():
            if isinstance(network, TextToText):
                read = torch.tensor([[tokenizer.eot_id, *target]])
                logits = network(torch.tensor([[*source, tokenizer.eot_id]]), None, read)[0]
            else:
                logits = network(torch.tensor([[tokenizer.eot_id, *source, *target]]))[0, len(source) :]
        nats = F.cross_entropy(logits, wanted[0], reduction="sum").item()
        assert scores["nats"][row].as_py() == pytest.approx(nats, rel=1e-4)
        assert scores["tokens"][row].as_py() == len(target) + 1
        assert scores["bytes"][row].as_py() == len(str(document.target).encode())
        assert scores["correct"][row].as_py() == int((logits.argmax(dim=-1) == wanted[0]).sum())


def test_what_is_written_is_what_is_measured(
    task: ConditionalGeneration, scorer: ConditionalGenerationScorer, network: Any, tokenizer: Tokenizer
) -> None:
    scores = scorer.score(network, tokenizer, PAIRS, evaluation())
    prompts = [task.prompt_ids(tokenizer, document.text) for document in PAIRS]
    for prompt, text in zip(prompts, scores["produced"].to_pylist(), strict=True):
        assert tokenizer.decode(searched(task, network, tokenizer, prompt)) == text
    figures = scorer.measure(scores, np.ones((1, len(PAIRS))))
    assert set(figures) == {metric.name for metric in scorer.metrics}
    exact = np.mean(
        [text == document.target for text, document in zip(scores["produced"].to_pylist(), PAIRS, strict=True)]
    )
    assert figures["exact_match"][0] == exact
    nats, num_bytes = sum(scores["nats"].to_pylist()), sum(scores["bytes"].to_pylist())
    assert figures["bits_per_byte"][0] == pytest.approx(nats / math.log(2) / num_bytes)


def test_how_fast_it_writes_is_told(
    scorer: ConditionalGenerationScorer, network: Any, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))  # each batch takes a second
    told: list[tuple[float, str | None]] = []
    pace = Pace(lambda amount=1, note=None: told.append((amount, note)))
    monkeypatch.setattr(scorer, "write", lambda network, tokenizer, prompts: [[5, 6, 7]] * len(prompts))
    scorer.score(network, tokenizer, PAIRS, evaluation(max_generated=2), pace)
    assert told == [(len(PAIRS) - 2, None), (2, "6 tokens/s written")]
    assert (pace.tokens, pace.seconds, pace.tokens_per_second) == (6, 1.0, 6.0)
    assert Pace.of(None).tokens_per_second is None and Pace.of(pace) is pace


def test_of_a_cap_on_answers_only_their_metrics_know(
    scorer: ConditionalGenerationScorer, network: Any, tokenizer: Tokenizer
) -> None:
    capped = evaluation(max_generated=2)
    scores, whole = (scorer.score(network, tokenizer, PAIRS, each) for each in (capped, evaluation()))
    there = [text is not None for text in scores["produced"].to_pylist()]
    assert sum(there) == 2 and scorer.measured(whole, "exact_match") is None
    assert [text for text in scores["produced"].to_pylist() if text is not None] == [
        text for text, each in zip(whole["produced"].to_pylist(), there, strict=True) if each
    ]
    assert scores["nats"] == whole["nats"]  # bits per byte is of all of them
    found, alone = (
        scorer.measure(each, np.ones((1, each.num_rows))) for each in (scores, whole.filter(pa.array(there)))
    )
    for name in scorer.options.metrics:
        assert found[name] == pytest.approx(alone[name]), name
        assert np.asarray(scorer.measured(scores, name)).tolist() == there
    assert scorer.measured(scores, "bits_per_byte") is None
    nothing = scorer.measure(scores, np.array([[0.0 if each else 1.0 for each in there]]))
    assert np.isnan(nothing[scorer.options.metrics[0]][0]) and np.isfinite(nothing["bits_per_byte"][0])
    assert scorer.joined(scores, PAIRS) == scores


def searched(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer, prompt: list[int], keep_placeholders: bool = False
) -> list[int]:
    """What `task.search` returns."""
    beams = Beams(6, 2, 1.0, (tokenizer.eot_id,), keep_placeholders)
    return run_to_end(task.search(network, tokenizer, prompt, beams))


def test_what_a_task_accepts_is_preferred_wherever_it_writes(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, name = PAIRS[0], "completion" if isinstance(task, Completion) else "text_to_text"
    keeping = shipped_scorer(name, decoding={**DECODING, "keep_placeholders": True}).with_task(task)
    prompt = task.prompt_ids(tokenizer, document.text)
    best = searched(task, network, tokenizer, prompt)
    monkeypatch.setattr(task, "accepts", lambda tokenizer, prompt_ids: lambda answer: list(answer) != best)
    assert searched(task, network, tokenizer, prompt) == best  # nothing is asked to be kept
    second = searched(task, network, tokenizer, prompt, keep_placeholders=True)
    assert second != best
    assert keeping.score(network, tokenizer, [document], evaluation())["produced"].to_pylist() == [
        tokenizer.decode(second)
    ]


def test_baselines_have_what_they_can_have(scorer: ConditionalGenerationScorer, tokenizer: Tokenizer) -> None:
    found = baselines(scorer, tokenizer, PAIRS[:2], max_length=PAIR_LENGTH)
    strengths = {name: each.strength for name, each in found.items()}
    assert strengths == {
        "copy": Strength.trivial,
        "translation_memory": Strength.strong,
        "unigram": Strength.trivial,
        "trigram": Strength.strong,
    }
    figures = {name: scorer.measure(each.scores, np.ones((1, 2))) for name, each in found.items()}
    assert figures["translation_memory"]["exact_match"][0] == 1  # it knows these very sources
    assert found["copy"].scores["produced"].to_pylist() == [document.text for document in PAIRS[:2]]
    assert "bits_per_byte" not in figures["copy"]
    assert set(figures["trigram"]) == {"bits_per_byte", "perplexity", "next_token_accuracy", "scored_share"}
    assert figures["trigram"]["bits_per_byte"][0] < figures["unigram"]["bits_per_byte"][0]


def baselines(scorer: Scorer, tokenizer: Tokenizer, documents: list[Document], max_length: int) -> dict[str, Baseline]:
    """The baselines of some documents, fitted on PAIRS."""
    parts = [[tokenizer.encode(part) for part in scorer.task.parts(document)] for document in PAIRS]

    class Pairs:
        tokens = np.array([token for pair in parts for token in (*pair[0], *pair[1], tokenizer.eot_id)])
        starts = np.cumsum([0, *(len(source) + len(target) + 1 for source, target in parts)])[:-1]

        @staticmethod
        def part_lengths(count: int) -> np.ndarray:
            assert count == 2
            return np.array([[len(part) for part in pair] for pair in parts])

    train = training_data(Pairs(), PAIRS)
    found = scorer.baselines(train, documents, tokenizer, evaluation(), max_length=max_length)
    return {baseline.name: baseline for baseline in found}


LONG = [
    Document("short", "the film", target="good"),
    Document("long", "the film was good", target="bad dull " * 30),
    Document("chinese", "the film", target="静夜思床前明月光疑是地上霜" * 4),
    Document("just", "the film", target="good"),
]


def test_of_a_long_target_what_is_scored_is_divided_by_its_own_bytes(
    task: ConditionalGeneration, scorer: ConditionalGenerationScorer, network: Any, tokenizer: Tokenizer
) -> None:
    scores = scorer.score(network, tokenizer, LONG, evaluation())
    ngrams = baselines(scorer, tokenizer, LONG, max_length=PAIR_LENGTH)
    whole = baselines(scorer, tokenizer, LONG, max_length=10_000)
    ones = np.ones((1, len(LONG)))
    scored = []
    for row, document in enumerate(LONG):
        source, target = (tokenizer.encode(part) for part in task.parts(document))
        room = PAIR_LENGTH if isinstance(network, TextToText) else PAIR_LENGTH - len(source)
        kept = [*target, tokenizer.eot_id][:room]
        scored.append(tokenizer.decode_bytes(kept))
        assert len(scored[-1]) < len(str(document.target).encode()) or row not in {1, 2}
        for table in (scores, ngrams["unigram"].scores, ngrams["trigram"].scores):
            assert table["tokens"][row].as_py() == len(kept)
            assert table["bytes"][row].as_py() == len(scored[-1])
            assert table["target_bytes"][row].as_py() == len(str(document.target).encode())
    share = sum(map(len, scored)) / sum(len(str(document.target).encode()) for document in LONG)
    figures = scorer.measure(scores, ones)
    assert figures["scored_share"][0] == pytest.approx(share) and share < 0.6
    nats = sum(scores["nats"].to_pylist())
    assert figures["bits_per_byte"][0] == pytest.approx(nats / math.log(2) / sum(map(len, scored)))
    assert scorer.measure(whole["trigram"].scores, ones)["scored_share"][0] == 1
    for name in ("unigram", "trigram"):  # a beginning costs what it costs in the whole target, and no context leaks in
        cut, full = ngrams[name].scores, whole[name].scores
        assert cut["nats"][0] == full["nats"][0] and cut["nats"][3] == full["nats"][3]
        assert cut["nats"][1].as_py() < full["nats"][1].as_py()
    older = scores.drop_columns(["target_bytes"])
    assert set(scorer.measure(older, ones)) == set(figures) - {"scored_share"}


@pytest.mark.parametrize(
    ("decoding", "refusal"),
    [
        ({"num_beams": 2, "repetition_penalty": 1.2}, "decoding.repetition_penalty is 1.2"),
        ({"num_beams": 1, "keep_placeholders": True}, "decoding.keep_placeholders is true"),
        ({"temperature": 0.5}, "decoding.temperature is 0.5"),
        ({"num_beams": 0}, "num_beams is 0"),
    ],
)
def test_impossible_options_are_refused(decoding: dict[str, Any], refusal: str) -> None:
    with refused(ConfigError, "impossible", refusal):
        shipped_scorer("completion", decoding=decoding)
