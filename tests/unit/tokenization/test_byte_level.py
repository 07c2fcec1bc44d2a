"""When tiktoken may stand in for Hugging Face tokenizers."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from langmill.config.sections import TokenizerPattern
from langmill.files import read_json
from langmill.tokenization.byte_level import (
    BYTE_CHARACTERS,
    engines_agree,
    fast_encoding,
    token_bytes,
)
from langmill.tokenization.patterns import REGEXES
from langmill.tokenization.tokenizer import Tokenizer

pytestmark = pytest.mark.unit
SINGLES = {bytes([byte]): byte for byte in range(256)}


def pairs(*merges: str) -> list[tuple[bytes, bytes]]:
    return [tuple(part.encode() for part in merge.split("|")) for merge in merges]  # type: ignore[misc]


def ranks(*tokens: str) -> dict[bytes, int]:
    return SINGLES | {token.encode(): 256 + number for number, token in enumerate(tokens)}


def test_byte_characters_are_those_of_the_library() -> None:
    assert sorted(BYTE_CHARACTERS.values()) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert len(set(BYTE_CHARACTERS.values())) == 256
    before = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("aZ ~\n\t\x00\x7f", "é", "ÿ\u00ad"):
        [(token, _)] = before.pre_tokenize_str(text)
        assert token_bytes(token) == text.encode()
    assert token_bytes("日") is None


@pytest.mark.parametrize(
    ("tokens", "merges", "answer"),
    [
        (["ab", "abc"], ["a|b", "ab|c"], True),
        (["aa", "aaa", "aaaa"], ["a|a", "aa|a", "aa|aa"], True),
        # tiktoken would make "abc" of "ab" and "c", which this list never joins.
        (["ab", "bc", "abc"], ["a|b", "b|c", "a|bc"], False),
        (["aa", "aaa"], ["a|a", "a|aa"], False),
        (["abc", "ab"], ["ab|c", "a|b"], False),
        (["ab", "abc"], ["a|b"], False),
        (["ab"], ["a|b", "a|b"], False),
        (["ab", "cd"], ["c|d", "a|b"], False),
    ],
)
def test_proper_merges(tokens: list[str], merges: list[str], answer: bool) -> None:
    assert engines_agree(ranks(*tokens), pairs(*merges)) is answer


def merged(token: bytes, limit: int, known: dict[bytes, int]) -> list[bytes]:
    """The parts of a token's bytes once every pair with an id below the limit is merged, down to two."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [left + right for left, right in itertools.pairwise(parts)]
        place = min(range(len(joined)), key=lambda index: known.get(joined[index], limit))
        if known.get(joined[place], limit) >= limit:
            break
        parts[place : place + 2] = [joined[place]]
    return parts


@given(choices=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=10))
def test_vocabularies_are_judged_as_merging_shows(choices: list[tuple[int, int]]) -> None:
    tokens, merges = [b"a", b"b"], []
    for left, right in choices:
        pair = tokens[left % len(tokens)], tokens[right % len(tokens)]
        if pair[0] + pair[1] not in tokens:
            merges.append(pair)
            tokens.append(pair[0] + pair[1])
    known = SINGLES | {token: 256 + number for number, token in enumerate(tokens[2:])}
    proper = all(merged(left + right, known[left + right], known) == [left, right] for left, right in merges)
    assert engines_agree(known, merges) is proper


def test_bytes_must_all_be_tokens() -> None:
    missing = {token: rank for token, rank in ranks("ab").items() if token != b"z"}
    assert not engines_agree(missing, pairs("a|b"))


def state(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def test_our_own_vocabulary_is_fast(tokenizer_file: Path) -> None:
    assert fast_encoding(state(tokenizer_file)) is not None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "type"), "WordPiece"),
        (("model", "dropout"), 0.1),
        (("model", "unk_token"), "<unk>"),
        (("model", "byte_fallback"), True),
        (("model", "end_of_word_suffix"), "</w>"),
        (("pre_tokenizer",), {"type": "Whitespace"}),
        (("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"), r"\w+"),
        (("pre_tokenizer", "pretokenizers", 1, "add_prefix_space"), True),
        (("added_tokens", 0, "special"), False),
        (("model", "merges"), [["a", "b"]]),
    ],
)
def test_anything_else_is_left_to_the_library(tokenizer_file: Path, path: tuple[Any, ...], value: object) -> None:
    content = state(tokenizer_file)
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert fast_encoding(content) is None


def same(tokenizer: Tokenizer, text: str) -> bool:
    reference = tokenizer._reference.encode(text, add_special_tokens=False).ids
    return fast_encoding(read_json(tokenizer.file)) is not None and tokenizer.encode(text) == reference


@given(text=st.text())
def test_ids_equal_the_librarys(tokenizer: Tokenizer, text: str) -> None:
    assert same(tokenizer, text)


@given(text=st.text(st.sampled_from("aitdehlsLREmn'\u2019 \n\r\t.!-129ßé映हि\u0301\u200d\u3000|<>"), max_size=60))
def test_ids_equal_the_librarys_where_rules_meet(tokenizer: Tokenizer, text: str) -> None:
    assert same(tokenizer, text)


def test_every_character_is_split_alike_by_both_engines(tokenizer: Tokenizer) -> None:
    """The two bring tables of letters, marks, digits and white space of their own."""
    # One of a hundred of those that are alike by the thousand: ideographs, syllables, unassigned, private use.
    codes = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    codes = [
        code for code in codes if code < 0x3400 or 0xA000 <= code < 0xAC00 or 0xF900 <= code < 0x12000 or code % 97 == 0
    ]
    texts = [f"a{chr(code)}b1{chr(code) * 2}2. {chr(code)} .\n{chr(code)}" for code in codes]
    theirs = tokenizer._reference.encode_batch_fast(texts, add_special_tokens=False)
    ours = tokenizer.encode_batch(texts, threads=2)
    assert [code for code, a, b in zip(codes, ours, theirs, strict=True) if a.tolist() != b.ids] == []


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I don't, I'LL", ["I", " don", "'t", ",", " I", "'LL"]),
        ("It\u2019s 19,995 km", ["It", "\u2019s", " 19", ",", "99", "5", " km"]),
        ("End.\n\nNext  \n line", ["End", ".", "\n\n", "Next", "  \n", " line"]),
        ("हिन्दी café", ["हिन्दी", " café"]),
        ("a   b", ["a", "   ", "b"]),
        ("(wow!!)", ["(", "wow", "!!)"]),
    ],
)
def test_pattern(text: str, pieces: list[str]) -> None:
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(REGEXES[TokenizerPattern.langmill]), behavior="isolated")
    assert [piece for piece, _ in split.pre_tokenize_str(text)] == pieces
