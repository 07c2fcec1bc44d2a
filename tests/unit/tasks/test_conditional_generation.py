"""Tasks that write a text for a text: what is scored, what is written, and what they are measured against."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.models.base import build_backbone
from langmill.models.generation.beam_search import run_to_end
from langmill.models.generation.config import Beams, greedy_decoding
from langmill.models.heads import TextToText
from langmill.tasks.base import Baseline, Strength, Task
from langmill.tasks.completion import Completion
from langmill.tasks.conditional_generation import ConditionalGeneration
from langmill.tasks.pairs import Pair
from langmill.tokenization.tokenizer import Tokenizer

from .settings import CONF, evaluation, shipped_task, tiny_backbone, training_data

pytestmark = pytest.mark.unit
REACH = 48
WRITING = {"max_new_tokens": 6, "num_beams": 2, "length_penalty": 1.0, "repetition_penalty": 1.0}
PAIRS = [
    Document(f"d{number}", f"the film was {word}", target=f"{word} plot", metadata={"source": "imdb"})
    for number, word in enumerate(["good", "bad", "dull", "good good", "bad dull bad"])
]


def tiny_pair_backbone(vocab_size: int) -> Any:
    values = yaml.safe_load((CONF / "model" / "encoder-decoder-small.yaml").read_text())
    options = {**values["options"], "dim": 16, "num_heads": 2, "hidden_dim": 32, "dropout": 0.0}
    return build_backbone("encoder_decoder", options, vocab_size, REACH, "test")


@pytest.fixture(params=["text_to_text", "completion"])
def task(request: pytest.FixtureRequest) -> ConditionalGeneration:
    task = shipped_task(request.param, writing=WRITING)
    assert isinstance(task, ConditionalGeneration)
    return task


@pytest.fixture
def network(task: Task, tokenizer: Tokenizer) -> torch.nn.Module:
    torch.manual_seed(3)
    pair = isinstance(task, Completion)
    size = tokenizer.vocab_size
    network = task.network(tiny_backbone(size, REACH) if pair else tiny_pair_backbone(size))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return network.eval()


def test_the_score_is_the_likelihood_of_the_target_alone(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer
) -> None:
    scores = task.score(network, tokenizer, PAIRS, evaluation(batch_tokens=64))
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


def test_what_is_written_is_what_is_measured(task: ConditionalGeneration, network: Any, tokenizer: Tokenizer) -> None:
    scores = task.score(network, tokenizer, PAIRS, evaluation())
    prompts = [task.prompt_ids(tokenizer, document.text) for document in PAIRS]
    for prompt, text in zip(prompts, scores["produced"].to_pylist(), strict=True):
        assert tokenizer.decode(searched(task, network, tokenizer, prompt)) == text
    figures = task.measure(scores, np.ones((1, len(PAIRS))))
    assert set(figures) == {metric.name for metric in task.metrics}
    exact = np.mean(
        [text == document.target for text, document in zip(scores["produced"].to_pylist(), PAIRS, strict=True)]
    )
    assert figures["exact_match"][0] == exact
    nats, num_bytes = sum(scores["nats"].to_pylist()), sum(scores["bytes"].to_pylist())
    assert figures["bits_per_byte"][0] == pytest.approx(nats / math.log(2) / num_bytes)


def searched(task: ConditionalGeneration, network: Any, tokenizer: Tokenizer, prompt: list[int]) -> list[int]:
    """What `task.search` returns."""
    return run_to_end(task.search(network, tokenizer, prompt, Beams(6, 2, 1.0, (tokenizer.eot_id,))))


def test_the_room_for_an_answer_is_what_the_network_can_write(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer
) -> None:
    """A server refuses to be asked for more, and says how many it would be."""
    ids = task.prompt_ids(tokenizer, "what")
    written = list(task.generate(network, ids, greedy_decoding(10_000, ())))
    assert len(written) == task.room(ids, task.reach(network))


def test_what_a_task_accepts_is_preferred_wherever_it_writes(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = PAIRS[0]
    prompt = task.prompt_ids(tokenizer, document.text)
    best = searched(task, network, tokenizer, prompt)
    monkeypatch.setattr(task, "accepts", lambda tokenizer, prompt_ids: lambda answer: list(answer) != best)
    second = searched(task, network, tokenizer, prompt)
    assert second != best
    assert task.score(network, tokenizer, [document], evaluation())["produced"].to_pylist() == [
        tokenizer.decode(second)
    ]


def test_placeholders_are_kept_where_the_option_says_so(tokenizer: Tokenizer) -> None:
    plain, keeping = (shipped_task("text_to_text", keep_placeholders=keep) for keep in (False, True))
    assert isinstance(plain, ConditionalGeneration) and isinstance(keeping, ConditionalGeneration)
    prompt = keeping.prompt_ids(tokenizer, "%d of {name}")
    assert plain.accepts(tokenizer, prompt) is None
    accepts = keeping.accepts(tokenizer, prompt)
    assert accepts is not None
    assert accepts(tokenizer.encode("{name}, %d"))
    assert not accepts(tokenizer.encode("{Name}, %d"))
    assert not accepts(tokenizer.encode("{name}, %d, %d"))


def test_baselines_have_what_they_can_have(task: ConditionalGeneration, tokenizer: Tokenizer) -> None:
    found = baselines(task, tokenizer, PAIRS[:2], max_length=REACH)
    strengths = {name: each.strength for name, each in found.items()}
    assert strengths == {
        "copy": Strength.trivial,
        "translation_memory": Strength.serious,
        "unigram": Strength.trivial,
        "trigram": Strength.serious,
    }
    figures = {name: task.measure(each.scores, np.ones((1, 2))) for name, each in found.items()}
    assert figures["translation_memory"]["exact_match"][0] == 1  # it knows these very sources
    assert found["copy"].scores["produced"].to_pylist() == [document.text for document in PAIRS[:2]]
    assert "bits_per_byte" not in figures["copy"]
    assert set(figures["trigram"]) == {"bits_per_byte", "perplexity", "next_token_accuracy", "scored_share"}
    assert figures["trigram"]["bits_per_byte"][0] < figures["unigram"]["bits_per_byte"][0]


def baselines(task: Task, tokenizer: Tokenizer, documents: list[Document], max_length: int) -> dict[str, Baseline]:
    """The baselines of some documents, fitted on PAIRS."""
    parts = [[tokenizer.encode(part) for part in task.parts(document)] for document in PAIRS]

    class Pairs:
        tokens = np.array([token for pair in parts for token in (*pair[0], *pair[1], tokenizer.eot_id)])
        starts = np.cumsum([0, *(len(source) + len(target) + 1 for source, target in parts)])[:-1]

        @staticmethod
        def part_lengths(count: int) -> np.ndarray:
            assert count == 2
            return np.array([[len(part) for part in pair] for pair in parts])

    train = training_data(Pairs(), PAIRS)
    found = task.baselines(train, documents, tokenizer, evaluation(), max_length=max_length)
    return {baseline.name: baseline for baseline in found}


LONG = [
    Document("short", "the film", target="good"),
    Document("long", "the film was good", target="bad dull " * 30),
    Document("chinese", "the film", target="静夜思床前明月光疑是地上霜" * 4),
    Document("just", "the film", target="good"),
]


def test_of_a_long_target_what_is_scored_is_divided_by_its_own_bytes(
    task: ConditionalGeneration, network: Any, tokenizer: Tokenizer
) -> None:
    scores = task.score(network, tokenizer, LONG, evaluation())
    ngrams = baselines(task, tokenizer, LONG, max_length=REACH)
    whole = baselines(task, tokenizer, LONG, max_length=10_000)
    ones = np.ones((1, len(LONG)))
    scored = []
    for row, document in enumerate(LONG):
        source, target = (tokenizer.encode(part) for part in task.parts(document))
        room = REACH if isinstance(network, TextToText) else REACH - len(source)
        kept = [*target, tokenizer.eot_id][:room]
        scored.append(tokenizer.decode_bytes(kept))
        assert len(scored[-1]) < len(str(document.target).encode()) or row not in {1, 2}
        for table in (scores, ngrams["unigram"].scores, ngrams["trigram"].scores):
            assert table["tokens"][row].as_py() == len(kept)
            assert table["bytes"][row].as_py() == len(scored[-1])
            assert table["target_bytes"][row].as_py() == len(str(document.target).encode())
    share = sum(map(len, scored)) / sum(len(str(document.target).encode()) for document in LONG)
    figures = task.measure(scores, ones)
    assert figures["scored_share"][0] == pytest.approx(share) and share < 0.6
    nats = sum(scores["nats"].to_pylist())
    assert figures["bits_per_byte"][0] == pytest.approx(nats / math.log(2) / sum(map(len, scored)))
    assert task.measure(whole["trigram"].scores, ones)["scored_share"][0] == 1
    for name in ("unigram", "trigram"):  # a beginning costs what it costs in the whole target, and no context leaks in
        cut, full = ngrams[name].scores, whole[name].scores
        assert cut["nats"][0] == full["nats"][0] and cut["nats"][3] == full["nats"][3]
        assert cut["nats"][1].as_py() < full["nats"][1].as_py()
    older = scores.drop_columns(["target_bytes"])
    assert set(task.measure(older, ones)) == set(figures) - {"scored_share"}


def test_labels_are_smoothed_in_training_only(tokenizer: Tokenizer) -> None:
    plain, smoothed = (shipped_task("text_to_text", label_smoothing=smoothing) for smoothing in (0.0, 0.3))
    torch.manual_seed(3)
    network = plain.network(tiny_pair_backbone(tokenizer.vocab_size))
    assert isinstance(plain, ConditionalGeneration)
    encoded = [Pair(*(np.array(tokenizer.encode(part)) for part in plain.parts(document))) for document in PAIRS]
    batch = plain.form(REACH, tokenizer.eot_id).collate(encoded)
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
    task = shipped_task("chat")
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
    ("options", "sentence"),
    [
        ({"template": "no text"}, r"template is 'no text'; allowed is a template that holds \{text\}"),
        ({"template": "{text!r}"}, "nothing but a name between the braces"),
        ({"template": "{text.__class__}"}, "nothing but a name between the braces"),
        ({"template": "{text"}, "text with {name} in it"),
        ({"turn": "{user}"}, r"empty, or \{user\} and \{assistant\}"),
        ({"writing": {**WRITING, "repetition_penalty": 1.2}}, "1 with several beams"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        shipped_task("completion", **options)


def test_labels_can_not_be_smoothed_away() -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing is 1\.0; allowed is 0 to below 1"):
        shipped_task("text_to_text", label_smoothing=1)


def test_one_beam_has_nothing_to_prefer() -> None:
    with pytest.raises(ConfigError, match=r"keep_placeholders is True; allowed is false where .*num_beams is 1"):
        shipped_task("text_to_text", keep_placeholders=True, writing={**WRITING, "num_beams": 1})


def test_pairs_are_read_from_text(task: ConditionalGeneration, tokenizer: Tokenizer) -> None:
    pair = Pair(np.array(tokenizer.encode("the film")), np.array(tokenizer.encode("good")))
    batch = task.form(REACH, tokenizer.eot_id).collate([pair])
    counted = batch["targets"][0][batch["targets"][0] >= 0].tolist()
    assert counted == [*tokenizer.encode("good"), tokenizer.eot_id]
