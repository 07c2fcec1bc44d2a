"""Batches in which a text's scores are the same whatever it is scored beside.

Addition rounds, and a library adds in an order that depends on the shape: a text's sums are the same only if it is
always padded to the same length, and if there are rows enough that the same routine multiplies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

LEAST_ROWS = 4
"""Sequences in a batch to be scored, at least: matrices of one or two rows are multiplied by other routines."""


def padded_length(length: int, longest: int) -> int:
    """The length that a sequence is padded to, whatever else is scored: in steps of 8 at least, a quarter at most."""
    length = max(1, length)
    step = max(8, (1 << (length - 1).bit_length()) >> 3)
    return max(length, min(longest, -(-length // step) * step))


def uniform_batches(
    shapes: Sequence[tuple[int, ...]], batch_tokens: int
) -> Iterator[tuple[list[int], tuple[int, ...]]]:
    """The numbers of examples of one shape, as many as `batch_tokens` allows, and the shape; the small ones first.

    A shape is the padded length of each sequence of an example. A batch has one example at least.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(number)
    for shape, numbers in sorted(groups.items()):
        size = max(1, batch_tokens // sum(shape))
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size], shape
