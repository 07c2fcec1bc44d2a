"""Questions in lm-eval's format: its numbers on the same weights, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from langmill.errors import EvaluationError
from langmill.evaluation.benchmark import Answering, ask, write_until
from langmill.evaluation.benchmark_task import Kind, read_task
from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate_batch
from langmill.scoring.continuations import score_continuations, split_tokens
from tests.refused import refused

from ..tasks.settings import evaluation
from .benchmarks import RECORDED, ROOT, answering, write_model, write_tasks

pytestmark = pytest.mark.unit
SETTINGS = evaluation(bootstrap_samples=100)
LM_EVAL = json.loads(RECORDED.read_text())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Answering:
    folder = tmp_path_factory.mktemp("benchmark") / "model"
    write_model(folder)
    return answering(folder)


@pytest.mark.parametrize("name", ["choices", "matched", "written"])
def test_the_numbers_are_those_of_lm_eval(name: str, model: Answering, tmp_path: Path) -> None:
    task = read_task(write_tasks(tmp_path)[name])
    asked, theirs = ask(model, task, SETTINGS), LM_EVAL["tasks"][name]
    assert set(asked.estimates) == set(theirs["metrics"])
    for metric, value in theirs["metrics"].items():
        found = asked.estimates[metric]
        assert found.value == pytest.approx(value, rel=1e-4, abs=1e-4), metric
        assert found.low <= found.value <= found.high
    if task.kind is Kind.generate_until:
        assert asked.answers == [answer for (answer,) in theirs["answers"]]
        return
    delimiter = task.delimiter if task.kind is Kind.multiple_choice else ""
    pairs = [(each.context, delimiter + choice) for each in task.questions for choice in each.choices]
    mine = score_continuations(model.network, model.tokenizer, (), pairs, batch_tokens=4096)
    wanted = [answer for question in theirs["answers"] for answer in question]
    assert [each.log_likelihood for each in mine] == pytest.approx([each[0] for each in wanted], rel=1e-4, abs=1e-4)
    assert [each.greedy for each in mine] == [each[1] for each in wanted]


def test_the_recorded_numbers_are_of_a_version_and_not_all_alike() -> None:
    assert LM_EVAL["lm_eval"] == "0.4.13"
    choices = LM_EVAL["tasks"]["choices"]["metrics"]
    assert choices["acc"] != choices["acc_norm"] and len(LM_EVAL["tasks"]["choices"]["answers"]) == 60
    assert any(answer for (answer,) in LM_EVAL["tasks"]["written"]["answers"])


def test_no_score_depends_on_its_neighbours(model: Answering) -> None:
    pairs = [("Question: what?\nAnswer:", f" {'word ' * n}end") for n in range(7)]
    whole = score_continuations(model.network, model.tokenizer, (), pairs, batch_tokens=4096)
    alone = [score_continuations(model.network, model.tokenizer, (), [pair], batch_tokens=1)[0] for pair in pairs]
    assert [each.log_likelihood for each in whole] == pytest.approx([each.log_likelihood for each in alone], rel=1e-6)


def test_a_likelihood_is_that_of_the_answers_tokens_alone(model: Answering) -> None:
    context, answer = "The king speaks", " to his people"
    ids = model.tokenizer.encode(context + answer)
    count = len(model.tokenizer.encode(answer))
    with torch.no_grad():
        logits = model.network(torch.tensor([ids[:-1]]))[0, -count:].log_softmax(dim=-1)
    expected = logits[torch.arange(count), torch.tensor(ids[-count:])].sum().item()
    (found,) = score_continuations(model.network, model.tokenizer, (), [(context, answer)], batch_tokens=64)
    assert found.log_likelihood == pytest.approx(expected, abs=1e-4) and not found.greedy


def test_greedy_is_what_the_model_would_write(model: Answering) -> None:
    context = "A rose is a rose is a"
    (written,) = generate_batch(model.network, [model.tokenizer.encode(context)], [Sampling(6)])
    answer = model.tokenizer.decode(written)
    pairs = [(context, answer), (context, answer[:-1] + "!"), (context, "!" + answer[1:])]
    found = score_continuations(model.network, model.tokenizer, (), pairs, batch_tokens=64)
    assert [each.greedy for each in found] == [True, False, False]


def test_an_answer_does_not_depend_on_what_it_is_written_beside(model: Answering, tmp_path: Path) -> None:
    written = read_task(write_tasks(tmp_path)["written"])
    prompts = [model.tokenizer.encode(each.context) for each in written.questions]
    for task in (written, replace(written, max_tokens=40), replace(written, until=("e",), max_tokens=40)):
        alone = [write_until(model, task, [prompt])[0] for prompt in prompts]
        assert write_until(model, task, prompts) == alone
        assert not any(each in answer for answer in alone for each in task.until)
    assert len({len(answer) for answer in alone}) > 1  # some end early, and wait for no others


@pytest.mark.parametrize(
    ("context", "answer", "count", "first"),
    [
        ("ab", " cd", 3, "a"),
        ("ab ", "cd", 3, "a"),  # white space goes to the answer
        ("", "cd", 2, "<|endoftext|>"),
        ("  ", "cd", 4, "<|endoftext|>"),
        ("x" * 400, " cd", 3, "x"),
    ],
)
def test_pairs_are_cut_as_there(model: Answering, context: str, answer: str, count: int, first: str) -> None:
    tokens, scored = split_tokens(model.tokenizer, (), context, answer, 256)
    assert scored == count and len(tokens) == min(257, len(context + answer) + (not context.strip()))
    special = {number: name for name, number in model.tokenizer.special_ids.items()}
    assert special.get(tokens[0], model.tokenizer.decode(tokens[:1])) == first
    assert model.tokenizer.decode(tokens[-2:]) == "cd"
    with refused(EvaluationError, "impossible", "has 0 tokens"):
        split_tokens(model.tokenizer, (), "ab", "", 256)


def test_a_cap_draws_the_same_questions_each_time(model: Answering) -> None:
    task = read_task(ROOT / "data" / "choices.yaml")
    few = replace(SETTINGS, max_documents=10)
    first, again = ask(model, task, few), ask(model, task, few)
    assert first.examples == 10 < len(task.questions) and first.answers == again.answers
    assert first.tokens_per_second > 0


def test_our_own_questions_are_fair() -> None:
    rows = [json.loads(line) for line in (ROOT / "data" / "choices.jsonl").read_text().splitlines()]
    task = read_task(ROOT / "data" / "choices.yaml")
    assert (task.name, task.metrics, len(task.questions)) == ("langmill_choices", ("acc", "acc_norm"), 60)
    assert len({row["question"] for row in rows}) == 60 and len({row["topic"] for row in rows}) == 7
    for row, question in zip(rows, task.questions, strict=True):
        assert len(set(row["choices"])) == 4 and question.wanted == row["choices"][row["answer"]]
        assert question.context == f"Question: {row['question']}\nAnswer:"
    places = np.bincount([row["answer"] for row in rows], minlength=4)
    longest = sum(max(row["choices"], key=len) == row["choices"][row["answer"]] for row in rows)
    assert places.min() >= 10 and longest < 30  # neither a place nor the longest answer is right


def write(
    folder: Path, rows: Sequence[dict[str, Any]] = ({"q": "1 + 1?", "a": "2", "c": ["2", "3"]},), **changes: Any
) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "sums", "dataset_path": "json", "dataset_kwargs": {"data_files": "rows.jsonl"}, "test_split": "train",
        "output_type": "multiple_choice", "doc_to_text": "{{q}}", "doc_to_choice": "c", "doc_to_target": "a", **changes,
    }  # fmt: skip
    (folder / "sums.yaml").write_text(yaml.safe_dump(task))
    return folder / "sums.yaml"


@pytest.mark.parametrize(
    ("changes", "gold"),
    [
        ({}, (0,)),
        ({"doc_to_choice": "{{c}}", "doc_to_target": "{{c.index(a)}}"}, (0,)),
        ({"doc_to_choice": ["3", "2"]}, (1,)),
        ({"doc_to_choice": {"x": "3", "y": "2"}, "doc_to_target": 1}, (1,)),
        ({"doc_to_target": "{{[0, 1]}}"}, (0, 1)),
    ],
)
def test_the_ways_to_say_choices_and_the_right_one(
    tmp_path: Path, changes: dict[str, Any], gold: tuple[int, ...]
) -> None:
    (question,) = read_task(write(tmp_path, **changes)).questions
    assert question.gold == gold and question.context == "1 + 1?"
    assert sorted(question.choices) == ["2", "3"]


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"output_type": "loglikelihood_rolling"}, "output_type is 'loglikelihood_rolling'"),
        ({"dataset_path": "allenai/ai2_arc"}, "dataset_path is 'allenai/ai2_arc'"),
        ({"process_docs": "x"}, "process_docs is not read here"),
        ({"filter_list": [{"name": "x"}]}, "filter_list is not read here"),
        ({"gen_prefix": "x"}, "gen_prefix is not read here"),
        ({"num_fewshot": 2}, "fewshot_config is {}"),
        ({"num_fewshot": 2, "fewshot_config": {"sampler": "first_n"}}, "fewshot_split is None"),
        ({"metric_list": [{"metric": "brier_score"}]}, "metric_list is 'brier_score'"),
        ({"metric_list": [{"metric": "acc", "aggregation": "f1"}]}, "metric_list.acc.aggregation is 'f1'"),
        ({"metric_list": [{"metric": "acc", "ignore_case": True}]}, "metric_list.acc is 'ignore_case'"),
        ({"doc_to_target": "{{'7'}}"}, "doc_to_target is 7"),
        ({"doc_to_text": "{{'0'}}"}, "doc_to_text is '0'"),
        ({"doc_to_choice": "q"}, "doc_to_choice is '1 + 1?'"),
        ({"test_split": "validation"}, "test_split is 'validation'"),
        ({"test_split": None}, "test_split is None"),
        ({"repeats": 3}, "repeats is 3"),
        ({"output_type": "generate_until", "generation_kwargs": {"temperature": 0.7}}, "do_sample is True"),
        ({"output_type": "generate_until", "generation_kwargs": {"num_beams": 2}}, "generation_kwargs.num_beams is 2"),
    ],
)  # fmt: skip
def test_what_would_be_another_number_is_refused(tmp_path: Path, changes: dict[str, Any], fact: str) -> None:
    with refused(EvaluationError, "unsupported", "sums.yaml", fact):
        read_task(write(tmp_path, **changes))


def test_broken_files_are_told(tmp_path: Path) -> None:
    with refused(EvaluationError, "missing", "none.yaml"):
        read_task(tmp_path / "none.yaml")
    with refused(EvaluationError, "impossible", "doc_to_text can't be filled", "nothing"):
        read_task(write(tmp_path, doc_to_text="{{nothing}}"))
    with refused(EvaluationError, "impossible", "doc_to_text can't be filled"):  # the sandbox
        read_task(write(tmp_path, doc_to_text="{{''.__class__.__mro__}}"))
    with refused(EvaluationError, "too_few", "no questions in the split train"):
        read_task(write(tmp_path, rows=()))
    (tmp_path / "f.yaml").write_text("doc_to_text: !function utils.text\n")
    with refused(EvaluationError, "unreadable", "It runs Python"):
        read_task(tmp_path / "f.yaml")
    file = write(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{]")
    with refused(EvaluationError, "unreadable", "rows.jsonl"):
        read_task(file)
    (tmp_path / "rows.jsonl").unlink()
    with refused(EvaluationError, "missing", "rows.jsonl"):
        read_task(file)
