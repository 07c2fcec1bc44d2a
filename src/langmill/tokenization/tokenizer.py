"""The tokenizer: text to token ids and back."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tiktoken
import tokenizers

from langmill.errors import TokenizerError
from langmill.tokenization.byte_level import fast_encoding, is_byte_level, token_bytes
from langmill.tokenization.chat_template import ChatTemplate, Piece
from langmill.tokenization.companion import Companion
from langmill.tokenization.losses import losses
from langmill.tokenization.marked import mark, marked_tokenizer, unmarked

EOT = "<|endoftext|>"
"""The special token that ends every document. In a user's text the same characters are ordinary text."""
FILE_NAME = "tokenizer.json"
_END_NAMES = (EOT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")  # its names in pretrained tokenizers
_WORD_START = "\u2581"  # SentencePiece's character for the space before a word
_JOB_CHARACTERS = 200_000  # given to a thread at once


class Tokenizer:
    """A tokenizer, read from a Hugging Face `tokenizer.json`.

    Byte-level BPE as Langmill trains it is encoded by tiktoken with the same merges: equal ids, several times the
    speed. Any other tokenizer is run by Hugging Face's library.

    Attributes:
        file: The `tokenizer.json` it was read from.
        vocab_size: Entries, special tokens included: one more than the highest id.
        eot_id: The id of the end-of-text token.
        special_ids: The id of every special token, end-of-text included, by its name.
        dtype: The smallest unsigned little-endian type that holds every id.
        chat_template: The model's own chat template (Jinja), if one stands beside the file.
        token_names: The text of the special tokens that have a purpose: `bos_token`, `eos_token` and so on.
        losses: What of a text encoding and decoding loses, in words; empty where any text comes back.
    """

    def __init__(
        self,
        file: Path,
        reference: tokenizers.Tokenizer,
        fast: tiktoken.Encoding | None,
        *,
        byte_level: bool,
        companion: Companion,
        lost: tuple[str, ...],
    ) -> None:
        self.file = file
        self.losses = lost
        self.chat_template = companion.chat_template
        self._companion = companion
        self._reference = reference
        self._reference.no_padding()
        self._reference.no_truncation()
        self._reference.encode_special_tokens = True  # the characters of a special token in a text are only text
        self._fast = fast
        vocabulary: dict[str, int] = reference.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1
        self.eot_id = next((vocabulary[name] for name in _END_NAMES if name in vocabulary), -1)
        if self.eot_id < 0:
            raise TokenizerError(f"{file} has no end-of-text token, one of {', '.join(_END_NAMES)}.", "missing")
        self.special_ids: dict[str, int] = {
            token.content: number for number, token in reference.get_added_tokens_decoder().items() if token.special
        }
        self.dtype = np.dtype("<u2" if self.vocab_size <= 2**16 else "<u4")
        end = str(reference.id_to_token(self.eot_id))
        self.token_names = companion.names or {"bos_token": end, "eos_token": end, "pad_token": end}
        self._bytes: list[bytes] | None = None
        if byte_level:
            added = reference.get_added_tokens_decoder()
            self._bytes = [b""] * self.vocab_size  # special tokens have no text
            for token, number in vocabulary.items():
                if number not in added:
                    self._bytes[number] = token_bytes(token) or b""
                elif not added[number].special:
                    self._bytes[number] = token.encode()

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.

        Args:
            path: A `tokenizer.json`, or the folder that holds one.

        Raises:
            TokenizerError: There is none, it can't be read, or it has no end-of-text token.
        """
        file = path / FILE_NAME if path.is_dir() else path
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise TokenizerError(f"{file} is missing ({error.strerror}); `dvc repro` makes it.", "missing") from error
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{file} is not a tokenizer (not UTF-8); make it again.", "unreadable") from error
        try:
            reference = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises the bare class
            raise TokenizerError(f"{file} is not a tokenizer: {error}; make it again.", "unreadable") from error
        state = json.loads(text)
        fast = fast_encoding(state)
        byte_level = fast is not None or is_byte_level(state)
        companion = Companion.beside(file)
        return cls(file, reference, fast, byte_level=byte_level, companion=companion, lost=losses(state))

    @property
    def digest(self) -> str:
        """The SHA-256 of all that decides how texts and conversations are read; see `companion.tokenizer_digest`."""
        return self._companion.digest(self.file)

    def template(self, source: str, where: str) -> ChatTemplate:
        """A chat template over this vocabulary; messages say that it comes from `where`."""
        return ChatTemplate(source, self.special_ids, self.token_names, where)

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a text: end-of-text, the model's own `eos_token`, and what ends a turn of a chat."""
        ids = [self.eot_id, self.special_ids.get(self.token_names.get("eos_token", ""))]
        if self.chat_template is not None:
            # A chat says what is wrong with a template, and other tasks have no use for it.
            with contextlib.suppress(TokenizerError):
                ids.append(self.template(self.chat_template, f"The chat template of {self.file}").end_of_turn())
        return tuple(dict.fromkeys(number for number in ids if number is not None))

    def encode(self, text: str) -> list[int]:
        """Encode a text, without an end-of-text token; special tokens in it are ordinary text."""
        if self._fast is not None:
            return self._fast.encode_ordinary(self._normalized(text))
        ids: list[int] = self._reference.encode(_encodable(text), add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str], threads: int) -> list[np.ndarray]:
        """Encode many texts.

        Args:
            texts: N texts.
            threads: Number of threads; has no influence on the result.

        Returns:
            N arrays `(tokens,)` of `self.dtype`.
        """
        if self._fast is None:
            encodings = self._reference.encode_batch_fast(
                [_encodable(text) for text in texts], add_special_tokens=False
            )
            return [np.array(encoding.ids, dtype=self.dtype) for encoding in encodings]
        if threads == 1:
            return self._encode_job(texts)
        with ThreadPoolExecutor(threads) as pool:
            return [ids for job in pool.map(self._encode_job, _jobs(texts)) for ids in job]

    def _encode_job(self, texts: Sequence[str]) -> list[np.ndarray]:
        assert self._fast is not None
        return [self._encode_array(self._normalized(text)) for text in texts]

    def _encode_array(self, text: str) -> np.ndarray:
        """The same ids as `encode`, without a list in between: its whole numbers take a seventh of the time."""
        assert self._fast is not None
        try:
            ids = self._fast.encode_to_numpy(text, disallowed_special=())
        except UnicodeEncodeError:
            ids = self._fast.encode_to_numpy(_encodable(text), disallowed_special=())
        return ids.astype(self.dtype)

    def _normalized(self, text: str) -> str:
        """What is split of a text, by the library's own normaliser: both engines must split the same."""
        step = self._reference.normalizer
        return text if step is None else str(step.normalize_str(_encodable(text)))

    def encode_rendered(self, parts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Encode a rendered conversation as `transformers` does, cut into parts.

        Args:
            parts: One after another, of texts in which nothing is special, and ids of special tokens.

        Returns:
            The ids of each part. No token goes across two parts of a byte-level vocabulary; of another one, it belongs
            to the part that it begins in.
        """
        if self._bytes is None:
            return self._encode_marked(parts)
        encoded: list[list[int]] = []
        for part in parts:
            ids: list[int] = []
            for place, piece in enumerate(part):
                before, after = (
                    (part[place - 1] if place else None),
                    (part[place + 1] if place + 1 < len(part) else None),
                )
                if isinstance(piece, int):
                    ids.append(piece)
                else:
                    ids += self.encode(self._stripped(piece, before, after))
            encoded.append(ids)
        return encoded

    def _stripped(self, text: str, before: Piece | None, after: Piece | None) -> str:
        """A text without the white space that a special token beside it takes in."""
        added = self._added
        if isinstance(before, int) and added[before].rstrip:
            text = text.lstrip()
        return text.rstrip() if isinstance(after, int) and added[after].lstrip else text

    def _encode_marked(self, parts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        texts = [
            "".join(mark(piece) if isinstance(piece, int) else _encodable(unmarked(piece)) for piece in part)
            for part in parts
        ]
        ends = list(itertools.accumulate(map(len, texts)))
        encoding = self._marked.encode("".join(texts), add_special_tokens=False)
        encoded: list[list[int]] = [[] for _ in parts]
        number = 0
        for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
            while number < len(parts) - 1 and start >= ends[number]:
                number += 1
            encoded[number].append(token)
        return encoded

    @functools.cached_property
    def _added(self) -> dict[int, tokenizers.AddedToken]:
        return dict(self._reference.get_added_tokens_decoder())

    @functools.cached_property
    def _marked(self) -> tokenizers.Tokenizer:
        return marked_tokenizer(json.loads(self.file.read_text(encoding="utf-8")))

    def leading_bytes(self, text: str, count: int) -> int:
        """Number of UTF-8 bytes of a text in its first `count` tokens; of the text as it is, not as it is normalised.

        With a vocabulary that is not byte-level, or a text that a normaliser changes, a character of several tokens
        counts with the first of them.
        """
        if self._bytes is not None and self._normalized(text) == text:
            return len(self.decode_bytes(self.encode(text)[:count]))
        offsets = self._reference.encode(_encodable(text), add_special_tokens=False).offsets
        end = max((end for _, end in offsets[:count]), default=0)
        if self._bytes is not None and count:
            # An accent that a normaliser joins to its letter is in no token's place: it goes with the token before.
            end = max(end, offsets[count][0] if count < len(offsets) else len(text))
        return len(text[:end].encode())

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids to text, without special tokens; bytes that are no whole character become U+FFFD.

        Raises TokenizerError where an id is not in the vocabulary.
        """
        if self._bytes is None:
            text: str = self._reference.decode([int(number) for number in ids], skip_special_tokens=True)
            return text
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @property
    def is_byte_level(self) -> bool:
        """Whether each token stands for bytes of its own."""
        return self._bytes is not None

    @property
    def longest_token(self) -> int:
        """Characters of the longest token's text."""
        if self._bytes is None:
            return max(len(self.decode([number])) for number in range(self.vocab_size))
        return max(len(data.decode("utf-8", errors="replace")) for data in self._bytes)

    def piece(self, number: int) -> bytes | str:
        """What one token stands for: its bytes, or its text where the vocabulary is not byte-level.

        Of a special token, its name. An id that the vocabulary lacks, as networks may have some, stands for nothing.
        """
        added = self._added.get(number)
        if added is not None and added.special:
            return str(added.content)
        if self._bytes is not None:
            return self._bytes[number] if number < len(self._bytes) else b""
        return str(self._reference.id_to_token(number) or "").replace(_WORD_START, " ")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Decode ids to UTF-8 bytes, without special tokens; byte-level vocabularies only.

        Raises TokenizerError where an id is not in the vocabulary, or the vocabulary is not byte-level.
        """
        if self._bytes is None:
            raise TokenizerError(
                f"{self.file} is not a byte-level vocabulary, so its tokens have no bytes of their own.", "unsupported"
            )
        table = self._bytes
        parts = []
        for number in ids:
            if not 0 <= number < len(table):
                raise TokenizerError(f"{number} is not a token of {self.file}, which has {len(table)}.", "unknown")
            parts.append(table[number])
        return b"".join(parts)


def _jobs(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    start = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size >= _JOB_CHARACTERS:
            yield texts[start : index + 1]
            start, size = index + 1, 0
    if start < len(texts):
        yield texts[start:]


def _encodable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 can't encode, as tiktoken does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text
