"""Ask a language model the questions of a benchmark, and count the right answers as EleutherAI's lm-eval does.

`acc` takes the most likely choice, `acc_norm` the most likely one for each character of it, `acc_bytes` for each byte;
`exact_match`, and `acc` where one answer is given, ask whether the model would write the right answer greedily.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.evaluation.benchmark_task import BenchmarkTask, Kind, Question
from langmill.evaluation.estimates import Estimate
from langmill.evaluation.significance import estimate_means
from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate, generate_batch
from langmill.models.generation.network import Decodes
from langmill.models.heads import LanguageModel
from langmill.progress import track
from langmill.scoring.continuations import Continuation, score_continuations
from langmill.scoring.drawing import draw
from langmill.scoring.pace import Pace
from langmill.tasks.batching import fill_batches
from langmill.tokenization.text_stream import generated_text
from langmill.tokenization.tokenizer import Tokenizer

_FIRST_ROUND = 16  # tokens of an answer; few answers of such tasks are longer
_NO_DIGITS, _NO_PUNCTUATION = (str.maketrans("", "", each) for each in (string.digits, string.punctuation))


@dataclass(frozen=True)
class Asked:
    """What came of a benchmark."""

    task: BenchmarkTask
    estimates: Mapping[str, Estimate]
    """By metric."""
    examples: int
    """Questions that were asked; fewer than the task has under `evaluation.max_documents`."""
    answers: list[str]
    """What was chosen or written, a question each."""
    tokens_per_second: float
    """Tokens that were read, or written where the model writes its answers."""


@dataclass(frozen=True)
class Answering:
    """A language model that is asked."""

    name: str
    network: LanguageModel
    """In evaluation mode."""
    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    """The special tokens that it reads before every text."""


def ask(model: Answering, task: BenchmarkTask, evaluation: Evaluation) -> Asked:
    """Ask the questions, or as many as `evaluation.max_documents` allows, drawn by its seed.

    Raises EvaluationError where an answer has no tokens, or more than the model reads.
    """
    numbered = [Document(str(number), "") for number in range(len(task.questions))]
    drawn = [int(each.id) for each in draw(numbered, evaluation.max_documents, evaluation.seed, [])]
    questions = [task.questions[number] for number in drawn]
    with track(f"Asking {model.name} {task.name}", len(questions), "questions") as progress:
        pace = Pace(progress.advance)
        if task.kind is Kind.generate_until:
            columns, answers = _written(model, task, questions, evaluation, pace)
        else:
            columns, answers = _chosen(model, task, questions, evaluation, pace)
    estimates = estimate_means({name: columns[name] for name in task.metrics}, evaluation)
    if "perplexity" in estimates:  # of the mean log likelihood, as lm-eval has it
        found = estimates["perplexity"]
        estimates["perplexity"] = Estimate(math.exp(-found.value), math.exp(-found.high), math.exp(-found.low))
    return Asked(task, estimates, len(questions), answers, pace.tokens_per_second or 0.0)


def _chosen(
    model: Answering, task: BenchmarkTask, questions: Sequence[Question], evaluation: Evaluation, pace: Pace
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The metrics' columns of given answers, and what was chosen."""
    delimiter = task.delimiter if task.kind is Kind.multiple_choice else ""
    pairs = [(each.context, delimiter + choice) for each in questions for choice in each.choices]
    with pace.timed() as lengths:
        found = score_continuations(
            model.network, model.tokenizer, model.prefix, pairs, batch_tokens=evaluation.batch_tokens,
            progress=lambda done: pace.advance(done * len(questions) / len(pairs)),
        )  # fmt: skip
        lengths.extend(each.read for each in found)
    rows: list[dict[str, float]] = []
    answers: list[str] = []
    start = 0
    for question in questions:
        part = found[start : start + len(question.choices)]
        start += len(part)
        row, best = _row(task.kind, question, part)
        rows.append(row)
        answers.append(question.choices[best])
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}, answers


def _row(kind: Kind, question: Question, found: Sequence[Continuation]) -> tuple[dict[str, float], int]:
    """The metrics of one question, and which choice is the most likely one."""
    likely = np.array([each.log_likelihood for each in found])
    if kind is Kind.loglikelihood:
        return {"acc": float(found[0].greedy), "perplexity": found[0].log_likelihood}, 0
    sizes = {
        "acc": np.ones(len(found)),
        "acc_norm": np.array([len(each) for each in question.choices]),
        "acc_bytes": np.array([len(each.encode()) for each in question.choices]),
    }
    row = {name: float(int(np.argmax(likely / size)) in question.gold) for name, size in sizes.items()}
    row["exact_match"] = float(any(found[number].greedy for number in question.gold))
    return row, int(np.argmax(likely))


def _written(
    model: Answering, task: BenchmarkTask, questions: Sequence[Question], evaluation: Evaluation, pace: Pace
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The column `exact_match` of written answers, and the answers."""
    room = max(1, model.network.max_length - task.max_tokens)
    texts = [[*model.prefix, *model.tokenizer.encode(each.context)][-room:] for each in questions]
    prompts = [ids or [model.tokenizer.eot_id] for ids in texts]
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    for places in fill_batches([len(prompts[each]) + task.max_tokens for each in order], evaluation.batch_tokens):
        batch = [order[place] for place in places]
        with pace.timed() as lengths:
            for number, answer in zip(batch, write_until(model, task, [prompts[each] for each in batch]), strict=True):
                answers[number] = answer
                lengths.append(len(model.tokenizer.encode(answer)))
        pace(len(batch))
    right = [
        _matched(answer, task.matching) == _matched(question.wanted, task.matching)
        for answer, question in zip(answers, questions, strict=True)
    ]
    return {"exact_match": np.array(right, dtype=np.float64)}, answers


def write_until(model: Answering, task: BenchmarkTask, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The answer to each prompt, written greedily side by side up to one of the texts before which an answer ends.

    Each is as if written alone: where a choice was so close that rounding beside others may have decided it, the answer
    is written again. A round writes twice as many tokens as the one before, so that what has met such a text waits for
    no others.
    """
    network, stop_ids = cast("Decodes", model.network), model.tokenizer.stop_ids
    written: list[list[int]] = [[] for _ in prompts]
    close: set[int] = set()
    waiting, length = list(range(len(prompts))), _FIRST_ROUND
    while waiting and len(prompts) > 1:
        rounds = [min(length, task.max_tokens - len(written[number])) for number in waiting]
        near: set[int] = set()
        found = generate_batch(
            network,
            [[*prompts[number], *written[number]] for number in waiting],
            [Sampling(each, stop_ids=stop_ids) for each in rounds],
            near,
        )
        close |= {waiting[row] for row in near}
        goes_on = []
        for number, tokens, asked in zip(waiting, found, rounds, strict=True):
            written[number] += tokens
            ended = len(tokens) < asked or len(written[number]) == task.max_tokens
            text = model.tokenizer.decode(written[number])
            if not ended and number not in close and not any(each in text for each in task.until):
                goes_on.append(number)
        waiting, length = goes_on, 2 * length
    answers = []
    for number, prompt in enumerate(prompts):
        alone = len(prompts) == 1 or number in close
        again = generate(network, prompt, Sampling(task.max_tokens, stop_ids=stop_ids))
        steps: Generator[int, None, object] = again if alone else _each(written[number])
        answers.append(generated_text(steps, model.tokenizer.decode, task.until))
    return answers


def _each(tokens: Sequence[int]) -> Generator[int, None, None]:
    yield from tokens


def _matched(text: str, options: Mapping[str, Any]) -> str:
    """A text as `exact_match` compares it, by lm-eval's options."""
    for pattern in options.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    text = text.lower() if options.get("ignore_case") else text
    text = text.translate(_NO_PUNCTUATION) if options.get("ignore_punctuation") else text
    return text.translate(_NO_DIGITS) if options.get("ignore_numbers") else text
