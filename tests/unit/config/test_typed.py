"""Plain values onto dataclasses: what is taken, and the sentence for what is not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, PositiveInt

from langmill.config.compose import plain
from langmill.config.constraints import Allowed, Share, require
from langmill.config.typed import settings, typed
from langmill.errors import ConfigError, FieldError
from tests.refused import refused

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
    ("values", "code", "told"),
    [
        ({"text": 1.1}, "wrong_type", ["text is 1.1", "a text", "read as a number: quote it"]),
        ({"text": False}, "wrong_type", ["text is false", "a text", "read as true or false: quote it"]),
        ({"text": None}, "wrong_type", ["text is null", "a text."]),
        ({"text": ["a", True]}, "wrong_type", ["text is a list (a, true)", "a text"]),
        ({"maybe": 5}, "wrong_type", ["maybe is 5", "a text or null", "quote it"]),
        ({"number": "1e-4"}, "wrong_type", ["number is '1e-4'", "a number."]),
        ({"number": True}, "wrong_type", ["number is true", "a number."]),
        ({"count": 1.0}, "wrong_type", ["count is 1.0", "a whole number or null"]),
        ({"count": "1_000"}, "wrong_type", ["count is '1_000'", "a whole number or null"]),
        ({"flag": "no"}, "wrong_type", ["flag is 'no'", "true or false."]),
        ({"flag": 1}, "wrong_type", ["flag is 1", "true or false."]),
        ({"colour": "green"}, "wrong_type", ["colour is green", "red, blue"]),
        ({"texts": "a"}, "wrong_type", ["texts is a;", "a list, each item a text"]),
        ({"texts": ["a", 1.10]}, "wrong_type", ["texts[1] is 1.1", "a text", "quote it"]),
        ({"inner": 1}, "wrong_type", ["inner is 1", "text, count"]),
        ({"inner": {"text": "a"}}, "missing", ["inner.count"]),
        ({"inner": {"text": "a", "count": 1, "cuont": 2}}, "unknown", ["inner.cuont", "did you mean count?"]),
        ({"inners": [{"text": 1, "count": 1}]}, "wrong_type", ["inners[0].text is 1", "a text"]),
        ({"only": {"source": "imdb"}}, "wrong_type", ["only.source is imdb", "a list, each item a text"]),
        ({"only": {"source": [1]}}, "wrong_type", ["only.source[0] is 1", "a text"]),
        ({"only": []}, "wrong_type", ["only is an empty list", "a table of names, each with a list"]),
        ({"zzz": 1}, "unknown", ["zzz", "known are text, maybe, number, "]),
    ],
)
def test_wrong_values_are_refused(values, code, told):
    with refused(ConfigError, code, "a.yaml: ", *told):
        typed(Outer, RIGHT | values, "a.yaml")


def test_a_file_of_something_else_is_refused():
    with refused(ConfigError, "wrong_type", "a.yaml: the file is text", "text, count"):
        typed(Inner, "text", "a.yaml")  # type: ignore[arg-type]


@settings
class Bounded:
    """Every kind of bound."""

    positive: PositiveInt = 1
    share: Share = 0.5
    mass: Annotated[float, Field(gt=0, le=1)] = 1.0
    rate: Annotated[float, Field(gt=0, lt=10)] | None = None
    base: Annotated[float, Field(gt=1)] = 2.0
    few: Annotated[int, Field(lt=3)] = 0
    names: Annotated[list[str], Allowed("at least one name", bool)] = field(default_factory=lambda: ["a"])
    size: Literal["small", "large"] = "small"
    shares: tuple[Share, ...] = ()

    def __post_init__(self) -> None:
        require(self.share <= self.mass, "share", self.share, f"at most mass ({self.mass})")


@dataclass
class Foreign:
    """A plain class of another distribution, which checks itself as it likes."""

    bounded: Bounded
    count: PositiveInt = 1

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ConfigError("foreign.count is 13; allowed is luck", "luck")
        if self.count == 14:
            raise ValueError("no floor has this number")


@pytest.mark.parametrize(
    ("values", "code", "sentence"),
    [
        ({"positive": 0}, "impossible", "positive is 0; allowed is 1 or more"),
        ({"positive": None}, "wrong_type", "positive is null; allowed is a whole number"),
        ({"share": 1}, "impossible", "share is 1; allowed is 0 to below 1"),
        ({"share": math.nan}, "impossible", "share is .nan; allowed is 0 to below 1"),
        ({"mass": 0.0}, "impossible", "mass is 0.0; allowed is above 0, at most 1"),
        ({"rate": 10}, "impossible", "rate is 10; allowed is above 0 and below 10"),
        ({"base": math.inf}, "impossible", "base is .inf; allowed is above 1"),
        ({"few": 3}, "impossible", "few is 3; allowed is at most 2"),
        ({"names": []}, "impossible", "names is an empty list; allowed is at least one name"),
        ({"size": "huge"}, "wrong_type", "size is huge; allowed is one of small, large"),
        ({"shares": [0.0, 2.0]}, "impossible", "shares[1] is 2.0; allowed is 0 to below 1"),
        ({"mass": 0.25}, "impossible", "share is 0.5; allowed is at most mass (0.25)"),
        ({"sizes": 1, "positive": "a"}, "unknown", "sizes is not a setting; did you mean size?"),
    ],
)
def test_bounds_are_told_as_they_stand_at_the_field(values: dict[str, Any], code: str, sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        typed(Foreign, {"bounded": values}, "a.yaml", "top")
    end = "" if sentence.endswith("?") else "."
    assert str(caught.value) == f"a.yaml: top.bounded.{sentence}{end}"
    assert caught.value.code == code
    assert caught.value.key == f"top.bounded.{sentence.partition(' ')[0]}"


@pytest.mark.parametrize(
    ("values", "code", "sentence"),
    [
        ({"bounded": {}, "count": 13}, "luck", "foreign.count is 13; allowed is luck"),
        ({"bounded": {}, "count": 14}, "impossible", "the file is refused: no floor has this number"),
        ({"bounded": {}, "count": True}, "wrong_type", "count is true; allowed is a whole number"),
        ({"bounded": {1: 2}}, "wrong_type", "a key of bounded is 1; allowed is a text, but this was read as a number"),
        ({}, "missing", "bounded is missing; it has no default"),
        ({"bounded": {"names": ["\ud800"]}}, "wrong_type", "the file holds half a character (a lone surrogate)"),
    ],
)
def test_a_plain_class_is_checked_as_strictly(values: dict[str, Any], code: str, sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        typed(Foreign, values, "a.yaml")
    assert str(caught.value).startswith(f"a.yaml: {sentence}")
    assert caught.value.code == code


def test_what_is_made_by_hand_is_checked_too() -> None:
    bounded = Bounded(2, share=0.25)
    assert replace(bounded, positive=3) == Bounded(3, 0.25)
    with refused(FieldError, "impossible", "mass is 2.0", "above 0, at most 1"):
        replace(bounded, mass=2.0)
    with refused(FieldError, "impossible", "positive is 0", "1 or more"):
        Bounded(0)
    with pytest.raises(AttributeError):
        bounded.positive = 4  # type: ignore[misc]


@settings
class Renamed:
    """A section with a field that had another name, also in a list of its own kind."""

    renamed_fields: ClassVar[Mapping[str, str]] = {"was": "count"}
    count: int


@dataclass
class Holder:
    """Where the names are those of an inner section."""

    inner: list[Renamed]


def test_a_renamed_field_is_read_under_its_old_name_with_a_warning(caplog):
    assert typed(Renamed, {"was": 2, "count": 1}, "a.yaml").count == 2
    assert caplog.messages == []  # a model that was saved under the old name
    places = {"top.was": (0, "a.yaml"), "top.count": (-1, "base.yaml"), "inner[0].was": (0, "b.yaml")}
    assert typed(Renamed, {"was": 2, "count": 1}, "a.yaml", "top", places.get).count == 2  # over a default
    assert caplog.messages == ["a.yaml: top.was is top.count now."]
    assert typed(Holder, {"inner": [{"was": 1}]}, "b.yaml", "", places.get) == Holder([Renamed(1)])
    assert caplog.messages[1:] == ["b.yaml: inner[0].was is inner[0].count now."]


@pytest.mark.parametrize("place", [(0, "a.yaml"), (1, "the override top.count=1")])
def test_a_field_that_is_given_under_both_names_is_refused(place):
    places = {"top.was": (0, "a.yaml"), "top.count": place}
    with refused(FieldError, "duplicate", "top.was", "top.count"):
        typed(Renamed, {"was": 2, "count": 1}, "a.yaml", "top", places.get)
