"""What an algorithm that learns a vocabulary offers, and what the byte-level ones share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers

from langmill.config import sections
from langmill.config.constraints import require
from langmill.config.sections import TokenizerNormalizer, TokenizerPattern
from langmill.plugins import NoOptions, Registry
from langmill.tokenization.patterns import REGEXES

_NORMALIZERS = {
    TokenizerNormalizer.nfc: normalizers.NFC,
    TokenizerNormalizer.nfkc: normalizers.NFKC,
    TokenizerNormalizer.lowercase: normalizers.Lowercase,
}


@dataclass(frozen=True)
class Wanted:
    """What vocabulary is wanted."""

    size: int | None
    """Entries, special tokens included; None for an algorithm that decides it itself."""
    special_tokens: tuple[str, ...]
    """Those with the first ids, from 0 on; the end-of-text token is the first of them."""
    pattern: TokenizerPattern = TokenizerPattern.langmill
    normalizer: TokenizerNormalizer = TokenizerNormalizer.none

    def normalize(self) -> Callable[[str], str]:
        """What makes of a text the one that is split."""
        step = make_normalizer(self.normalizer)
        return (lambda text: text) if step is None else step.normalize_str


class TokenizerAlgorithm(ABC):
    """Learns a vocabulary from texts."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of the algorithm's options."""
    fixed_size: ClassVar[bool] = False
    """Whether it decides the vocabulary's size itself, so that `vocab_size` is null."""
    takes_pattern: ClassVar[bool] = True
    """Whether it splits texts by `pattern`."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def train(self, texts: Iterable[str], wanted: Wanted) -> tokenizers.Tokenizer:
        """Learn a vocabulary; equal texts in the same order give the same one, to the last bit.

        Args:
            texts: At least one text; read once, from the first to the last.
            wanted: What it is to be.
        """


TOKENIZER_ALGORITHMS: Registry[TokenizerAlgorithm] = Registry(
    "tokenizer_algorithms", TokenizerAlgorithm, "langmill.tokenization.algorithms", "algorithm"
)


def build_algorithm(name: str, options: dict[str, Any], where: str = "") -> TokenizerAlgorithm:
    """An algorithm with its options.

    Raises:
        ConfigError: There is none of this name, or its options are refused; `where` they come from is in the message.
    """
    typed_options = TOKENIZER_ALGORITHMS.options(name, options, where, "options")
    return TOKENIZER_ALGORITHMS.find(name, where)(typed_options)


def check_tokenizer(section: sections.Tokenizer, where: str) -> None:
    """Check what a tokenizer's settings say about each other.

    Raises ConfigError where there is no such algorithm, or it does not take these settings.
    """
    if section.algorithm == sections.PRETRAINED:
        return
    name, size, pattern = section.algorithm, section.vocab_size, section.pattern
    algorithm = build_algorithm(name, section.options, where)
    wanted = f"null for the algorithm {name}, which decides it itself" if algorithm.fixed_size else "a whole number"
    require((size is None) == algorithm.fixed_size, f"{where}: vocab_size", size, wanted)
    default = algorithm.takes_pattern or pattern is TokenizerPattern.langmill
    require(default, f"{where}: pattern", pattern.value, f"left out for the algorithm {name}, which has its own")


def make_normalizer(normalizer: TokenizerNormalizer) -> normalizers.Normalizer | None:
    """The step of a tokenizer that a setting names; None for none."""
    make = _NORMALIZERS.get(normalizer)
    return None if make is None else make()


def byte_level(model: tokenizers.models.Model, wanted: Wanted) -> tokenizers.Tokenizer:
    """A tokenizer around a model whose tokens are written in GPT-2's byte characters."""
    tokenizer = tokenizers.Tokenizer(model)
    step = make_normalizer(wanted.normalizer)
    if step is not None:
        tokenizer.normalizer = step
    tokenizer.pre_tokenizer = _pre_tokenizer(wanted.pattern)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pre_tokenizer(pattern: TokenizerPattern) -> pre_tokenizers.PreTokenizer:
    """Make what `pre_tokenizer_state` describes."""
    if pattern is TokenizerPattern.gpt2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(tokenizers.Regex(REGEXES[pattern]), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
