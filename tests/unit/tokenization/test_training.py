"""Learning a vocabulary."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from langmill.config.sections import TokenizerPattern
from langmill.errors import TokenizerError
from langmill.files import read_json
from langmill.tokenization.algorithms.bpe import split_long_words
from langmill.tokenization.byte_level import fast_encoding
from langmill.tokenization.patterns import REGEXES, pattern_of
from langmill.tokenization.tokenizer import EOT, Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.refused import refused
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit


def train(out: Path, texts: list[str], size: int = 400, *special: str) -> int:
    return train_tokenizer("bpe", size, texts, out, lambda _: None, special_tokens=special)


def test_ids_are_the_end_of_text_then_bytes_then_merges(tmp_path: Path) -> None:
    assert train(tmp_path / "t.json", sentences(200), 350) == 350
    vocabulary = json.loads((tmp_path / "t.json").read_text())["model"]["vocab"]
    by_id = sorted(vocabulary, key=vocabulary.__getitem__)
    assert sorted(vocabulary.values()) == list(range(350))
    assert by_id[0] == EOT
    assert all(len(token) == 1 for token in by_id[1:257])
    assert all(len(token) > 1 for token in by_id[257:])


def test_special_tokens_come_after_the_end_of_text_and_stand_for_no_text(tmp_path: Path) -> None:
    special = ["<|mask|>", "<|user|>"]
    texts = [*sentences(200), *["say <|mask|> and <|user|>"] * 20]
    assert train(tmp_path / "t.json", texts, 350, *special) == 350
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert fast_encoding(read_json(tokenizer.file))
    assert tokenizer.special_ids == {EOT: 0, "<|mask|>": 1, "<|user|>": 2}
    assert tokenizer.encode("!")[0] == 3  # the first byte
    said = "a <|mask|> in a text is text"
    ids = tokenizer.encode(said)
    assert not {0, 1, 2}.intersection(ids)
    assert [list(batch) for batch in tokenizer.encode_batch([said], 1)] == [ids]
    assert tokenizer.decode([1, *ids, 2, 0]) == said
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "t.json"))
    assert reference.decode([1, *ids, 2, 0], skip_special_tokens=True) == said
    assert reference.token_to_id("<|user|>") == 2


def test_the_end_of_text_is_no_further_token(tmp_path: Path) -> None:
    with refused(TokenizerError, "duplicate", "special_tokens", "<|endoftext|>"):
        train(tmp_path / "t.json", sentences(10), 350, EOT)


def test_equal_text_gives_equal_bytes(tmp_path: Path) -> None:
    train(tmp_path / "a.json", sentences(200))
    train(tmp_path / "b.json", sentences(200))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_little_text_gives_a_smaller_vocabulary(tmp_path: Path) -> None:
    assert train(tmp_path / "t.json", ["abab"], size=5000) == 258
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert tokenizer.vocab_size == 258
    assert fast_encoding(read_json(tokenizer.file))
    assert tokenizer.encode("abab") == [257, 257]
    assert tokenizer.decode(tokenizer.encode("anything else: ü")) == "anything else: ü"


def test_bytes_alone(tmp_path: Path) -> None:
    assert train(tmp_path / "t.json", ["abab"], size=257) == 257
    assert Tokenizer.load(tmp_path / "t.json").encode("ab") == [ord("a") - 32, ord("b") - 32]


def test_every_text_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    train_tokenizer("bpe", 300, iter(sentences(1100)), tmp_path / "t.json", told.append)
    assert told == sentences(1100)


def test_no_text(tmp_path: Path) -> None:
    with refused(TokenizerError, "too_few", "training document"):
        train(tmp_path / "t.json", [])
    assert not (tmp_path / "t.json").exists()


def test_an_end_of_text_in_the_data_is_not_learned_as_a_token(tmp_path: Path) -> None:
    train(tmp_path / "t.json", [f"a{EOT}b {EOT}"] * 50, size=300)
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert tokenizer.eot_id == 0
    assert fast_encoding(read_json(tokenizer.file))
    assert 0 not in tokenizer.encode(f"a{EOT}b {EOT}")


def test_a_very_long_word_takes_time_in_proportion_to_its_length(tmp_path: Path) -> None:
    random = np.random.default_rng(1)

    def seconds(length: int) -> float:
        texts = ["the film was good " * 50, "".join(random.choice(list("abcdefgh"), length))]
        began = time.process_time()
        train_tokenizer("bpe", 600, texts, tmp_path / "tokenizer.json", lambda _: None)
        return time.process_time() - began

    short, long = (min(seconds(length) for _ in range(3)) for length in (25_000, 200_000))
    assert long < 8 * 3 * short + 0.2  # with time in the square of the length: 64 times


def test_cutting_long_words_leaves_all_others_alone() -> None:
    text = "It's a film, no. 123\n\n  " + "ab" * 1500 + "  was 'good'!" + "-" * 2100 + " " * 1100 + "end"
    pieces = list(split_long_words(text, REGEXES[TokenizerPattern.langmill]))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 1000
    assert pieces[0].startswith("It's a film, no. 123\n\n ")
    assert "  was 'good" in pieces
    short = "naïve café, 映画 " * 40
    assert list(split_long_words(short, REGEXES[TokenizerPattern.langmill])) == [short]


@pytest.mark.parametrize("pattern", TokenizerPattern)
def test_a_vocabulary_says_its_pattern(tmp_path: Path, pattern: TokenizerPattern) -> None:
    """The file is what the library writes for it, it encodes every text, and only our own pattern is tiktoken's."""
    file = tmp_path / "t.json"
    train_tokenizer("bpe", 400, sentences(200), file, lambda _: None, pattern=pattern)
    state = read_json(file)
    assert pattern_of(state) is pattern
    assert (fast_encoding(state) is not None) == (pattern is TokenizerPattern.langmill)
    tokenizer = Tokenizer.load(file)
    for text in (*sentences(5), "It's 12345, naïve\u0301 \u200d  \t\n\n  x", " " * 3000, "a" * 3000):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(REGEXES[pattern]), behavior="isolated")
        words = "".join(f"{len(word)} " for word, _ in split.pre_tokenize_str(text))
        own = tokenizer._reference.pre_tokenizer.pre_tokenize_str(text)
        assert words == "".join(f"{end - start} " for _, (start, end) in own)


def test_a_tokenizer_of_others_may_have_one_of_the_patterns(tmp_path: Path) -> None:
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    assert pattern_of({"pre_tokenizer": step}) is TokenizerPattern.gpt2
    assert pattern_of({"pre_tokenizer": {**step, "add_prefix_space": True}}) is None
    assert pattern_of({"pre_tokenizer": None}) is None
