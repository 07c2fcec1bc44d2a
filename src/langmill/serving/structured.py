"""Structured output: which tokens may come next, so that a text follows a JSON schema or another grammar.

The grammars are llguidance's. A guide belongs to one text; a vocabulary's tokens are read once for all of its texts.
"""

from __future__ import annotations

import json
import re
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from torch import Tensor

from langmill.errors import RequestError
from langmill.serving.jobs import LoadedVersion
from langmill.tasks.base import Generates
from langmill.tokenization.tokenizer import Tokenizer

_COMPACT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""How JSON is written: a small model would write spaces for ever where it may."""
_MAX_REASON = 200
_UNWRITABLE = "no token of the model's vocabulary goes on from here."

_vocabularies: weakref.WeakKeyDictionary[Tokenizer, LLTokenizer] = weakref.WeakKeyDictionary()
_reading = threading.Lock()


def json_grammar(schema: Mapping[str, Any], field: str) -> str:
    """The grammar of JSON that a schema describes, written in one line.

    Raises RequestError where the schema in `field` is nested too deeply to be read.
    """
    try:
        return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_COMPACT))
    except (ValueError, RecursionError) as error:
        raise _refusal(str(error), field) from error


def regex_grammar(pattern: str) -> str:
    """The grammar of texts that match a regular expression from their beginning to their end."""
    return str(LLMatcher.grammar_from_regex(pattern))


def lark_grammar(grammar: str) -> str:
    """The grammar that a text in Lark's notation describes."""
    return str(LLMatcher.grammar_from_lark(grammar))


def choice_grammar(texts: Sequence[str]) -> str:
    """The grammar of some texts, one of which is to be written."""
    return regex_grammar("|".join(re.escape(text) for text in texts))


class GrammarGuide:
    """Follows a text through a grammar: `langmill.models.generation.guide.Guide`.

    Args:
        matcher: llguidance's, at the text's beginning.
        vocab_size: Entries of the network's logits.
        field: What of the request asks for it.
    """

    def __init__(self, matcher: LLMatcher, vocab_size: int, field: str) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._field = field

    def allowed(self) -> Tensor | None:
        """The tokens that may come next, `(vocabulary,)` bool; the tokens that end a text where the grammar may end.

        Raises:
            RequestError: The grammar has become too complex on its way, or wants what the vocabulary can't write.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            reason = self._matcher.get_error()
            raise _refusal(_UNWRITABLE if reason.startswith("NoExtension") else reason, self._field)
        allowed = np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool)
        if not allowed.any():
            raise _refusal(_UNWRITABLE, self._field)
        return torch.from_numpy(allowed)

    def advance(self, token_id: int) -> None:
        """Note the token that was chosen, which is one of those allowed."""
        self._matcher.consume_token(token_id)

    @property
    def ended(self) -> bool:
        """Whether nothing may follow but the end of the text."""
        return bool(self._matcher.is_stopped())

    def copy(self) -> GrammarGuide:
        """The same guide for another text, as far as this one has come."""
        return GrammarGuide(self._matcher.deep_copy(), self._vocab_size, self._field)


def build_guide(loaded: LoadedVersion, grammar: str, field: str) -> GrammarGuide:
    """The guide of a grammar for a model's vocabulary; takes up to seconds, so call it in a thread.

    Raises:
        RequestError: The grammar in `field` of the request is none, or the vocabulary is of no kind that can be guided.
    """
    vocabulary = _vocabulary(loaded)
    matcher = LLMatcher(vocabulary, grammar, log_level=0)
    if matcher.is_error():
        raise _refusal(matcher.get_error(), field)
    return GrammarGuide(matcher, vocabulary.vocab_size, field)


def _vocabulary(loaded: LoadedVersion) -> LLTokenizer:
    tokenizer, task = loaded.model.tokenizer, loaded.model.task
    assert isinstance(task, Generates)
    with _reading:
        found = _vocabularies.get(tokenizer)
        if found is None:
            # Those that the text itself may never hold; a network may have more logits than the vocabulary has tokens.
            size = max(tokenizer.vocab_size, int(loaded.model.config.get("vocab_size", 0)))
            found = _vocabularies[tokenizer] = _read(loaded, tokenizer, size, list(task.stop_ids(tokenizer)))
    return found


def _read(loaded: LoadedVersion, tokenizer: Tokenizer, size: int, stop_ids: list[int]) -> LLTokenizer:
    try:
        text = tokenizer.file.read_text(encoding="utf-8")
        # llguidance reads the files of most decoders' vocabularies, and not T5's, whose tokens are texts as well.
        if tokenizer.is_byte_level or (json.loads(text)["decoder"] or {}).get("type") == "Metaspace":
            return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer, size)), n_vocab=size, eos_token=stop_ids)
        return LLTokenizer(text, n_vocab=size, eos_token=stop_ids)
    except Exception as error:  # the library raises many, for what it does not know
        raise RequestError(
            f"{loaded.name} can't be guided: its vocabulary is of a kind that llguidance does not read "
            f"({_first_line(str(error))}).",
            400,
            "response_format",
        ) from error


class _Vocabulary:
    """A vocabulary as llguidance asks for it, each of whose tokens is bytes of the text."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        special = set(tokenizer.special_ids.values())
        pieces = [tokenizer.piece(number) for number in range(size)]
        self._tokenizer = tokenizer
        self.tokens = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        unwritten = {number for number, text in enumerate(self.tokens) if number in special or not text}
        self.special_token_ids = sorted(unwritten)
        self.eos_token_id = tokenizer.eot_id
        self.bos_token_id = None
        self._ids = {text: number for number, text in enumerate(self.tokens) if number not in unwritten}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes | str) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        if self._tokenizer.is_byte_level:
            return self._tokenizer.encode(data.decode(errors="replace"))
        # Its own encoding would begin with the space before a word.
        ids: list[int] = []
        while data:
            length = next((n for n in range(min(len(data), self._longest), 0, -1) if data[:n] in self._ids), 0)
            if not length:  # the vocabulary can't write it, as the mask will say
                break
            ids.append(self._ids[data[:length]])
            data = data[length:]
        return ids


def _refusal(reason: str, field: str) -> RequestError:
    return RequestError(f"{field} can't be followed: {_first_line(reason)}", 400, field)


def _first_line(reason: str) -> str:
    line = " ".join(reason.partition("<state>")[0].split())  # what follows is for llguidance's own authors
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}..."
