"""Byte-level byte-pair encoding by two libraries.

Hugging Face tokenizers trains the vocabulary, and its file is the one that other programs open; tiktoken encodes with
the same merges several times as fast. They apply merges differently: Hugging Face merges a pair only if the list of
merges has that very pair, tiktoken merges any two neighbours that together are a token. They agree on every text if
each token's own merge is the one that the tokens before it lead to: `engines_agree` checks it.
"""

from __future__ import annotations

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
_Merge = tuple[int, bytes, bytes]
"""A token's id, and the two that it is merged of."""
_SINGLE: _Merge = (-1, b"", b"")  # a byte is merged of nothing


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
    ids: dict[tuple[bytes, bytes], int] = {}
    made = dict.fromkeys(singles, _SINGLE)
    for left, right in merges:
        token = left + right
        rank = ranks.get(token, -1)
        if rank <= last or left not in made or right not in made or not _stay_apart(left, right, rank, ids, made):
            return False
        last = ids[left, right] = rank
        made[token] = (rank, left, right)
    return True


def _stay_apart(
    left: bytes, right: bytes, limit: int, ids: Mapping[tuple[bytes, bytes], int], made: Mapping[bytes, _Merge]
) -> bool:
    """Whether the bytes of two tokens, merged by the merges so far, end in these two: none crosses their boundary.

    Goes back in time: of the two parts at the boundary the one that was merged last is taken apart again, and no pair
    that stood there may come before that merge (of equal pairs the leftmost is merged first). The engines agree on the
    merges so far, so a pair is looked for where tiktoken would look for a token.
    """
    while ids.get((left, right), limit) >= limit:
        before, after = made[left], made[right]
        if before[0] > after[0]:
            limit, _, left = before
        elif after is not _SINGLE:
            limit, right = after[0] + 1, after[1]
        else:
            return True
    return False


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
    data = {token: token_bytes(token) for token in model["vocab"] if token not in special}
    ranks = {each: model["vocab"][token] for token, each in data.items() if each is not None}
    if len(ranks) != len(data):
        return None
    merges = []
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((data.get(left) or b"", data.get(right) or b""))
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
