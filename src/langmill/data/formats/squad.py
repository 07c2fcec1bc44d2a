"""Questions on paragraphs in the shape of SQuAD 1.1 and 2.0 (.json; Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.base import FORMATS, Format
from langmill.data.formats.json_rows import json_value
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values


@FORMATS.register("squad")
class Squad(Format):
    """Questions with the fields `question`, `context`, `answer`, `answers`, `prompt`, `title` and `answerable`.

    `answer` is the first one, empty where the paragraph has none (SQuAD 2.0); `answers` all different ones as JSON;
    `prompt` the paragraph, an empty line and the question. An answer that does not stand in the paragraph where it is
    said to begin makes its question damaged.
    """

    file_endings = frozenset({".json"})
    text = True
    diagnosable = False

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The questions of one file, placed by article, paragraph and question (`1.2.3`)."""
        content = json_value(file.read())
        articles = content.get("data") if isinstance(content, dict) else None
        if not isinstance(articles, list):
            wrong = content if isinstance(content, Unreadable) else None
            yield "1.1.1", wrong or Unreadable(BadRowReason.unexpected_shape, f"{path.name} has no list named data")
            return
        for a, article in enumerate(articles, start=1):
            for p, paragraph in enumerate(_list(article, "paragraphs"), start=1):
                for q, question in enumerate(_list(paragraph, "qas"), start=1):
                    yield f"{a}.{p}.{q}", _values(article, paragraph, question)


def _list(holder: object, key: str) -> list[object]:
    """The list under a key; a holder of another shape gives one row that says so."""
    found = holder.get(key) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else [None]


def _values(article: object, paragraph: object, question: object) -> Values | Unreadable:
    wrong = Unreadable(BadRowReason.unexpected_shape, str(question if question is not None else paragraph or article))
    if not (isinstance(article, dict) and isinstance(paragraph, dict) and isinstance(question, dict)):
        return wrong
    context, words, answers = paragraph.get("context"), question.get("question"), question.get("answers")
    if not (isinstance(context, str) and isinstance(words, str) and isinstance(answers, list)):
        return wrong
    texts: list[str] = []
    for answer in answers:
        text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(start, int):
            return wrong
        if not text or start < 0 or not context.startswith(text, start):
            return Unreadable(BadRowReason.damaged_text, f"{words} {text!r} does not stand at {start}")
        texts.append(text)
    return {
        "question": words,
        "context": context,
        "answer": texts[0] if texts else "",
        "answers": json.dumps(list(dict.fromkeys(texts)), ensure_ascii=False),
        "answerable": bool(texts),
        "prompt": f"{context}\n\n{words}",
        "title": str(article.get("title", "")),
    }
