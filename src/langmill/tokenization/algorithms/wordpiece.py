"""WordPiece, as BERT has it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers
from pydantic import PositiveInt
from tokenizers import decoders, models, pre_tokenizers, trainers

from langmill.config.typed import settings
from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, TokenizerAlgorithm, Wanted, make_normalizer
from langmill.tokenization.algorithms.bpe import MIN_PAIR_COUNT

UNKNOWN = "[UNK]"
"""Stands for a word with a character that the vocabulary lacks."""
PREFIX = "##"
"""Before a token that goes on with a word."""
_ALPHABET_SHARE = 4  # a character may be two entries, as the beginning of a word and within one
_REPEATED = 500  # of one word, in a text


@settings
class WordPieceOptions:
    """Options of the algorithm `wordpiece`."""

    longest_word: PositiveInt = 100
    """Characters; longer words are cut. BERT's own code makes one unknown token of such a word."""


@TOKENIZER_ALGORITHMS.register("wordpiece")
class WordPiece(TokenizerAlgorithm):
    """Words and their parts (Schuster and Nakajima, 2012; Devlin et al., 2019), for models that BERT's tools read.

    Words end at white space and at punctuation, and ideographs are words. White space is lost; a word with a character
    that the vocabulary lacks becomes one unknown token.
    """

    options_class = WordPieceOptions
    options: WordPieceOptions
    takes_pattern = False

    def train(self, texts: Iterable[str], wanted: Wanted) -> tokenizers.Tokenizer:
        """Merge as for BPE, by Hugging Face's trainer, over the commonest characters."""
        assert wanted.size is not None
        splitter = _pre_tokenizer(self.options.longest_word)
        words = _count_words(texts, wanted, splitter)
        special = [*wanted.special_tokens, UNKNOWN]
        alphabet = _alphabet(words, max(1, (wanted.size - len(special)) // _ALPHABET_SHARE))
        tokenizer = tokenizers.Tokenizer(self._model(_learned(words, alphabet, special, wanted.size, splitter)))
        step = make_normalizer(wanted.normalizer)
        if step is not None:
            tokenizer.normalizer = step
        tokenizer.pre_tokenizer = splitter
        tokenizer.decoder = decoders.WordPiece(prefix=PREFIX)
        tokenizer.add_special_tokens(special)
        return tokenizer

    def _model(self, vocabulary: dict[str, int]) -> models.WordPiece:
        return models.WordPiece(
            vocabulary,
            unk_token=UNKNOWN,
            max_input_chars_per_word=self.options.longest_word,
            continuing_subword_prefix=PREFIX,
        )


def _learned(
    words: Counter[str], alphabet: list[str], special: list[str], size: int, splitter: pre_tokenizers.PreTokenizer
) -> dict[str, int]:
    """The trainer's vocabulary.

    It numbers what it meets in the order of a hash table, and then decides between equally common pairs by those
    numbers. So it is given every character, at the beginning of a word and within one, as something that has a number.
    """
    inside = {character for word in words for character in word[1:]}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=MIN_PAIR_COUNT,
        special_tokens=[*special, *(PREFIX + character for character in sorted(inside.intersection(alphabet)))],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),  # with both, the trainer leaves out all others
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_repeated(words), trainer)
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return vocabulary


def _pre_tokenizer(longest_word: int) -> pre_tokenizers.PreTokenizer:
    def isolated(regex: str) -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.Split(tokenizers.Regex(regex), behavior="isolated")

    bounded = isolated(rf"[\s\S]{{1,{longest_word}}}")
    return pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), isolated(r"\p{Han}"), bounded])


def _count_words(texts: Iterable[str], wanted: Wanted, splitter: pre_tokenizers.PreTokenizer) -> Counter[str]:
    normalize = wanted.normalize()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalize(text)))
    return words


def _alphabet(words: Counter[str], most: int) -> list[str]:
    """The commonest characters; none that occurs once."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [character for character, count in common[:most] if count >= MIN_PAIR_COUNT] or [common[0][0]]


def _repeated(words: Counter[str]) -> Iterator[str]:
    """The words as texts, each as often as it occurs."""
    for word, count in sorted(words.items()):
        full, rest = divmod(count, _REPEATED)
        yield from itertools.repeat(f"{word} " * _REPEATED, full)
        yield f"{word} " * rest
