"""Byte-level byte-pair encoding by two libraries.

Hugging Face tokenizers trains the vocabulary, and its file is the one that other programs open; tiktoken encodes with
the same merges several times as fast. They apply merges differently: Hugging Face merges a pair only if the list of
merges has that very pair, tiktoken merges any two neighbours that together are a token. They agree on every text if
each token's own merge is the one that the tokens before it lead to: `engines_agree` checks it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import tiktoken

from langmill.config.sections import TokenizerPattern
from langmill.tokenization.patterns import REGEXES, pre_tokenizer_state


def _byte_characters() -> dict[int, str]:
    """Map every byte to GPT-2's printable character: itself if visible, else one from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = {byte: chr(byte) for byte in visible}
    hidden = (byte for byte in range(256) if byte not in characters)
    return characters | {byte: chr(256 + number) for number, byte in enumerate(hidden)}


BYTE_CHARACTERS = _byte_characters()
CHARACTER_BYTES = {character: byte for byte, character in BYTE_CHARACTERS.items()}


def token_bytes(token: str) -> bytes | None:
    """Decode a token in GPT-2's byte characters to its bytes; None if it has other characters."""
    try:
        return bytes(map(CHARACTER_BYTES.__getitem__, token))
    except KeyError:
        return None


def engines_agree(ranks: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether tiktoken, which uses the tokens only, and Hugging Face, which uses the merges, encode alike.

    Args:
        ranks: Every token and its id.
        merges: The pairs in the order of application.

    Returns:
        True if all single bytes are tokens, the merges make the other tokens one each in the order of their ids, and
        merging a token's bytes with the tokens of smaller ids alone ends in exactly the two parts of its own merge.
    """
    singles = [token for token in ranks if len(token) == 1]
    if len(singles) != 256 or len(merges) != len(ranks) - len(singles):
        return False
    last = -1
    for left, right in merges:
        rank = ranks.get(left + right, -1)
        if rank <= last or _split(left + right, rank, ranks) != (left, right):
            return False
        last = rank
    return True


def _split(token: bytes, limit: int, ranks: Mapping[bytes, int]) -> tuple[bytes, ...]:
    """Merge a token's bytes with the tokens whose id is below `limit`, the lowest id first, as far as two parts.

    The time grows with the token's length and not with its square: a vocabulary may have learned whole lines of emoji.
    """
    ends = list(range(1, len(token) + 1))  # of the part that begins at each byte; 0 once it is part of another
    before = list(range(-1, len(token)))  # where the part before begins; of the end, too
    waiting: list[tuple[int, int, int]] = []  # id, where the pair begins, and where it ends

    def propose(start: int) -> None:
        if start >= 0 and ends[start] < len(token):
            end = ends[ends[start]]
            rank = ranks.get(token[start:end], limit)
            if rank < limit:
                heapq.heappush(waiting, (rank, start, end))

    for start in range(len(token)):
        propose(start)
    count = len(token)
    while count > 2 and waiting:
        _, start, end = heapq.heappop(waiting)
        middle = ends[start]
        if middle in (0, len(token)) or ends[middle] != end:
            continue  # one of the two has been merged meanwhile
        ends[start], ends[middle] = end, 0
        before[end] = start
        count -= 1
        propose(before[start])
        propose(start)
    starts = [start for start, end in enumerate(ends) if end]
    return tuple(token[start : ends[start]] for start in starts)


def fast_encoding(state: Mapping[str, Any]) -> tiktoken.Encoding | None:
    """Make the tiktoken encoding with the same ids as a `tokenizer.json`.

    Args:
        state: The content of the file.

    Returns:
        None for a tokenizer other than byte-level BPE with our pattern: Hugging Face's own code must encode. A
        normaliser is not part of it: it has to be run before.
    """
    model = state.get("model") or {}
    if model.get("type") != "BPE" or state.get("pre_tokenizer") != OURS:
        return None
    if any(model.get(key) for key in _OTHER_KINDS) or not all(added["special"] for added in state["added_tokens"]):
        return None
    special = {added["content"] for added in state["added_tokens"]}
    ranks: dict[bytes, int] = {}
    for token, rank in model["vocab"].items():
        if token not in special:
            data = token_bytes(token)
            if data is None:
                return None
            ranks[data] = rank
    merges = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((token_bytes(left) or b"", token_bytes(right) or b""))
    if not engines_agree(ranks, merges):
        return None
    # None of the vocabulary's special tokens: <|endoftext|> in a user's text is ordinary text. The one here is never
    # allowed, so it is text as well; without any, tiktoken looks for an empty name at every place of a text.
    return tiktoken.Encoding(
        "langmill",
        pat_str=REGEXES[TokenizerPattern.langmill],
        mergeable_ranks=ranks,
        special_tokens={NEVER_ALLOWED: max(ranks.values()) + 1},
    )


def is_byte_level(state: Mapping[str, Any]) -> bool:
    """Whether each token of a `tokenizer.json` stands for bytes, and a text's tokens for those of the whole text.

    A normaliser may change the text before; what then is lost, `losses` says.
    """
    model, special = state.get("model") or {}, {added["content"] for added in state.get("added_tokens", [])}
    normalizer = state.get("normalizer")
    if model.get("type") not in ("BPE", "Unigram") or model.get("byte_fallback"):
        return False
    if normalizer and normalizer["type"] not in ("NFC", "NFKC", "Lowercase"):
        return False
    steps, decoder = [state.get("pre_tokenizer") or {}], state.get("decoder") or {}
    if steps[0].get("type") == "Sequence":
        steps = steps[0]["pretokenizers"]
    to_bytes = [step for step in steps if step.get("type") == "ByteLevel"]
    if decoder.get("type") != "ByteLevel" or not to_bytes or any(step.get("add_prefix_space") for step in to_bytes):
        return False
    vocabulary = model["vocab"]  # of Unigram pairs of token and score
    tokens = vocabulary if isinstance(vocabulary, dict) else (token for token, _ in vocabulary)
    return CHARACTER_BYTES.keys() >= set("".join(token for token in tokens if token not in special))


NEVER_ALLOWED = "<|langmill_never_allowed|>"
OURS = pre_tokenizer_state(TokenizerPattern.langmill)
"""The entry of `tokenizer.json` for our own pattern."""
_OTHER_KINDS = (
    "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
)  # fmt: skip
