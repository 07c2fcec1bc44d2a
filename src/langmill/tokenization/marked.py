"""Special tokens under names that nobody writes, so that a text can hold a special token's name and stay text.

Tokenizers that are not byte-level treat the beginning of a text otherwise than its middle (SentencePiece puts a space
before it), so a conversation can't be encoded piece by piece. It is encoded in one go by a copy of the tokenizer in
which every special token has another name, with the same id: U+FDD0, a number, U+FDD1. Unicode keeps these two
characters for such uses; in a text they become U+FFFD.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import tokenizers

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_AS_TEXT = str.maketrans({_OPEN: "\ufffd", _CLOSE: "\ufffd"})


def mark(number: int) -> str:
    """The name of the special token with an id."""
    return f"{_OPEN}{number}{_CLOSE}"


def unmarked(text: str) -> str:
    """A text that holds no mark."""
    return text.translate(_AS_TEXT)


def marked_tokenizer(state: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer of a `tokenizer.json`'s content with its special tokens under their marks, and nothing put around.

    A special token's name in a text is what the vocabulary makes of any other text.
    """
    changed = copy.deepcopy(dict(state))
    names = {added["content"]: mark(added["id"]) for added in changed["added_tokens"] if added["special"]}
    for added in changed["added_tokens"]:
        added["content"] = names.get(added["content"], added["content"])
    model = changed["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): number for token, number in vocabulary.items()}
    else:  # Unigram: pairs of token and score
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    changed |= {"post_processor": None, "padding": None, "truncation": None}
    return tokenizers.Tokenizer.from_str(json.dumps(changed, ensure_ascii=False))
