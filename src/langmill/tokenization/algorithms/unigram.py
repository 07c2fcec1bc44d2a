"""A unigram language model of pieces, over bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import regex
import tokenizers
from pydantic import PositiveInt
from tokenizers import models

from langmill.config.typed import settings
from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, TokenizerAlgorithm, Wanted, byte_level
from langmill.tokenization.algorithms.byte import as_characters
from langmill.tokenization.patterns import REGEXES
from langmill.tokenization.pieces import learn_pieces

_NEVER = -1e6  # the score of a special token, which no text must ever be worth
_DIGITS = 6  # of a score: the last bits of a sum depend on the processor


@settings
class UnigramOptions:
    """Options of the algorithm `unigram`."""

    longest_piece: PositiveInt = 16
    """Bytes of a piece, at most."""
    seeds_per_entry: PositiveInt = 10
    """Pieces to choose each entry from, by how often they occur and how long they are. More are slower."""


@TOKENIZER_ALGORITHMS.register("unigram")
class Unigram(TokenizerAlgorithm):
    """The pieces under which the text is most likely (Kudo, 2018), each of bytes, and all 256 bytes.

    Hugging Face's trainer reads words in the order of a hash table, so that two runs give two vocabularies, and needs
    several times as long; this one is our own, and its file is read by their library.
    """

    options_class = UnigramOptions
    options: UnigramOptions

    def train(self, texts: Iterable[str], wanted: Wanted) -> tokenizers.Tokenizer:
        """Begin with many pieces, and drop those that the likelihood misses least, round by round."""
        assert wanted.size is not None
        options, normalize = self.options, wanted.normalize()
        words: Counter[str] = Counter()
        split = regex.compile(REGEXES[wanted.pattern])
        for text in texts:
            words.update(split.findall(normalize(text)))
        counts: Counter[bytes] = Counter()
        for word, count in words.items():
            counts[word.encode("utf-8", "replace")] += count
        room = wanted.size - len(wanted.special_tokens)
        pieces = learn_pieces(counts, room, options.longest_piece, options.seeds_per_entry)
        vocabulary = [(token, _NEVER) for token in wanted.special_tokens]
        vocabulary += [(as_characters(piece), round(score, _DIGITS)) for piece, score in pieces]
        tokenizer = byte_level(models.Unigram(vocabulary, None, byte_fallback=False), wanted)
        tokenizer.add_special_tokens(list(wanted.special_tokens))
        return tokenizer
