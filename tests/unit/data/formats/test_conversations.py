"""Both kinds of conversation files give the same rows."""

from __future__ import annotations

import csv
import io
import itertools
import json

import pytest

from langmill.data.formats import conversations
from langmill.data.formats.base import recognized
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


@pytest.mark.parametrize(
    ("name", "lists"), [("messages", ["messages"]), ("sharegpt", ["conversations", "conversation"])]
)
def test_turns_are_read_by_whichever_names_they_have(name: str, lists: list[str]) -> None:
    expected = {"question": "x", "answer": "y", "history": "[]", "opening": "x", "system": "Be kind."}
    for field, (who, what), (user, assistant) in itertools.product(
        lists, [("role", "content"), ("from", "value")], [("user", "assistant"), ("human", "gpt"), ("User", "Bot")]
    ):
        turns = [{who: "developer", what: "Be kind."}, {who: user, what: "x"}, {who: assistant, what: "y"}]
        for row in ({field: turns}, {field: turns[1:], "system": "Be kind."}):
            assert recognized([row]) == name
            assert good(read(name, lines(row), "a.jsonl")) == [("1.1", expected)]
            blank = {"role": None, "from": None, "content": None, "value": None, "weight": None}  # as Parquet fills up
            row[field] = [{**blank, **turn} for turn in row[field]]
            assert good(read(name, lines(row), "a.jsonl")) == [("1.1", expected)]


def test_an_answer_of_no_weight_is_only_read() -> None:
    conversation = said("u: x", "a: wrong", "u: again", "a: y", "a: z", "u: on", "a: w")
    for number, weight in ((1, 0), (3, 1), (4, 1)):
        conversation["messages"][number]["weight"] = weight
    found = good(read("messages", lines(conversation), "a.jsonl"))
    assert [(place, row["answer"]) for place, row in found] == [("1.2", "y\nz"), ("1.3", "w")]
    assert found[0][1]["history"] == '[["x", "wrong"]]'


SHAREGPT = {
    "conversations": [
        {"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"},
        {"from": "human", "value": "One"}, {"from": "gpt", "value": "Two"},
    ]
}  # fmt: skip


def test_sharegpt_and_messages_are_the_same_rows() -> None:
    row = {"question": "Hello", "answer": "Hi", "history": "[]", "opening": "Hello", "system": "Be kind."}
    expected = [("1.1", row), ("1.2", {**row, "question": "One", "answer": "Two", "history": '[["Hello", "Hi"]]'})]
    messages = said("s: Be kind.", "u: Hello", "a: Hi", "u: One", "a: Two")
    assert good(read("messages", lines(messages), "a.jsonl")) == expected
    assert good(read("messages", json.dumps([messages]), "a.json")) == expected
    assert good(read("sharegpt", lines(SHAREGPT), "a.jsonl")) == expected
    assert good(read("sharegpt", json.dumps([SHAREGPT], indent=1), "a.json")) == expected
    beside = {"conversations": SHAREGPT["conversations"][1:], "system": "Be kind."}
    assert good(read("sharegpt", lines(beside), "a.jsonl")) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "y"}]},
        {"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": None}]},
        {"conversations": [{"from": "human", "value": "x"}]},
        {"conversations": [{"from": "human"}, "gpt"]},
        {"conversations": [], "system": "x"},
        {"conversations": "x"},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}], "system": 3},
        {"messages": []},
    ],
)
def test_sharegpt_of_another_shape(wrong: object) -> None:
    rows = read("sharegpt", lines(wrong, SHAREGPT), "a.jsonl")
    assert bad(rows) == [("1.1", "unexpected_shape")]
    assert len(good(rows)) == 2


def test_alpaca() -> None:
    plain = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
    row = {"question": "Add.\n\n1 and 2", "answer": "3", "history": "[]", "opening": "Add.\n\n1 and 2", "system": ""}
    bare = {**row, "question": "Greet.", "answer": "Hi", "opening": "Greet."}
    later = {"instruction": "Greet.", "output": "Hi", "system": "Be kind.", "history": [["a", "b"], ["c", "d"]]}
    found = [
        ("1.1", row),
        ("2.1", bare),
        ("3.3", {**bare, "history": '[["a", "b"], ["c", "d"]]', "opening": "a", "system": "Be kind."}),
    ]
    assert (
        good(
            read("alpaca", json.dumps([plain, {"instruction": "Greet.", "input": "", "output": "Hi"}, later]), "a.json")
        )
        == found
    )
    assert good(read("alpaca", "instruction,input,output\nAdd.,1 and 2,3\nGreet.,,Hi\n", "a.csv")) == [
        ("2.1", row), ("3.1", bare),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"instruction": "x"},
        {"output": "x"},
        {"instruction": " ", "output": "x"},
        {"instruction": "x", "output": 3},
        {"instruction": "x", "output": "y", "input": ["z"]},
        {"instruction": "x", "output": "y", "history": [["a"]]},
        {"instruction": "x", "output": "y", "history": "a"},
    ],
)
def test_alpaca_of_another_shape(wrong: object) -> None:
    assert bad(read("alpaca", lines(wrong), "a.jsonl")) == [("1.1", "unexpected_shape")]


def test_questions_with_a_context_and_answers() -> None:
    row = {
        "question": "Who?",
        "context": "Bob ran.",
        "answer": "Bob",
        "answers": '["Bob"]',
        "prompt": "Bob ran.\n\nWho?",
    }
    several = {**row, "answers": '["Bob", "he"]'}
    given = [
        {"question": "Who?", "context": "Bob ran.", "answer": "Bob"},
        {"question": "Who?", "context": "Bob ran.", "answers": ["Bob", "he", "Bob", " "]},
        {"question": "Who?", "context": "Bob ran.", "answers": {"text": ["Bob", "he"], "answer_start": [0, 0]}},
        {"question": "Who?", "context": "Bob ran.", "answers": []},
        {"question": "Who?", "answer": "Bob"},
    ]
    assert good(read("question_answers", lines(*given), "a.jsonl")) == [
        (1, row), (2, several), (3, several), (4, {**row, "answer": "", "answers": "[]"}),
        (5, {**row, "context": "", "prompt": "Who?"}),
    ]  # fmt: skip
    assert good(read("question_answers", "question,context,answer\nWho?,Bob ran.,Bob\n", "a.csv")) == [(2, row)]
    plain = [{"question": "Who?", "context": "Bob ran.", "answers": each} for each in ("yes", 42, ["yes", 42], True)]
    rows = read("question_answers", lines(*plain), "a.jsonl")
    assert [values["answers"] for _, values in good(rows)] == ['["yes"]', '["42"]', '["yes", "42"]']
    assert bad(rows) == [(4, "unexpected_shape")]
    cell = 'question,answers\nWho?,"[""Bob"", ""he""]"\nWho?,[sic] Bob\n'
    rows = read("question_answers", cell, "a.csv")
    assert [values["answers"] for _, values in good(rows)] == ['["Bob", "he"]', '["[sic] Bob"]']
    wrong = [{"question": 3, "answer": "x"}, {"question": " ", "answer": "x"}, {"question": "x", "answers": [[3]]}]
    assert [reason for _, reason in bad(read("question_answers", lines(*wrong), "a.jsonl"))] == ["unexpected_shape"] * 3


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (said("u: x", "a: y"), "messages"),
        (SHAREGPT, "sharegpt"),
        ({"instruction": "x", "input": "", "output": "y"}, "alpaca"),
        ({"question": "x", "context": "y", "answers": {"text": ["z"]}}, "question_answers"),
        ({"text": "x", "label": "y"}, None),
        ({"messages": "x"}, None),
    ],
)
def test_a_format_is_known_by_its_rows(row: dict[str, object], name: str | None) -> None:
    assert recognized([row, row, {"text": "a stray row"}]) == name
    assert recognized([]) is None


def test_lines_that_are_no_objects() -> None:
    assert bad(read("messages", b'[]\nnot json\n{"a": "\xff"}\n', "a.jsonl")) == [
        ("1.1", "not_an_object"), ("2.1", "corrupt"), ("3.1", "undecodable"),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".ndjson"])
@pytest.mark.parametrize(
    "name, row",
    [
        ("messages", said("u: Who?", 'a: "Bob"')),
        ("sharegpt", {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": '"Bob"'}]}),
        (
            "preferences",
            {
                "chosen": said("u: Who?", 'a: "Bob"')["messages"],
                "rejected": said("u: Who?", "a: No idea")["messages"],
            },
        ),
    ],
)  # fmt: skip
def test_a_tables_cell_holds_a_conversation_as_json(name: str, row: dict[str, object], ending: str) -> None:
    cells = row
    if ending == ".ndjson":
        text = json.dumps(row)
    else:
        file, cells = io.StringIO(), {column: json.dumps(value) for column, value in row.items()}
        quoting = {".csv": {}, ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None}}[ending]
        csv.writer(file, **quoting).writerows([cells.keys(), cells.values()])
        text = file.getvalue()
    [(_, found)] = good(read(name, text, f"a{ending}"))
    assert (found["question"], found["answer"]) == ("Who?", '"Bob"')
    assert recognized([cells]) == name
