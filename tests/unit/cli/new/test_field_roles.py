"""Which field is what, decided by names and values together; where nothing decides, it is said."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from langmill.cli.new.columns import columns_of
from langmill.cli.new.field_names import fit, language_of, words_of
from langmill.cli.new.field_roles import Roles, roles_of

pytestmark = pytest.mark.unit
Make = Callable[[int], object]


def prose(number: int) -> str:
    return f"The {number}th letter of many that people wrote, with words enough to learn from."


def depends(number: int) -> str:
    return ", ".join(f"libpackage{number}{letter} (>= {number}.{len(letter)})" for letter in "abcdefghijkl")


def short(number: int) -> str:
    return f"letter {number} here"


def classes(number: int) -> str:
    return ("good", "bad", "fair")[number % 3]


def digits(number: int) -> int:
    return number


def link(number: int) -> str:
    return f"https://example.org/some/very/long/path/to/a/page-{number}.html?with=more&and=more"


def digest(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


def chinese(number: int) -> str:
    return "床前明月光疑是地上霜" + "一二三四五六七八九十"[number % 10] * (number + 1)


def german(number: int) -> str:
    return f"Der {number}te Brief von vielen."


def nothing(number: int) -> None:
    return None


def roles(given: dict[str, str | None] | None = None, rows: int = 40, **fields: Make) -> Roles:
    return roles_of([{name: make(number) for name, make in fields.items()} for number in range(rows)], given)  # type: ignore[arg-type]


TABLE: list[tuple[dict[str, Make], dict[str, str]]] = [
    ({"text": prose}, {"text": "text"}),
    ({"package": short, "depends": depends, "description": prose}, {"text": "description"}),
    ({"depends": depends, "description": short}, {"text": "description"}),
    ({"text": nothing, "body": prose}, {"text": "body"}),
    ({"text": digits, "words": prose}, {"text": "words"}),
    ({"url": link, "words": short}, {"text": "words", "id": "url"}),
    ({"sha": digest, "words": short}, {"text": "words"}),
    ({"title": short, "text": prose}, {"text": "text"}),
    ({"text": prose, "content": prose}, {"text": "text"}),
    ({"reviewText": prose, "stars": lambda n: n % 5 + 1}, {"text": "reviewText", "label": "stars"}),
    ({"review_body": prose, "review_id": digest}, {"text": "review_body", "id": "review_id"}),
    ({"n": digits, "诗": chinese, "作者": classes}, {"text": "诗"}),
    ({"Beschreibung": prose, "Kategorie": classes}, {"text": "Beschreibung", "label": "Kategorie"}),
    ({"text": prose, "label": lambda n: n % 2}, {"text": "text", "label": "label"}),
    ({"text": prose, "label": classes, "category": classes}, {"text": "text", "label": "label"}),
    ({"text": prose, "is_spam": lambda n: n % 2 == 0}, {"text": "text", "label": "is_spam"}),
    ({"text": prose, "label": digest}, {"text": "text"}),  # as many as rows: no classes
    ({"text": prose, "target": classes}, {"text": "text", "label": "target"}),
    ({"text": prose, "target": german}, {"text": "text", "target": "target"}),
    ({"text": prose, "target": german, "label": classes}, {"text": "text", "target": "target", "label": "label"}),
    ({"text": prose, "source": classes}, {"text": "text"}),
    ({"source": prose, "target": german}, {"text": "source", "target": "target"}),
    ({"source": classes, "target": classes, "text": prose}, {"text": "text", "label": "target"}),
    ({"prompt": prose, "completion": short}, {"text": "prompt", "target": "completion"}),
    (
        {"question": prose, "answer": lambda n: "yes", "id": digits},
        {"text": "question", "target": "answer", "id": "id"},
    ),
    ({"answer": prose, "question": short}, {"text": "question", "target": "answer"}),
    ({"question": prose, "answer": digits}, {"text": "question", "target": "answer"}),
    ({"text": prose, "target": digits}, {"text": "text"}),
    ({"article": prose, "highlights": short}, {"text": "article", "target": "highlights"}),
    ({"en": prose, "de": german}, {"text": "en", "target": "de"}),
    ({"id": digits, "text_en": prose, "text_de": german}, {"text": "text_en", "target": "text_de", "id": "id"}),
    ({"English": prose, "German": german}, {"text": "English", "target": "German"}),
    ({"id": digest, "no": digits, "text": prose}, {"text": "text", "id": "id"}),  # two codes that are words
    ({"id": digits, "text": prose, "time": digits}, {"text": "text", "id": "id"}),
    ({"uuid": digest, "id": digits, "text": prose}, {"text": "text", "id": "uuid"}),
    ({"id": lambda n: 7, "text": prose}, {"text": "text"}),  # the same in every row
    ({"n": digits}, {}),
]


@pytest.mark.parametrize(("fields", "expected"), TABLE)
def test_fields_are_known_by_name_and_by_value(fields: dict[str, Make], expected: dict[str, str]) -> None:
    found = roles(**fields)
    assert (dict(found.fields), found.near) == (expected, {})
    assert set(found.why) == set(expected)


@pytest.mark.parametrize(
    ("fields", "role", "options"),
    [
        ({"body": prose, "content": prose}, "text", {"body", "content"}),
        ({"a": prose, "b": prose}, "text", {"a", "b"}),
        ({"en": prose, "de": german, "fr": german}, "text", {"en", "de", "fr"}),
        ({"text": prose, "category": classes, "sentiment": classes}, "label", {"category", "sentiment"}),
        ({"text": prose, "Text": prose, "title": short}, "text", {"text", "Text"}),
        ({"text": prose, "label": classes, "Label": classes}, "label", {"label", "Label"}),
    ],
)
def test_fields_as_good_as_each_other_are_said(fields: dict[str, Make], role: str, options: set[str]) -> None:
    found = roles(**fields)
    assert {key: set(names) for key, names in found.near.items()} == {role: options}
    assert role not in found.fields


def test_what_a_person_says_decides() -> None:
    assert roles({"text": "a"}, a=prose, b=prose).fields == {"text": "a"}
    said = roles({"text": "a", "label": None}, a=prose, b=prose, label=classes)
    assert said.fields == {"text": "a"} and not said.near
    assert roles({"target": None}, prompt=prose, completion=short).fields == {"text": "prompt"}
    three = {"en": prose, "de": german, "fr": german}
    assert roles({"text": "de", "target": "en"}, **three).fields == {"text": "de", "target": "en"}
    assert roles({"text": "fr", "target": "en"}, **three).task == "text_to_text"
    assert roles({"target": "en"}, en=prose, de=german).fields == {"text": "de", "target": "en"}


def test_what_a_person_says_of_one_of_three_languages_leaves_the_other_open() -> None:
    three = {"en": prose, "de": german, "fr": german}
    assert roles({"text": "en"}, **three).near == {"target": ("de", "fr")}
    assert roles({"target": "en"}, **three).near == {"text": ("de", "fr")}
    assert not roles({"text": "en", "target": None}, **three).near
    assert not roles({"text": "body"}, body=prose, **three).near


def test_why_a_field_that_is_called_like_it_is_not_taken() -> None:
    found = roles(text=prose, label=lambda n: ["x", "y"])
    assert "label" not in found.fields and found.why["label"] == "label holds lists or objects"
    found = roles(prompt=prose, completion=lambda n: ["x", "y"])
    assert "target" not in found.fields and "--target completion joins them" in found.why["target"]


@pytest.mark.parametrize(
    ("fields", "task"),
    [
        ({"en": prose, "de": german}, "text_to_text"),
        ({"prompt": prose, "completion": short}, "completion"),
        ({"text": prose, "label": classes}, "classification"),
        ({"text": prose}, None),
    ],
)
def test_the_task_that_fits(fields: dict[str, Make], task: str | None) -> None:
    assert roles(**fields).task == task


def test_a_handful_of_rows_does_too() -> None:
    assert roles(rows=1, text=prose, label=classes).fields == {"text": "text", "label": "label"}
    assert roles(rows=2, source=prose, target=german).fields == {"text": "source", "target": "target"}
    assert roles(rows=0, text=prose).fields == {}


def test_names_are_taken_apart() -> None:
    assert words_of("reviewText") == words_of("review_text") == words_of("Review text") == ("review", "text")
    assert words_of("HTMLBody") == ("html", "body")
    assert fit("review_text", {"text": 1.0}) == 0.9 and fit("text_clean", {"text": 1.0}) == 0.7
    assert language_of("title-en") == ("en", ("title",)) and language_of("en_de") is None


def test_what_values_look_like() -> None:
    rows = [{"a": "two words", "b": 1}, {"a": None, "b": 1.0}, {"a": "", "b": float("nan")}, {"a": "two words"}]
    a, b = columns_of(rows)
    assert (a.present, a.texts, a.distinct, a.num_distinct, a.mean_length) == (0.5, 1.0, 0.5, 1, 9.0)
    assert (b.present, b.texts, b.num_distinct) == (0.5, 0.0, 2)
