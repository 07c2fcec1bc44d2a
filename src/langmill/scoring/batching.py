"""Batches in which a text's scores are the same whatever it is scored beside.

Addition rounds, and a library adds in an order that depends on the shape: a text's sums are the same only if it is
always padded to the same length, and if there are rows enough that the same routine multiplies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

LEAST_ROWS = 4
"""Sequences in a batch to be scored, at least: matrices of one or two rows are multiplied by other routines."""


def padded_length(length: int, longest: int) -> int:
    """The length that a sequence is padded to, whatever it is scored with: in steps of 8 at least, a quarter at most.

    The network can read `longest` tokens at once.
    """
    length = max(1, length)
    step = max(8, (1 << (length - 1).bit_length()) >> 3)
    return max(length, min(longest, -(-length // step) * step))


def uniform_batches(
    shapes: Sequence[tuple[int, ...]], batch_tokens: int
) -> Iterator[tuple[list[int], tuple[int, ...]]]:
    """Examples of one shape together, as many as `batch_tokens` allows, the small ones first.

    Args:
        shapes: The padded length of each sequence of each example.
        batch_tokens: Tokens of a batch, padding counted; a batch has one example at least.

    Yields:
        The examples' numbers and their shape.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(number)
    for shape, numbers in sorted(groups.items()):
        size = max(1, batch_tokens // sum(shape))
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size], shape
