"""A tokenizer: conf/tokenizer/."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from langmill.config.constraints import Allowed, require
from langmill.config.typed import settings

_SPECIAL_TOKEN = re.compile(r"<\|[A-Za-z0-9_.-]{1,40}\|>")


def _are_names(tokens: list[str]) -> bool:
    return all(map(_SPECIAL_TOKEN.fullmatch, tokens)) and len(set(tokens)) == len(tokens)


class TokenizerAlgorithm(StrEnum):
    """How a vocabulary is learned."""

    bpe = "bpe"
    pretrained = "pretrained"


class TokenizerPattern(StrEnum):
    """The expression whose matches merges never cross."""

    langmill = "langmill"
    gpt2 = "gpt2"
    llama3 = "llama3"
    qwen2 = "qwen2"


@settings
class Tokenizer:
    """A tokenizer: trained on one corpus's training split, or a pretrained model's own."""

    name: str
    """The tokenizer's name; the file's name in conf/tokenizer/."""
    corpus: str | None
    """The corpus whose training split it is trained on; null for `pretrained`."""
    algorithm: TokenizerAlgorithm
    """`bpe`: byte-level byte-pair encoding (Sennrich et al., 2016), which can encode any text; `pretrained`: the one
    that the pretrained model of the same name brings."""
    vocab_size: int | None
    """Entries in the vocabulary, special tokens included; null for `pretrained`."""
    special_tokens: Annotated[list[str], Allowed("different names in the form <|name|>", _are_names)]
    """Further tokens that a task may put between texts (`<|mask|>`), with the ids after the end-of-text token's. They
    are never made from a text, and are left out of decoded text."""
    pattern: TokenizerPattern = TokenizerPattern.langmill
    """How `bpe` splits a text into the words that merges never cross: `langmill`, our own, which encodes several times
    as fast; `gpt2`, `llama3` or `qwen2`, as those models do, for a vocabulary that llama.cpp can read (a GGUF file
    names one of the patterns that it knows). Left out for `pretrained`."""

    def __post_init__(self) -> None:
        if self.algorithm is TokenizerAlgorithm.pretrained:
            for field, empty in (("corpus", "null"), ("vocab_size", "null"), ("special_tokens", "an empty list")):
                value = getattr(self, field)
                require(not value, field, value, f"{empty} for the algorithm pretrained")
            own = self.pattern is TokenizerPattern.langmill
            require(own, "pattern", self.pattern.value, "left out for the algorithm pretrained")
            return
        require(bool(self.corpus), "corpus", self.corpus, "the name of a corpus")
        least = 257 + len(self.special_tokens)
        require(
            self.vocab_size is not None and least <= self.vocab_size <= 1_000_000,
            "vocab_size",
            self.vocab_size,
            f"{least} (256 bytes, the end-of-text token and the special tokens) to 1,000,000",
        )
