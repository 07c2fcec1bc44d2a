"""Questions with answers, and a context where there is one: a row is `{"question", "context", "answer"}`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.auto import ROW_FILES, Auto
from langmill.data.formats.base import FORMATS, Shape
from langmill.data.formats.json_rows import json_value
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values


@FORMATS.register("question_answers")
class QuestionAnswers(Auto):
    """Questions with the fields `question`, `context`, `answer`, `answers` and `prompt`, as of the format `squad`.

    A row has `answer`, a text or a number, or `answers`: one of them or a list, also as JSON in the cell of a table, or
    SQuAD's `{"text": [...]}` as `datasets` writes it. The first is the answer, empty where there is none; all different
    ones count as right. `prompt` is the context, an empty line and the question, or the question alone.
    """

    file_endings = ROW_FILES
    shape = Shape("prompt", "answer", ("question", "context", "answers"), "context")

    @classmethod
    def recognizes(cls, values: Values) -> bool:
        """Whether a row has a question, and answers; or a context and an answer."""
        return "question" in values and ("answers" in values or {"context", "answer"} <= set(values))

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The questions of one file."""
        for place, values in super().read(file, path):
            yield place, values if isinstance(values, Unreadable) else _values(values)


def _values(values: Values) -> Values | Unreadable:
    question, context = values.get("question"), values.get("context") or ""
    answers = _answers(values)
    if not isinstance(question, str) or not isinstance(context, str) or not question.strip() or answers is None:
        return Unreadable(BadRowReason.unexpected_shape, values)
    return {
        "question": question,
        "context": context,
        "answer": answers[0] if answers else "",
        "answers": json.dumps(list(dict.fromkeys(answers)), ensure_ascii=False),
        "prompt": f"{context}\n\n{question}" if context.strip() else question,
    }


def _answers(values: Values) -> list[str] | None:
    """The answers of a row, empty ones left out; None where they are neither texts nor numbers."""
    found = values.get("answers") if values.get("answers") is not None else values.get("answer")
    if isinstance(found, dict):
        found = found.get("text")
    if isinstance(found, str) and found.lstrip().startswith("["):  # a list in a cell
        listed = json_value(found.encode(errors="replace"))
        found = listed if isinstance(listed, list) else found
    answers = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(answer) in (str, int, float) for answer in answers):
        return None
    return [str(answer) for answer in answers if str(answer).strip()]
