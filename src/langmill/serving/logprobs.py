"""Log probabilities of tokens, in the two shapes of OpenAI's API."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from langmill.models.generation.logprobs import TokenLogprobs
from langmill.tokenization.text_stream import TextStream
from langmill.tokenization.tokenizer import Tokenizer

Scored = tuple[int, TokenLogprobs | None]
"""A token and its log probability; None for the first token of all, before which there is nothing."""
_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_LEAST = -9999.0
"""Stands for the logarithm of 0, which JSON has no number for, as in OpenAI's API."""


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token's text; of one that is not whole characters its bytes in hexadecimal digits, in OpenAI's way."""
    data = token_bytes(tokenizer, token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """A token's bytes; a vocabulary with byte fallback calls those of single bytes `<0xE2>`."""
    piece = tokenizer.piece(token)
    if isinstance(piece, bytes):
        return piece
    found = _FALLBACK.fullmatch(piece)
    # A vocabulary without byte fallback may have these six characters for a token.
    if found and tokenizer.decode([token]) != piece:
        return bytes([int(found[1], 16)])
    return piece.encode()


class CompletionLogprobs:
    """Those of one choice of a completion, which may come in parts.

    Args:
        tokenizer: The model's.
        start: Characters before its first token, in the text that offsets are counted in.
    """

    def __init__(self, tokenizer: Tokenizer, start: int) -> None:
        self._tokenizer = tokenizer
        self._offset = start
        self._text = TextStream(tokenizer.decode)

    def describe(self, tokens: Sequence[Scored]) -> dict[str, Any]:
        """The next tokens', as four lists."""
        offsets = []
        for token, _ in tokens:
            offsets.append(self._offset)
            self._offset += len(self._text.push(token))
        return {
            "tokens": [token_text(self._tokenizer, token) for token, _ in tokens],
            "token_logprobs": [found and number(found.logprob) for _, found in tokens],
            "top_logprobs": [found and self._top(found) for _, found in tokens],
            "text_offset": offsets,
        }

    def _top(self, token: TokenLogprobs) -> dict[str, float]:
        found: dict[str, float] = {}
        # The most likely one keeps its place where two tokens have one text, and the chosen one is always there.
        for each, logprob in (*token.top, (token.token_id, token.logprob)):
            found.setdefault(token_text(self._tokenizer, each), number(logprob))
        return found


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[Scored]) -> dict[str, Any]:
    """Those of an answer's tokens, in the shape of OpenAI's chat."""

    def described(token: int, logprob: float) -> dict[str, Any]:
        data = list(token_bytes(tokenizer, token))
        return {"token": token_text(tokenizer, token), "logprob": number(logprob), "bytes": data}

    content = [
        {
            **described(token.token_id, token.logprob),
            "top_logprobs": [described(each, logprob) for each, logprob in token.top],
        }
        for _, token in tokens
        if token is not None
    ]
    return {"content": content, "refusal": None}


def number(logprob: float) -> float:
    """A log probability that JSON can write."""
    return max(logprob, _LEAST) if not math.isnan(logprob) else _LEAST
