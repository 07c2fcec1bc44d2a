"""Train a vocabulary on text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from langmill.config.sections import TokenizerAlgorithm, TokenizerPattern
from langmill.errors import TokenizerError
from langmill.files import write_text
from langmill.tokenization.patterns import REGEXES
from langmill.tokenization.tokenizer import EOT

_BATCH = 500  # texts handed to the trainer at once
_MIN_PAIR_COUNT = 2  # pairs seen once are not merged
_LONGEST_WORD = 1000
"""Characters; the trainer's time grows with the square of a word's length, so longer words (encoded images, texts
without spaces) are split."""
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD}}}|\s{{{_LONGEST_WORD}}}")  # where there may be one


def train_tokenizer(
    algorithm: TokenizerAlgorithm,
    vocab_size: int,
    texts: Iterable[str],
    out: Path,
    on_text: Callable[[str], object],
    *,
    special_tokens: Sequence[str] = (),
    pattern: TokenizerPattern = TokenizerPattern.langmill,
) -> int:
    """Train a vocabulary and write it as a Hugging Face `tokenizer.json`; equal texts give equal bytes.

    Args:
        algorithm: The algorithm.
        vocab_size: Entries wanted, including end-of-text (id 0), the special tokens (from id 1 on) and the 256 bytes.
        texts: The training texts.
        out: The file to write.
        on_text: Called with each text once it is read.
        special_tokens: Additional special tokens.
        pattern: What splits a text into the words that merges never cross.

    Returns:
        Entries trained: fewer than wanted if no other pair occurs twice.

    Raises:
        TokenizerError: There is no text, or the end-of-text token is among the special ones.
    """
    if EOT in special_tokens:
        raise TokenizerError(
            f"tokenizer.special_tokens has {EOT}, which every vocabulary has; leave it out.", "duplicate"
        )
    tokenizer = _TRAINERS[algorithm](vocab_size, texts, on_text, [EOT, *special_tokens], pattern)
    write_text(out, tokenizer.to_str(pretty=True) + "\n")
    size: int = tokenizer.get_vocab_size(with_added_tokens=True)
    return size


def _train_bpe(
    vocab_size: int,
    texts: Iterable[str],
    on_text: Callable[[str], object],
    special_tokens: list[str],
    pattern: TokenizerPattern,
) -> tokenizers.Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019)."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_PAIR_COUNT,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batches(texts, on_text, REGEXES[pattern]), trainer)
    return tokenizer


def _pre_tokenizer(pattern: TokenizerPattern) -> pre_tokenizers.PreTokenizer:
    """Make what `pre_tokenizer_state` describes."""
    if pattern is TokenizerPattern.gpt2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(tokenizers.Regex(REGEXES[pattern]), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _batches(texts: Iterable[str], on_text: Callable[[str], object], regex: str) -> Iterator[list[str]]:
    remaining = iter(texts)
    empty = True
    while batch := list(itertools.islice(remaining, _BATCH)):
        empty = False
        yield [piece for text in batch for piece in _pieces(text, regex)]
        for text in batch:
            on_text(text)
    if empty:
        raise TokenizerError(
            "There is no text to train a vocabulary on: the corpus has no training document.", "too_few"
        )


def _pieces(text: str, regex: str) -> Iterator[str]:
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


_TRAINERS = {TokenizerAlgorithm.bpe: _train_bpe}
