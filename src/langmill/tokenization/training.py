"""Train a vocabulary on text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langmill.config.sections import TokenizerNormalizer, TokenizerPattern
from langmill.errors import TokenizerError
from langmill.files import write_text
from langmill.tokenization.algorithms.base import Wanted, build_algorithm
from langmill.tokenization.tokenizer import EOT


def train_tokenizer(
    algorithm: str,
    vocab_size: int | None,
    texts: Iterable[str],
    out: Path,
    on_text: Callable[[str], object],
    *,
    special_tokens: Sequence[str] = (),
    pattern: TokenizerPattern = TokenizerPattern.langmill,
    normalizer: TokenizerNormalizer = TokenizerNormalizer.none,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Train a vocabulary and write it as a Hugging Face `tokenizer.json`; equal texts give equal bytes.

    Args:
        algorithm: The algorithm's name.
        vocab_size: Entries wanted, including end-of-text (id 0), the special tokens (from id 1 on) and the 256 bytes;
            None for an algorithm that decides it itself.
        texts: The training texts.
        out: The file to write.
        on_text: Called with each text once it is read.
        special_tokens: Additional special tokens.
        pattern: What splits a text into the words that tokens never cross.
        normalizer: What is done to a text before.
        options: The algorithm's own settings.

    Returns:
        Entries trained: fewer than wanted if nothing else occurs twice.

    Raises:
        ConfigError: There is no such algorithm, or its options are refused.
        TokenizerError: There is no text, or the end-of-text token is among the special ones.
    """
    if EOT in special_tokens:
        raise TokenizerError(
            f"tokenizer.special_tokens has {EOT}, which every vocabulary has; leave it out.", "duplicate"
        )
    wanted = Wanted(vocab_size, (EOT, *special_tokens), pattern, normalizer)
    tokenizer = build_algorithm(algorithm, dict(options or {})).train(_reported(texts, on_text), wanted)
    write_text(out, tokenizer.to_str(pretty=True) + "\n")
    size: int = tokenizer.get_vocab_size(with_added_tokens=True)
    return size


def _reported(texts: Iterable[str], on_text: Callable[[str], object]) -> Iterator[str]:
    empty = True
    for text in texts:
        empty = False
        yield text
        on_text(text)
    if empty:
        raise TokenizerError(
            "There is no text to train a vocabulary on: the corpus has no training document.", "too_few"
        )
