"""Comparisons of two answers, in the forms that are published."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath
from typing import Any

import pytest

from langmill.config.sections import FormatSection
from langmill.data.formats.base import build_format, recognized
from langmill.data.rows import BadRowReason, Unreadable

pytestmark = pytest.mark.unit
SYSTEM, HI, HELLO = ({"role": role, "content": text} for role, text in
                     (("system", "Be good."), ("user", "Hi"), ("assistant", "Hello")))  # fmt: skip
WHO, ME, YOU = ({"role": role, "content": text} for role, text in
                (("user", "Who?"), ("assistant", "Me."), ("assistant", "You.")))  # fmt: skip
ONE = {"question": "Who?", "answer": "Me.", "rejected": "You.", "history": "[]", "system": "", "opening": "Who?"}
LONG = {**ONE, "history": '[["Hi", "Hello"]]', "opening": "Hi"}


def rows(*values: object) -> list[Any]:
    data = "\n".join(map(json.dumps, values)).encode()
    section = FormatSection("preferences", {})
    return [found for _, found in build_format(section, "test").read(io.BytesIO(data), PurePosixPath("a.jsonl"))]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prompt": "Who?", "chosen": "Me.", "rejected": "You."}, ONE),
        ({"prompt": "Who?", "chosen": [WHO, ME], "rejected": [WHO, YOU], "score_chosen": 8.5}, ONE),
        ({"prompt": [HI, HELLO, WHO], "chosen": [ME], "rejected": [YOU]}, LONG),
        ({"chosen": [SYSTEM, HI, HELLO, WHO, ME], "rejected": [SYSTEM, HI, HELLO, WHO, YOU]},
         {**LONG, "system": "Be good."}),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Who?\n\nAssistant: Me.",
          "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Who?\n\nAssistant: You."}, LONG),
        ({"prompt": "\n\nHuman: Who?\n\nAssistant:", "chosen": "Me.", "rejected": "You."}, ONE),
        ({"conversations": [{"from": "human", "value": "Who?"}], "chosen": {"from": "gpt", "value": "Me."},
          "rejected": {"from": "gpt", "value": "You."}}, ONE),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}], "chosen": ME, "rejected": [YOU]},
         ONE),
    ],
    ids=["texts", "UltraFeedback", "messages", "conversations", "HH", "HH with a prompt", "LLaMA-Factory", "parts"],
)  # fmt: skip
def test_published_forms_are_read(values: object, expected: object) -> None:
    assert rows(values) == [expected]


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "Who?", "chosen": "Me."},
        {"chosen": "Me.", "rejected": "You."},
        {"chosen": [HI, HELLO, WHO, ME], "rejected": [WHO, YOU]},
        {"chosen": [WHO], "rejected": [WHO]},
        {"prompt": [WHO, WHO], "chosen": [ME], "rejected": [YOU]},
        {"prompt": "Who?", "chosen": [{"role": "tool", "content": "x"}], "rejected": [YOU]},
        {"prompt": "Who?", "chosen": [], "rejected": [YOU]},
    ],
)
def test_other_rows_are_quarantined(values: object) -> None:
    found, good = rows(values, {"prompt": "Who?", "chosen": "Me.", "rejected": "You."})
    assert isinstance(found, Unreadable)
    assert found.reason is BadRowReason.unexpected_shape
    assert good == ONE


def test_it_is_recognized_beside_other_fields() -> None:
    published = {"prompt": "Who?", "messages": [WHO, ME], "chosen": [WHO, ME], "rejected": [WHO, YOU]}
    assert recognized([published, published]) == "preferences"
    assert recognized([{"messages": [WHO, ME]}]) == "messages"
    assert recognized([{"conversations": [WHO], "chosen": ME, "rejected": YOU}]) == "preferences"
    assert recognized([{"chosen": "a", "rejected": None}]) is None
