"""Byte-level byte-pair encoding."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, TokenizerAlgorithm, Wanted, byte_level
from langmill.tokenization.patterns import REGEXES

MIN_PAIR_COUNT = 2
"""Pairs seen once are not merged."""
_BATCH = 500  # texts handed to the trainer at once
_LONGEST_WORD = 1000
"""Characters; the trainer's time grows with the square of a word's length, so longer words (encoded images, texts
without spaces) are split."""
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD}}}|\s{{{_LONGEST_WORD}}}")  # where there may be one


@TOKENIZER_ALGORITHMS.register("bpe")
class BytePairEncoding(TokenizerAlgorithm):
    """Byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019)."""

    def train(self, texts: Iterable[str], wanted: Wanted) -> tokenizers.Tokenizer:
        """Merge the commonest pair, again and again, by Hugging Face's trainer."""
        assert wanted.size is not None  # the section asks for it
        tokenizer = byte_level(models.BPE(), wanted)
        trainer = trainers.BpeTrainer(
            vocab_size=wanted.size,
            min_frequency=MIN_PAIR_COUNT,
            special_tokens=list(wanted.special_tokens),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_batches(texts, REGEXES[wanted.pattern]), trainer)
        return tokenizer


def _batches(texts: Iterable[str], regex: str) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield [piece for text in batch for piece in split_long_words(text, regex)]


def split_long_words(text: str, regex: str) -> Iterator[str]:
    """Split a text within its very long words only: a split between two words changes nothing."""
    if _LONG_WORD.search(text) is None:
        yield text
        return
    words = pre_tokenizers.Split(tokenizers.Regex(regex), behavior="isolated").pre_tokenize_str(text)
    for is_long, group in itertools.groupby((word for word, _ in words), lambda word: len(word) > _LONGEST_WORD):
        if not is_long:
            yield "".join(group)
            continue
        for word in group:
            yield from (word[start : start + _LONGEST_WORD] for start in range(0, len(word), _LONGEST_WORD))
