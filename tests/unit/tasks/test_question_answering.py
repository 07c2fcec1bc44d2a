"""The questions on one text are learned after one reading of it, each answer once; each is judged by itself."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.tasks.question_answering import QuestionAnswering
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused

from .settings import shipped_task

pytestmark = pytest.mark.unit


def task_of(**options: Any) -> QuestionAnswering:
    task = shipped_task("question_answering", **{"length": 200, "prompt_length": 100, "message": "{text}", **options})
    assert isinstance(task, QuestionAnswering)
    return task


def question(number: int, text: str = "The film was good.", **metadata: str) -> Document:
    asked = f"Q{number}?"
    facts = {"context": text, "question": asked, **metadata}
    return Document(f"d{number}", f"{text}\n\n{asked}", target=f"A{number}", metadata=facts)


def conversations(task: QuestionAnswering, tokenizer: Tokenizer, *documents: Document) -> list[tuple[str, str]]:
    """What each sequence reads, its special tokens left out, and what of it is learned, `|` between the answers."""
    found = []
    for each in task.encode(documents, tokenizer, 1):
        ids = np.concatenate(each.parts).astype(int).tolist()
        text = " ".join(re.sub(r"user|assistant|system", " ", tokenizer.decode(ids)).split())
        found.append((text, "|".join(tokenizer.decode(part.astype(int).tolist()) for part in each.parts[1::2])))
    return found


def test_a_text_is_read_once_for_its_questions(chatml: Tokenizer) -> None:
    both = conversations(task_of(), chatml, question(1), question(2), question(3, "A bad plot."))
    assert both == [
        ("The film was good. Q1? A1 Q2? A2", "A1|A2"),
        ("A bad plot. Q3? A3", "A3"),
    ]


def test_what_does_not_fit_begins_again_with_the_text(chatml: Tokenizer) -> None:
    documents = [question(number) for number in range(12)]
    found = conversations(task_of(length=90), chatml, *documents)
    assert len(found) > 2
    assert all(text.startswith("The film was good. Q") for text, _ in found)
    assert "|".join(learned for _, learned in found) == "|".join(f"A{number}" for number in range(12))
    for each in task_of(length=90).encode(documents, chatml, 1):
        assert sum(map(len, each.parts)) <= 91 and not each.truncated


def test_a_long_text_alone_is_truncated_and_counted(chatml: Tokenizer) -> None:
    long = question(1, "film " * 120)
    (each,) = task_of(length=60, prompt_length=40).encode([long], chatml, 1)
    assert sum(map(len, each.parts)) <= 61 and each.truncated == {"prompt"}
    assert chatml.decode(each.parts[1].astype(int).tolist()) == "A1"


def test_questions_without_a_text_or_with_a_conversation_stay_apart(chatml: Tokenizer) -> None:
    alone = [question(1, ""), question(2, "")]
    assert [learned for _, learned in conversations(task_of(), chatml, *alone)] == ["A1", "A2"]
    begun = [question(1), question(2, history='[["Hi", "Hello"]]')]
    assert [learned for _, learned in conversations(task_of(), chatml, *begun)] == ["A1", "Hello|A2"]


def test_each_question_is_judged_by_itself(chatml: Tokenizer) -> None:
    one, other = task_of().pairs(chatml, [question(1), question(2)], 200, 1)
    for number, pair in ((1, one), (2, other)):
        assert pair.asked is not None
        asked = chatml.decode(pair.asked.tolist())
        assert "The film was good." in asked and f"Q{number}?" in asked and "A1" not in asked
        assert chatml.decode(pair.target.tolist()) == f"A{number}"


def test_a_text_without_a_question_is_left_out() -> None:
    assert task_of().check(question(1)) is None
    assert task_of().check(question(1, question=" ")) == "missing_question"
    assert task_of().check(question(1, "", question="")) is None  # nothing is shared, so only its own words are said


def test_options_that_make_no_sense_are_refused() -> None:
    with refused(ConfigError, "impossible", "learn is last_turn", "every_turn"):
        task_of(learn="last_turn")
    with refused(ConfigError, "impossible", "further is And?", "{question}"):
        task_of(further="And?")
