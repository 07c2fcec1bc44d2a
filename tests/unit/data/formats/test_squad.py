"""Questions of both versions; and that the shipped sample is what it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit
SAMPLE = Path(__file__).parents[4] / "data" / "questions.json"


def article(*questions: object, context: object = "Bees make honey.") -> str:
    return json.dumps({"data": [{"title": "Bees", "paragraphs": [{"context": context, "qas": list(questions)}]}]})


def asked(*answers: tuple[str, int]) -> dict[str, object]:
    return {"question": "What?", "answers": [{"text": text, "answer_start": start} for text, start in answers]}


def test_questions() -> None:
    rows = read("squad", article(asked(("honey", 10), ("honey.", 10), ("honey", 10)), asked()), "a.json")
    row = {
        "question": "What?",
        "context": "Bees make honey.",
        "answer": "honey",
        "answers": '["honey", "honey."]',
        "answerable": True,
        "prompt": "Bees make honey.\n\nWhat?",
        "title": "Bees",
    }
    assert good(rows) == [("1.1.1", row), ("1.1.2", {**row, "answer": "", "answers": "[]", "answerable": False})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (article(asked(("honey", 9))), [("1.1.1", "damaged_text")]),
        (article(asked(("", 3))), [("1.1.1", "damaged_text")]),
        (article(asked(("honey", -6))), [("1.1.1", "damaged_text")]),
        (article({"question": "What?"}), [("1.1.1", "unexpected_shape")]),
        (article(3, asked(("Bees", 0))), [("1.1.1", "unexpected_shape")]),
        (article(asked(), context=None), [("1.1.1", "unexpected_shape")]),
        ('{"data": [{"title": "x"}, 3]}', [("1.1.1", "unexpected_shape"), ("2.1.1", "unexpected_shape")]),
        ('{"data": 1}', [("1.1.1", "unexpected_shape")]),
        ("[]", [("1.1.1", "unexpected_shape")]),
        ("{", [("1.1.1", "corrupt")]),
    ],
)
def test_other_shapes(text: str, expected: list[tuple[str, str]]) -> None:
    assert bad(read("squad", text, "a.json")) == expected


def test_the_shipped_sample_is_sound() -> None:
    rows = read("squad", SAMPLE.read_bytes(), "questions.json")
    assert bad(rows) == []
    questions = [row for _, row in good(rows)]
    assert len({row["title"] for row in questions}) >= 40
    assert len(questions) >= 150
    assert len({row["prompt"] for row in questions}) == len(questions)
    assert all(row["question"].endswith("?") and row["answerable"] for row in questions)
