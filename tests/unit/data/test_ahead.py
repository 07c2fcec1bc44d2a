"""Computing ahead: in order, not all at once, and errors reach the caller."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langmill.data.ahead import computed_ahead

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items_and_few_items_are_read_ahead(threads: int) -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(100):
            read = number + 1
            yield number

    for number, result in enumerate(computed_ahead(lambda item: item * item, items(), threads)):
        assert result == number * number
        assert read <= number + 1 + 2 * threads
    assert read == 100


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_the_caller(threads: int) -> None:
    found = computed_ahead(lambda item: 1 // item, [2, 1, 0, 1], threads)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)
