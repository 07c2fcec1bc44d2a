"""Plain values onto dataclasses: what is taken, and the sentence for what is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import pytest

from langmill.config.compose import plain
from langmill.config.typed import typed
from langmill.errors import ConfigError

pytestmark = pytest.mark.unit


class Colour(StrEnum):
    """An enum."""

    red = "red"
    blue = "blue"


@dataclass
class Inner:
    """A section in a section."""

    text: str
    count: int


@dataclass
class Outer:
    """Every kind of field."""

    text: str
    maybe: str | None
    number: float
    count: int | None
    flag: bool
    colour: Colour
    texts: list[str]
    inner: Inner
    inners: list[Inner]
    only: dict[str, list[str]]
    anything: dict[str, Any]


RIGHT: dict[str, Any] = {
    "text": "${a}", "maybe": None, "number": 1, "count": 3, "flag": True, "colour": "blue", "texts": ["???", "no"],
    "inner": {"text": "a", "count": 1}, "inners": [{"text": "b", "count": 2}], "only": {"source": ["imdb"]},
    "anything": {"a": [1, {"b": None}]},
}  # fmt: skip


def test_right_values_are_taken_as_they_are_and_come_back():
    outer = typed(Outer, RIGHT, "a.yaml")
    assert (outer.colour, outer.inner, outer.inners) == (Colour.blue, Inner("a", 1), [Inner("b", 2)])
    assert type(outer.number) is float
    assert outer.text == "${a}"  # no reference is followed here
    assert plain(outer) == RIGHT
    assert typed(Outer, plain(outer), "a.yaml") == outer


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"text": 1.1}, "text is 1.1; allowed is a text, but this was read as a number: quote it as it is meant."),
        ({"text": False}, "text is False; allowed is a text, but this was read as true or false: quote it"),
        ({"text": None}, "text is None; allowed is a text."),
        ({"maybe": 5}, "maybe is 5; allowed is a text or null, but this was read as a number"),
        ({"number": "1e-4"}, "number is '1e-4'; allowed is a number."),
        ({"number": True}, "number is True; allowed is a number."),
        ({"count": 1.0}, "count is 1.0; allowed is a whole number or null."),
        ({"count": "1_000"}, "count is '1_000'; allowed is a whole number or null."),
        ({"flag": "no"}, "flag is 'no'; allowed is true or false."),
        ({"flag": 1}, "flag is 1; allowed is true or false."),
        ({"colour": "green"}, "colour is 'green'; allowed is one of red, blue."),
        ({"texts": "a"}, "texts is 'a'; allowed is a list, each item a text."),
        ({"texts": ["a", 1.10]}, "texts[1] is 1.1; allowed is a text, but this was read as a number"),
        ({"inner": 1}, "inner is 1; allowed is a section with the fields text, count."),
        ({"inner": {"text": "a"}}, "inner.count is missing; it has no default."),
        ({"inner": {"text": "a", "count": 1, "cuont": 2}}, "inner.cuont is not a setting; did you mean count?"),
        ({"inners": [{"text": 1, "count": 1}]}, "inners[0].text is 1; allowed is a text"),
        ({"only": {"source": "imdb"}}, "only.source is 'imdb'; allowed is a list, each item a text."),
        ({"only": {"source": [1]}}, "only.source[0] is 1; allowed is a text"),
        ({"only": []}, "only is []; allowed is a table of names, each with a list, each item a text."),
        ({"zzz": 1}, "zzz is not a setting; known are text, maybe, number, "),
    ],
)
def test_wrong_values_are_refused(values, sentence):
    with pytest.raises(ConfigError) as caught:
        typed(Outer, RIGHT | values, "a.yaml")
    assert str(caught.value).startswith(f"a.yaml: {sentence}")


def test_a_file_of_something_else_is_refused():
    with pytest.raises(ConfigError, match=r"^a\.yaml: the file is 'text'; allowed is a section with the fields text"):
        typed(Inner, "text", "a.yaml")  # type: ignore[arg-type]


def test_a_renamed_field_is_read_under_its_old_name_with_a_warning(caplog):
    @dataclass
    class Renamed:
        """A section with a field that had another name."""

        renamed_fields: ClassVar[Mapping[str, str]] = {"was": "count"}
        count: int

    assert typed(Renamed, {"was": 2, "count": 1}, "a.yaml").count == 2
    assert caplog.messages == []  # a model that was saved under the old name
    assert typed(Renamed, {"was": 2, "count": 1}, "a.yaml", "top", warn=True).count == 2
    assert caplog.messages == ["a.yaml: top.was is called top.count now."]
