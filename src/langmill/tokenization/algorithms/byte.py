"""The bytes alone."""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import models

from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, TokenizerAlgorithm, Wanted, byte_level
from langmill.tokenization.byte_level import BYTE_CHARACTERS


@TOKENIZER_ALGORITHMS.register("byte")
class Byte(TokenizerAlgorithm):
    """Each byte of a text in UTF-8 is a token (as in ByT5, Xue et al., 2022)."""

    fixed_size = True

    def train(self, texts: Iterable[str], wanted: Wanted) -> tokenizers.Tokenizer:
        """Read the texts, of which nothing is learned."""
        for _ in texts:
            pass
        return with_merges([], wanted)


def with_merges(merges: Iterable[tuple[bytes, bytes]], wanted: Wanted) -> tokenizers.Tokenizer:
    """Make byte-level BPE of its merges: the special tokens, the 256 bytes and the merges have ids in this order."""
    characters = sorted(BYTE_CHARACTERS.values())
    vocabulary = {token: number for number, token in enumerate([*wanted.special_tokens, *characters])}
    written = [(as_characters(left), as_characters(right)) for left, right in merges]
    for left, right in written:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = byte_level(models.BPE(vocabulary, written), wanted)
    tokenizer.add_special_tokens(list(wanted.special_tokens))
    return tokenizer


def as_characters(token: bytes) -> str:
    """Bytes in GPT-2's byte characters."""
    return "".join(map(BYTE_CHARACTERS.__getitem__, token))
