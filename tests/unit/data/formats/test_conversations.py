"""Both kinds of conversation files give the same rows."""

from __future__ import annotations

import json

import pytest

from langmill.data.formats import conversations
from langmill.data.rows import Unreadable
from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit


def lines(*conversations: object) -> str:
    return "".join(json.dumps(conversation) + "\n" for conversation in conversations)


def said(*turns: str) -> dict[str, object]:
    """Turns written `u: text`."""
    roles = {"u": "user", "a": "assistant", "s": "system", "d": "developer", "t": "tool"}
    return {"messages": [{"role": roles[turn[0]], "content": turn[3:]} for turn in turns]}


def test_chatterbot() -> None:
    text = """\
categories:
- small talk
- more
conversations:
- - Hello
  - Hi
  - What year is it?
  - 1969
  - Bye
- - Yes or no?
  - yes
"""
    first = {"question": "Hello", "answer": "Hi", "history": "[]", "opening": "Hello", "category": "small talk"}
    assert good(read("chatterbot", text, "talk.yml")) == [
        ("1.1", first),
        ("1.2", {**first, "question": "What year is it?", "answer": "1969", "history": '[["Hello", "Hi"]]'}),
        ("2.1", {**first, "question": "Yes or no?", "answer": "yes", "opening": "Yes or no?"}),
    ]


@pytest.mark.parametrize(
    "word", ["no", "Yes", "off", "1.10", "12:30", "0o17", "1e3", "2020-01-01", "~", "null", ".nan"]
)
def test_yaml_rewrites_no_word(word: str) -> None:
    text = f"categories: [{word}]\nconversations:\n- [{word}, {word}]\n"
    [(_, row)] = good(read("chatterbot", text, "talk.yml"))
    assert (row["question"], row["answer"], row["opening"], row["category"]) == (word, word, word, word)


def test_a_few_lines_that_stand_for_billions() -> None:
    lines = ["conversations:", "- &a0 [x]"]
    lines += [f"- &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    rows = read("chatterbot", "\n".join(lines), "talk.yml")
    assert len(bad(rows)) == 12
    assert all(len(values.row) < 10_000 for _, values in rows if isinstance(values, Unreadable))


def test_a_conversation_whose_histories_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "_HISTORY_CHARACTERS", 100)
    text = lines(said(*["u: question", "a: answer"] * 9), said("u: x", "a: y"))
    rows = read("messages", text, "a.jsonl")
    assert bad(rows) == [("1.1", "too_large")]
    assert [row["question"] for _, row in good(rows)] == ["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conversations:\n- [a, b]\n- only a line - 'of text'\n- [a]\n- [a, [b]]\n", ["unexpected_shape"] * 3),
        ("categories: [a]\n", ["unexpected_shape"]),
        ("- a\n", ["unexpected_shape"]),
        ("a: [b\n", ["unreadable_file"]),
        ("conversations:\n- - !!python/object/apply:os.system [ls]\n  - b\n", ["unexpected_shape"]),
    ],
)
def test_chatterbot_files_of_another_shape(text: str, expected: list[str]) -> None:
    assert [reason for _, reason in bad(read("chatterbot", text, "talk.yml"))] == expected


def test_a_category_is_the_files_name_where_it_has_none() -> None:
    assert good(read("chatterbot", "conversations:\n- [a, b]\n", "talk.yml"))[0][1]["category"] == "talk"


def test_messages() -> None:
    text = lines(said("s: Be kind.", "u: Hello", "a: Hi", "u: One", "u: more", "a: Two"), said("u: x", "a: y", "u: z"))
    row = {"question": "Hello", "answer": "Hi", "history": "[]", "opening": "Hello", "system": "Be kind."}
    assert good(read("messages", f"{text}\n", "a.jsonl")) == [
        ("1.1", row),
        ("1.2", {**row, "question": "One\nmore", "answer": "Two", "history": '[["Hello", "Hi"]]'}),
        ("2.1", {**row, "question": "x", "answer": "y", "opening": "x", "system": ""}),
    ]


def test_contents_in_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    conversation = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]}
    assert good(read("messages", lines(conversation), "a.jsonl"))[0][1]["question"] == "ab"


@pytest.mark.parametrize(
    "conversation",
    [
        said("a: first"),
        said("a: first", "u: x", "a: y"),
        said("u: x"),
        said("s: x"),
        said("u: x", "s: y", "a: z"),
        said("u: x", "t: y", "a: z"),
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "x"}]},
        {"messages": []},
        {"messages": "x"},
        {"text": "x"},
    ],
)
def test_conversations_of_another_shape(conversation: object) -> None:
    text = lines(conversation, said("u: x", "a: y"))
    rows = read("messages", text, "a.jsonl")
    assert bad(rows) == [("1.1", "unexpected_shape")]
    assert len(good(rows)) == 1


def test_lines_that_are_no_objects() -> None:
    assert bad(read("messages", b'[]\nnot json\n{"a": "\xff"}\n', "a.jsonl")) == [
        ("1.1", "not_an_object"), ("2.1", "corrupt"), ("3.1", "undecodable"),
    ]  # fmt: skip
