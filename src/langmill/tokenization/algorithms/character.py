"""The commonest characters, each a token; every other one in its bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers

from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, TokenizerAlgorithm, Wanted
from langmill.tokenization.algorithms.bpe import MIN_PAIR_COUNT
from langmill.tokenization.algorithms.byte import with_merges

_BYTES = 256


@TOKENIZER_ALGORITHMS.register("character")
class Character(TokenizerAlgorithm):
    """Each of the commonest characters is a token, and so is each byte of the others, so that none is unknown.

    It is byte-level BPE whose merges never leave a character: the beginnings of a character's bytes are entries, too.
    """

    def train(self, texts: Iterable[str], wanted: Wanted) -> tokenizers.Tokenizer:
        """Take the characters by how often they occur, as many as the vocabulary has room for."""
        assert wanted.size is not None
        counts: Counter[str] = Counter()
        normalize = wanted.normalize()
        for text in texts:
            counts.update(normalize(text))
        room = wanted.size - len(wanted.special_tokens) - _BYTES
        return with_merges(_merges(counts, room), wanted)


def _merges(counts: Counter[str], room: int) -> Iterator[tuple[bytes, bytes]]:
    """The merges that make the commonest characters of their bytes, at most `room` of them."""
    made: set[bytes] = set()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        data = character.encode("utf-8", "replace")
        missing = [end for end in range(2, len(data) + 1) if data[:end] not in made]
        if count < MIN_PAIR_COUNT or len(made) + len(missing) > room:
            return
        for end in missing:
            made.add(data[:end])
            yield data[: end - 1], data[end - 1 : end]
