"""The algorithms that learn vocabularies: what each promises of any text, whatever it has learned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from langmill.config.compose import compose_tokenizer, plain
from langmill.config.sections import Tokenizer as Section
from langmill.config.sections import TokenizerNormalizer, TokenizerPattern
from langmill.config.typed import typed
from langmill.errors import Code, ConfigError
from langmill.files import read_json
from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, check_tokenizer
from langmill.tokenization.algorithms.wordpiece import UNKNOWN
from langmill.tokenization.text_stream import TextStream
from langmill.tokenization.tokenizer import EOT, Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.refused import refused
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[3] / "conf"
LOSSLESS = ["bpe", "byte", "character", "unigram"]
ALL = [*LOSSLESS, "wordpiece"]
SPECIAL = ["<|mask|>", "<|.-|>"]
ODD = [
    "It's  12345,\n\nnaïve\u0301 \u200d Ünïcode ﬁ ① 映画",
    "",
    " ",
    "[UNK] ## <|mask|> <|endoftext|> <|.-|>",
    "\u0130",
]


def train(name: str, file: Path, **more: Any) -> Tokenizer:
    """A vocabulary of 600 entries, where it is not of a size of its own."""
    size = None if TOKENIZER_ALGORITHMS.find(name).fixed_size else 600
    train_tokenizer(name, size, sentences(300), file, lambda _: None, special_tokens=SPECIAL, **more)
    return Tokenizer.load(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("algorithms")
    return {name: train(name, folder / name / "tokenizer.json") for name in ALL}


def test_these_are_all() -> None:
    assert TOKENIZER_ALGORITHMS.names() == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_transformers_opens_the_file_with_equal_ids(trained: dict[str, Tokenizer], name: str) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_file=str(trained[name].file))
    for text in (*sentences(20), *ODD[:3]):
        ids = trained[name].encode(text)
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert [batch.tolist() for batch in trained[name].encode_batch([text], 2)] == [ids]
        assert theirs.decode(ids, skip_special_tokens=True) == trained[name].decode(ids)


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=st.text())
def test_any_text_comes_back(trained: dict[str, Tokenizer], name: str, text: str) -> None:
    tokenizer = trained[name]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and tokenizer.losses == ()
    assert tokenizer.is_byte_level and tokenizer.leading_bytes(text, len(ids)) == len(text.encode())


@pytest.mark.parametrize("name", ALL)
def test_special_tokens_come_first_and_are_never_made_from_a_text(trained: dict[str, Tokenizer], name: str) -> None:
    tokenizer = trained[name]
    assert [tokenizer.special_ids[each] for each in (EOT, *SPECIAL)] == [0, 1, 2]
    for text in ODD:
        assert not {0, 1, 2}.intersection(tokenizer.encode(text))
    ids = tokenizer.encode("the film")
    assert tokenizer.decode([1, *ids, 2, 0]) == "the film"
    marked = tokenizer.encode_rendered([[1, "the film", 2], ["was <|mask|>", 0]])
    assert marked[0][0] == 1 and marked[0][-1] == 2 and marked[1].count(1) == 0 and marked[1][-1] == 0


def test_equal_texts_give_equal_bytes_in_any_process(trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.unit.tokenization.test_algorithms import ALL, train\n"
        "for name in ALL: train(name, Path(sys.argv[1]) / name)"
    )
    path = f"{CONF.parent}:{CONF.parent / 'src'}"
    other = {"RAYON_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=other, check=True)
    assert [name for name in ALL if (tmp_path / name).read_bytes() != trained[name].file.read_bytes()] == []


@pytest.mark.parametrize("name", ALL)
def test_a_stream_of_tokens_is_the_decoded_text(trained: dict[str, Tokenizer], name: str) -> None:
    """As a server sends it, token by token; with a chat's special tokens between."""
    tokenizer = trained[name]
    for text in (*ODD, "the film was good. Really, naïve!"):
        ids = [1, *tokenizer.encode(text), 2]
        stream = TextStream(tokenizer.decode)
        chunks = [stream.push(number) for number in ids]
        assert "".join([*chunks, stream.finish()]) == tokenizer.decode(ids)
        assert "\ufffd" not in "".join(chunks) or "\ufffd" in tokenizer.decode(ids)


def test_a_byte_is_a_token(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["byte"]
    assert tokenizer.vocab_size == 256 + 1 + len(SPECIAL)
    text = "naïve 映画 \u200d"
    assert [tokenizer.piece(number) for number in tokenizer.encode(text)] == [bytes([each]) for each in text.encode()]


def test_a_common_character_is_a_token_and_any_other_its_bytes(tmp_path: Path) -> None:
    """Id 256 + the end-of-text token: the characters by how often they occur, beginnings of their bytes before them."""
    file = tmp_path / "tokenizer.json"
    room = 257 + 2 + 1  # 映 is two entries, é one; 画 would be one more, as both begin with other bytes
    train_tokenizer("character", room, ["映映映映 ééé 画画 ü"], file, lambda _: None)
    tokenizer = Tokenizer.load(file)
    assert tokenizer.vocab_size == room
    assert [tokenizer.piece(number) for number in tokenizer.encode("映é")] == ["映".encode(), "é".encode()]
    assert len(tokenizer.encode("画")) == 3 and len(tokenizer.encode("ü")) == 2 and tokenizer.decode([257]) == "\ufffd"
    train_tokenizer("character", 1000, ["映映映映 ééé 画画 ü"], file, lambda _: None)
    assert len(Tokenizer.load(file).encode("画")) == 1 and len(Tokenizer.load(file).encode("ü")) == 2  # ü occurs once


def test_what_word_pieces_lose(trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained["wordpiece"]
    assert tokenizer.losses == ("white space", "unknown characters")
    assert tokenizer.decode(tokenizer.encode("the  film\nwas good.")) == "the film was good."
    unknown = tokenizer.special_ids[UNKNOWN]
    assert tokenizer.encode("film Ж film")[1] == unknown
    assert tokenizer.decode(tokenizer.encode("映画")) == "映 画"
    # Cut, where BERT's own code would make one unknown token of it.
    assert unknown not in tokenizer.encode("film" * 1000)


def test_more_characters_than_a_vocabulary_has_room_for(tmp_path: Path) -> None:
    characters = [chr(0x4E00 + number) for number in range(3000)]
    texts = ["".join(character * 2 for character in characters)]
    for name in ("wordpiece", "character", "unigram"):
        assert train_tokenizer(name, 700, texts, tmp_path / "t.json", lambda _: None) <= 700


@pytest.mark.parametrize("normalizer", TokenizerNormalizer)
@pytest.mark.parametrize("name", ["bpe", "unigram", "wordpiece"])
def test_normalizers(tmp_path: Path, name: str, normalizer: TokenizerNormalizer) -> None:
    """Both engines read the normalised text; bytes are those of the text as it is."""
    tokenizer = train(name, tmp_path / "tokenizer.json", normalizer=normalizer)
    lost = {"nfkc": ["compatibility forms"], "lowercase": ["case"]}.get(normalizer.value, [])
    assert [each for each in tokenizer.losses if each in ("case", "compatibility forms")] == lost
    step = tokenizer._reference.normalizer
    assert (tokenizer._fast is not None) == (name == "bpe")
    for text in (*ODD, "The FILM", "e\u0301", "\ud800"):
        ids = tokenizer.encode(text)
        sound = text.encode("utf-8", "replace").decode().replace("?", "\ufffd") if text == "\ud800" else text
        assert ids == tokenizer._reference.encode(sound, add_special_tokens=False).ids
        if name != "wordpiece" and text != "\ud800":
            assert tokenizer.decode(ids) == (text if step is None else step.normalize_str(text))
            assert tokenizer.leading_bytes(text, len(ids)) == len(text.encode())
    same = {"none": ("e\u0301", "E\u0301"), "nfc": ("é", "e\u0301"), "nfkc": ("ﬁ", "fi"), "lowercase": ("FILM", "film")}
    one, other = same[normalizer.value]
    if name != "wordpiece":  # both are unknown to it
        assert (tokenizer.encode(one) == tokenizer.encode(other)) == (normalizer is not TokenizerNormalizer.none)


def test_the_bytes_of_a_beginning_are_those_of_the_text_as_it_is(tmp_path: Path) -> None:
    tokenizer = train("byte", tmp_path / "tokenizer.json", normalizer=TokenizerNormalizer.nfkc)
    text = "a①ﬁ"  # 1 + 3 + 3 bytes; a, 1, f, i
    assert [tokenizer.leading_bytes(text, count) for count in range(6)] == [0, 1, 4, 7, 7, 7]
    assert [tokenizer.leading_bytes("xe\u0301y", count) for count in range(5)] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("pattern", TokenizerPattern)
@pytest.mark.parametrize("name", LOSSLESS)
def test_every_pattern_splits_every_algorithm(tmp_path: Path, name: str, pattern: TokenizerPattern) -> None:
    tokenizer = train(name, tmp_path / "tokenizer.json", pattern=pattern)
    for text in ODD:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer._fast is not None) == (pattern is TokenizerPattern.langmill and name != "unigram")


@pytest.mark.parametrize(
    ("values", "code", "told"),
    [
        ({"algorithm": "bpee"}, "unknown", "bpe"),
        ({"algorithm": "byte"}, "impossible", "vocab_size is 4096; allowed is null"),
        ({"vocab_size": None}, "impossible", "vocab_size is null; allowed is a whole number"),
        ({"algorithm": "wordpiece", "pattern": "gpt2"}, "impossible", "pattern is gpt2"),
        ({"algorithm": "unigram", "options": {"longest_piece": 0}}, None, "options.longest_piece is 0"),
        ({"options": {"longest": 3}}, None, "longest"),
        ({"normalizer": "nfd"}, None, "normalizer is nfd"),
    ],
)
def test_settings_that_do_not_fit(values: dict[str, Any], code: Code | None, told: str) -> None:
    section = plain(compose_tokenizer("reviews", CONF)) | values
    with pytest.raises(ConfigError) as caught:
        check_tokenizer(typed(Section, section, "reviews.yaml"), "reviews.yaml")
    assert told in str(caught.value) and "reviews.yaml" in str(caught.value)
    assert code in (None, caught.value.code)


def test_nothing_but_a_name_for_a_pretrained_one() -> None:
    section = plain(compose_tokenizer("minilm", CONF))
    check_tokenizer(typed(Section, section, "minilm.yaml"), "minilm.yaml")
    for values in ({"normalizer": "nfc"}, {"options": {"a": 1}}):
        with refused(ConfigError, "impossible", "left out for the algorithm pretrained"):
            typed(Section, section | values, "minilm.yaml")


def test_the_file_of_each_is_what_the_library_writes(trained: dict[str, Tokenizer]) -> None:
    for name in ALL:
        again = tokenizers.Tokenizer.from_file(str(trained[name].file)).to_str(pretty=True)
        assert json.loads(again) == read_json(trained[name].file)
