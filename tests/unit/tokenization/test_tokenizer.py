"""Text to ids and back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from langmill.errors import Code, TokenizerError
from langmill.files import read_json
from langmill.tokenization.byte_level import NEVER_ALLOWED, fast_encoding
from langmill.tokenization.tokenizer import EOT, Tokenizer
from tests.refused import refused
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def word_pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer of another kind, as a pretrained encoder brings it."""
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "film": 3, "##s": 4, "good": 5, "[": 6, "]": 7, "sep": 8}
    model = tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")
    plain = tokenizers.Tokenizer(model)
    plain.normalizer = tokenizers.normalizers.BertNormalizer()
    plain.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    plain.decoder = tokenizers.decoders.WordPiece()
    plain.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    plain.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    plain.enable_truncation(2)
    plain.enable_padding()
    file = tmp_path_factory.mktemp("word_pieces") / "tokenizer.json"
    plain.save(str(file))
    return Tokenizer.load(file)


def test_facts(tokenizer: Tokenizer, tokenizer_file: Path) -> None:
    content = json.loads(tokenizer_file.read_text())
    assert tokenizer.vocab_size == len(content["model"]["vocab"])
    assert tokenizer.vocab_size <= 500
    assert tokenizer.eot_id == content["model"]["vocab"][EOT] == 0
    assert tokenizer.dtype == np.dtype("<u2")
    assert tokenizer.file == tokenizer_file
    assert Tokenizer.load(tokenizer_file.parent).file == tokenizer_file


@given(text=st.text())
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 < number < tokenizer.vocab_size for number in ids)


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    text = f"end {EOT} of text"
    ids = tokenizer.encode(text)
    assert tokenizer.eot_id not in ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text], threads=1)[0].tolist() == ids


def test_batches_are_made_without_lists_and_say_the_same(tokenizer: Tokenizer) -> None:
    """The name that tiktoken is given of a special token is text like any other, and so is half of a character."""
    texts = [NEVER_ALLOWED, f"the {NEVER_ALLOWED}" * 3, "a\ud800b", "", EOT, *sentences(5)]
    assert [ids.tolist() for ids in tokenizer.encode_batch(texts, 1)] == [tokenizer.encode(text) for text in texts]
    reference = [tokenizer._reference.encode(text, add_special_tokens=False).ids for text in texts[:2]]
    assert [tokenizer.encode(text) for text in texts[:2]] == reference


def test_special_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the film")
    assert tokenizer.decode([tokenizer.eot_id, *ids, tokenizer.eot_id]) == "the film"


def test_bytes_that_are_no_whole_character(tokenizer: Tokenizer) -> None:
    euro = tokenizer.encode("€")
    assert len(euro) == 3
    assert tokenizer.decode(euro[:2]) == "\ufffd"
    assert tokenizer.decode([*tokenizer.encode("a"), euro[2], *tokenizer.encode("b")]) == "a\ufffdb"
    assert tokenizer.decode_bytes(euro[:2]) == "€".encode()[:2]


def test_the_longest_token(tokenizer: Tokenizer, word_pieces: Tokenizer) -> None:
    assert tokenizer.longest_token == max(len(tokenizer.decode([number])) for number in range(tokenizer.vocab_size))
    assert word_pieces.longest_token == len("good")


def test_decoding_takes_any_integers(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the film")
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)) == "the film"  # type: ignore[arg-type]
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("number", [-1, 500, 10**9])
def test_ids_outside_the_vocabulary(tokenizer: Tokenizer, number: int) -> None:
    with refused(TokenizerError, "unknown", f"{number} is not a token"):
        tokenizer.decode([number])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_are_the_single_texts(tokenizer: Tokenizer, threads: int) -> None:
    texts = ["", *sentences(30), "long " * 100_000, "", "x" * 300_000]
    encoded = tokenizer.encode_batch(texts, threads)
    assert [ids.tolist() for ids in encoded] == [tokenizer.encode(text) for text in texts]
    assert {ids.dtype for ids in encoded} == {tokenizer.dtype}
    assert tokenizer.encode_batch([], threads) == []


@pytest.mark.parametrize("piece", ["a", " ", "\n", "!", "\u0301", "ab1 "])
def test_long_runs_take_no_longer_than_long_texts(tokenizer: Tokenizer, piece: str) -> None:
    text = piece * (400_000 // len(piece))
    start = time.process_time()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert time.process_time() - start < 5  # a quadratic search takes minutes


def test_a_lone_surrogate_is_replaced(tokenizer: Tokenizer, word_pieces: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert word_pieces.encode("good \ud800") == [5]  # its normalizer takes U+FFFD out


def test_another_kind_of_tokenizer(word_pieces: Tokenizer) -> None:
    assert not fast_encoding(read_json(word_pieces.file))
    assert word_pieces.eot_id == 2
    assert word_pieces.vocab_size == 9
    assert word_pieces.encode("Good films good films") == [5, 3, 4, 5, 3, 4]
    texts = ["good films", "", "film"]
    assert [ids.tolist() for ids in word_pieces.encode_batch(texts, threads=2)] == [[5, 3, 4], [], [3]]
    assert word_pieces.decode([1, 5, 3, 4, 2]) == "good films"
    assert word_pieces.encode("[SEP]") == [6, 8, 7]
    with refused(TokenizerError, "unsupported", "byte-level"):
        word_pieces.decode_bytes([3])


def test_transformers_opens_the_same_file(tokenizer: Tokenizer) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer.file))
    for text in sentences(20):
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [(None, "missing", "`dvc repro`"), (b"{}", "unreadable", "make it again"), (b"\xff", "unreadable", "not UTF-8")],
)
def test_files_that_are_no_tokenizer(tmp_path: Path, content: bytes | None, code: Code, told: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with refused(TokenizerError, code, "tokenizer.json", told):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_a_vocabulary_without_an_end_of_text(tmp_path: Path) -> None:
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a")).save(str(tmp_path / "tokenizer.json"))
    with refused(TokenizerError, "missing", "end-of-text", "</s>"):
        Tokenizer.load(tmp_path)


def test_bytes_of_the_first_tokens(tokenizer: Tokenizer, word_pieces: Tokenizer) -> None:
    text = "naïve 映画 films"
    ids = tokenizer.encode(text)
    for count in range(len(ids) + 2):
        assert tokenizer.leading_bytes(text, count) == len(tokenizer.decode_bytes(ids[:count]))
    assert tokenizer.leading_bytes(text, len(ids)) == len(text.encode())
    assert word_pieces.encode("Films ü good") == [3, 4, 0, 5]
    assert [word_pieces.leading_bytes("Films ü good", count) for count in range(5)] == [0, 4, 5, 8, 13]
