"""A tokenizer: conf/tokenizer/."""

from __future__ import annotations

import dataclasses
import re
from enum import StrEnum
from typing import Annotated, Any

from langmill.config.constraints import Allowed, require
from langmill.config.typed import settings

_SPECIAL_TOKEN = re.compile(r"<\|[A-Za-z0-9_.-]{1,40}\|>")


def _are_names(tokens: list[str]) -> bool:
    return all(map(_SPECIAL_TOKEN.fullmatch, tokens)) and len(set(tokens)) == len(tokens)


PRETRAINED = "pretrained"
"""The algorithm of a vocabulary that is not learned here: a pretrained model brings it."""


class TokenizerPattern(StrEnum):
    """The expression whose matches merges never cross."""

    langmill = "langmill"
    gpt2 = "gpt2"
    llama3 = "llama3"
    qwen2 = "qwen2"


class TokenizerNormalizer(StrEnum):
    """What is done to each text before it is split."""

    none = "none"
    nfc = "nfc"
    nfkc = "nfkc"
    lowercase = "lowercase"


@settings
class Tokenizer:
    """A tokenizer: trained on one corpus's training split, or a pretrained model's own."""

    name: str
    """The tokenizer's name; the file's name in conf/tokenizer/."""
    corpus: str | None
    """The corpus whose training split it is trained on; null for `pretrained`."""
    algorithm: str
    """A name that a file in src/langmill/tokenization/algorithms/ registers. `bpe`: byte-level byte-pair encoding
    (Sennrich et al., 2016); `unigram`: the pieces, of bytes too, under which the text is most likely (Kudo, 2018);
    `byte`: the 256 bytes; `character`: the commonest characters, and the bytes of all others; each of these gives any
    text back. `wordpiece`: BERT's (Schuster and Nakajima, 2012), which loses white space and rare characters.
    `pretrained`: the one that the pretrained model of the same name brings."""
    vocab_size: int | None
    """Entries in the vocabulary, special tokens included; null for `pretrained` and for `byte`, which has 257 and the
    special tokens."""
    special_tokens: Annotated[list[str], Allowed("different names in the form <|name|>", _are_names)]
    """Further tokens that a task may put between texts (`<|mask|>`), with the ids after the end-of-text token's. They
    are never made from a text, and are left out of decoded text."""
    pattern: TokenizerPattern = TokenizerPattern.langmill
    """How a text is split into the words that no token crosses: `langmill`, our own, which encodes several times
    as fast; `gpt2`, `llama3` or `qwen2`, as those models do, for a vocabulary that llama.cpp can read (a GGUF file
    names one of the patterns that it knows). Left out for `wordpiece`, which splits as BERT does, and `pretrained`."""
    normalizer: TokenizerNormalizer = TokenizerNormalizer.none
    """What is done to every text before it is split, in training and whenever the model reads: `none`; `nfc`, one of
    Unicode's two ways to write an accent; `nfkc`, which also makes `ﬁ` to `fi` and `①` to `1`; `lowercase`. After the
    last two a decoded text is not the one that was encoded. Left out for `pretrained`."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The algorithm's own settings; the algorithm types them."""

    def __post_init__(self) -> None:
        if self.algorithm == PRETRAINED:
            for field, empty in (("corpus", "null"), ("vocab_size", "null"), ("special_tokens", "an empty list")):
                value = getattr(self, field)
                require(not value, field, value, f"{empty} for the algorithm pretrained")
            for field in ("pattern", "normalizer", "options"):
                value = getattr(self, field)
                own = value in (TokenizerPattern.langmill, TokenizerNormalizer.none, {})
                require(own, field, value, "left out for the algorithm pretrained")
            return
        require(bool(self.corpus), "corpus", self.corpus, "the name of a corpus")
        least = 257 + len(self.special_tokens)
        require(
            self.vocab_size is None or least <= self.vocab_size <= 1_000_000,
            "vocab_size",
            self.vocab_size,
            f"{least} (256 bytes, the end-of-text token and the special tokens) to 1,000,000",
        )
