"""Which documents are judged where there is a cap."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from langmill.data.document import Document
from langmill.scoring.drawing import draw

pytestmark = pytest.mark.unit


def reviews(count: int) -> list[Document]:
    """A quarter negative; three sources; twenty works."""
    sources = ("imdb", "rt", "imdb", "rt", "imdb", "rt", "imdb", "imdb", "web", "imdb")
    return [
        Document(
            f"d{n}",
            "text",
            "positive" if n % 4 else "negative",
            metadata={"source": sources[n % 10], "work": f"w{n % 20}"},
        )
        for n in range(count)
    ]


def test_without_a_cap_all_are_judged() -> None:
    some = reviews(10)
    assert draw(some, None, 1, []) == draw(some, 10, 1, []) == some


@pytest.mark.parametrize("most", [1, 7, 100, 399])
def test_every_stratum_gets_its_share(most: int) -> None:
    some = reviews(400)
    drawn = draw(some, most, 1, ["source"])
    assert len({each.id for each in drawn}) == most
    for values in (
        lambda each: each.label,
        lambda each: (each.label, each.metadata["source"]),
    ):
        whole, part = (Counter(map(values, documents)) for documents in (some, drawn))
        for value, count in whole.items():
            assert abs(part[value] - count * most / 400) <= 1


def test_more_groups_than_documents_are_drawn_as_groups() -> None:
    drawn = draw(reviews(400), 8, 1, ["work"])
    assert len({each.metadata["work"] for each in drawn}) == 8


def test_the_draw_is_the_seeds_alone_and_keeps_the_order() -> None:
    some = reviews(400)
    first = draw(some, 50, 1, ["source", "work"])
    assert draw(some[::-1], 50, 1, ["source", "work"]) == first[::-1]
    assert [each.id for each in first[:3]] == ["d33", "d42", "d44"]  # in this process and in every other
    assert draw(some, 50, 2, ["source", "work"]) != first
    assert all(some.index(one) < some.index(other) for one, other in pairwise(first))


def test_documents_that_are_added_to_one_stratum_change_little() -> None:
    some = reviews(400)
    more = [Document(f"n{n}", "text", "positive", metadata={"source": "imdb"}) for n in range(40)]
    before, after = (draw(each, share, 1, ["source"]) for each, share in ((some, 100), ([*some, *more], 110)))
    assert len({each.id for each in before} & {each.id for each in after}) > 80
