"""Texts that are decoded in one forward pass, and may come and go between two of them (Yu et al., 2022, Orca).

A prompt is read by itself, in chunks, into a cache of its own; then its sequence joins the others as the last row of
one cache, which is allocated once. All rows get their next token in one pass. A text that ends leaves its row to the
last one, so that the rows stay the first ones and a pass reads no others.

What was read is kept for the next prompt that begins with the same tokens (a system prompt, an earlier turn of a
conversation).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor

from langmill.models.base import Cache, JoinableCache
from langmill.models.generation.network import Decodes

_SHORTEST_PREFIX = 16
"""Fewer tokens in common are read again: copying is not faster then."""
_MOST_PREFIXES = 256
"""All of them are looked through for each prompt; of a small model many thousands would fit the memory."""


class Slot:
    """A text's place.

    Attributes:
        read_ids: The tokens whose keys and values the cache holds; of an encoder-decoder those of the target.
    """

    def __init__(self, cache: Cache, first_ids: Sequence[int], read_ids: Sequence[int], capacity: int) -> None:
        self.read_ids = list(read_ids)
        self.capacity = capacity
        self.first_ids = list(first_ids)
        self.cache: Cache | None = cache  # its own, until its prompt is read

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are to be read."""
        return len(self.first_ids) - len(self.read_ids) if self.cache is not None else 0


class Slots:
    """The texts that one network decodes together.

    Args:
        network: Its caches must be `JoinableCache`s (`Decodes.joins`).
        prefix_bytes: Memory for keys and values of earlier prompts, at most.
    """

    def __init__(self, network: Decodes, prefix_bytes: int) -> None:
        self._network = network
        self._cache: JoinableCache | None = None
        self._rows: list[Slot] = []
        self._prefixes = _Prefixes(prefix_bytes)

    @property
    def rows(self) -> Sequence[Slot]:
        """The slots whose prompts are read, in the order of `decode`."""
        return self._rows

    def begin(self, prompt_ids: Sequence[int], max_new_tokens: int) -> Slot:
        """Open a slot for a prompt, of which `prefill` reads the tokens; an encoder reads its source here.

        Raises ModelError where the prompt is empty or too long, or the network is in training mode.
        """
        cache, (first_ids,) = self._network.begin([prompt_ids], 0)
        known = self._prefixes.find(first_ids, len(first_ids))
        capacity = min(len(first_ids) + max_new_tokens, self._network.max_length)
        if known is None:
            return Slot(cache, first_ids, [], capacity)
        return Slot(known, first_ids, first_ids[: known.length], capacity)

    def prefill(self, slot: Slot, max_tokens: int) -> Tensor | None:
        """Read up to `max_tokens` more tokens of a slot's prompt.

        Returns:
            The next-token logits `(vocabulary,)` once the prompt is read: then the slot is the last of `rows`.
        """
        assert slot.cache is not None
        done = len(slot.read_ids)
        chunk = slot.first_ids[done : done + max_tokens]
        logits_V = self._network.read([chunk], slot.cache)[0]
        slot.read_ids += chunk
        if slot.unread:
            return None
        self._join(slot)
        return logits_V

    def decode(self, new_ids: Mapping[Slot, int]) -> Tensor:
        """Read one new token of every slot in `rows`; return the next-token logits `(rows, vocabulary)`."""
        assert self._cache is not None
        ids = [new_ids[slot] for slot in self._rows]
        logits_BV = self._network.read([[token] for token in ids], self._cache)
        for slot, token in zip(self._rows, ids, strict=True):
            slot.read_ids.append(token)
        return logits_BV

    def free(self, slot: Slot) -> None:
        """Forget a text, wherever it is; another one takes its row."""
        if slot.cache is not None:
            slot.cache = None
            return
        assert self._cache is not None
        row = self._rows.index(slot)
        self._prefixes.keep(slot.read_ids, self._cache, row)
        self._cache.remove(row)
        last = self._rows.pop()
        if last is not slot:
            self._rows[row] = last

    def _join(self, slot: Slot) -> None:
        cache = slot.cache
        assert isinstance(cache, JoinableCache)
        if self._cache is None:
            self._cache = cache.emptied()
        self._prefixes.keep(slot.read_ids, cache, 0)
        self._cache.join(cache, slot.capacity)
        self._rows.append(slot)
        slot.cache = None


class _Prefixes:
    """Keys and values of what was read lately, limited in number and bytes; the least recently used is forgotten."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[int, ...], JoinableCache] = OrderedDict()

    def find(self, ids: Sequence[int], capacity: int) -> Cache | None:
        """A cache with the tokens that `ids` begins with, as many as are known; None where they are few.

        One token at least is left to be read, for its logits.
        """
        best, length = None, 0
        for known in self._kept:
            common = _common(known, ids)
            if common > length:
                best, length = known, common
        length = min(length, len(ids) - 1)
        if best is None or length < _SHORTEST_PREFIX:
            return None
        self._kept.move_to_end(best)
        return self._kept[best].prefix(0, length, capacity)

    def keep(self, ids: Sequence[int], cache: JoinableCache, row: int) -> None:
        """Copy the tokens of a row, in place of those that they begin with."""
        size = cache.token_bytes
        if len(ids) < _SHORTEST_PREFIX or not 0 < len(ids) * size <= self._max_bytes:
            return
        for known in list(self._kept):
            common = _common(known, ids)
            if common == len(ids):  # nothing new
                self._kept.move_to_end(known)
                return
            if common == len(known):
                del self._kept[known]
        copied = cache.prefix(row, len(ids), len(ids))
        if copied is None:
            return
        self._kept[tuple(ids)] = copied
        while len(self._kept) > _MOST_PREFIXES or sum(map(len, self._kept)) * size > self._max_bytes:
            self._kept.popitem(last=False)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    length = min(len(one), len(other))
    return next((place for place in range(length) if one[place] != other[place]), length)
