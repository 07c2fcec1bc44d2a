"""`langmill tokenizers`: vocabularies of one corpus side by side."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import pytest

from langmill import cli
from langmill.config.compose import compose_evaluation
from langmill.config.sections import TokenizerNormalizer
from langmill.data.document import Document, Split, documents_path
from langmill.errors import ConfigError
from langmill.evaluation.tokenizers import Texts, draw_texts
from langmill.files import read_json, write_manifest
from langmill.stages.bake_off import BakeOff
from langmill.tokenization.measures import measure
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.documents import write_documents
from tests.refused import refused
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    folder = tmp_path / "build" / "documents" / "spam"
    lines = sentences(300)
    for split, part in ((Split.train, lines[:200]), (Split.validation, lines[200:]), (Split.test, [])):
        write_documents(documents_path(folder, split), [Document(f"{split}{n}", text) for n, text in enumerate(part)])
    write_manifest(folder, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_a_csv_and_a_plot(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["tokenizers", "spam", "--sizes", "300,400", "--train", "0.2"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["vocabulary", "entries", "bytes/token", "tokens/word"]
    names = [f"{name}-{size}" for name in ("bpe", "unigram", "wordpiece", "character") for size in (300, 400)]
    assert [row.split()[0] for row in rows[:9]] == [*names, "byte"]
    assert rows[8].split()[1:3] == ["257", "1.000"]
    folder = workspace / ".langmill" / "tokenizers" / "spam"
    assert (folder / "tokenizers.png").read_bytes().startswith(b"\x89PNG")
    entries = read_json(folder / "tokenizers.json")
    with (folder / "tokenizers.csv").open(encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [entry["name"] for entry in entries]
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["bpe-400"]["bytes_per_token"] > by_name["bpe-300"]["bytes_per_token"] > 1
    assert by_name["wordpiece-300"]["losses"] == ["white space", "unknown characters"]
    assert "*" in next(row for row in rows if row.startswith("wordpiece-300")) and rows[9].startswith("*")
    for entry in entries:
        assert 0 < entry["bits_per_byte"] < 8 * 1.5 and entry["trained_steps"] >= 1
        assert (entry["lost_rate"] == 0) or entry["algorithm"] == "wordpiece"
        assert Tokenizer.load(folder / "vocabularies" / entry["name"]).vocab_size == entry["entries"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--algorithms", "bpe,nothing"], "nothing"),
        (["--sizes", "100"], "--sizes has 100"),
        (["--sizes", "many"], "not a list of numbers"),
        (["--normalizer", "upper"], "upper"),
    ],
)
def test_what_can_not_be_compared(workspace: Path, arguments: list[str], told: str, capsys) -> None:
    assert cli.call(["tokenizers", "spam", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert cli.call(["tokenizers", "nowhere"]) == 2


def test_measures_are_what_they_say(tmp_path: Path) -> None:
    """Of texts whose tokens are counted by hand: 12 bytes, 4 tokens, one of them unknown, 2 words, one text changed."""
    train_tokenizer("wordpiece", 300, ["ab ab cd cd"] * 3, tmp_path / "tokenizer.json", lambda _: None)
    tokenizer = Tokenizer.load(tmp_path)
    found = measure(tokenizer, ["ab cd", "ab  Ж"])  # 5 and 6 bytes
    assert (found.num_bytes, found.num_tokens) == (11, 4)
    assert found.bytes_per_token == 11 / 4 and found.tokens_per_word == 1.0
    assert found.unknown_rate == 0.25 and found.lost_rate == 0.5
    ordinary = tokenizer.vocab_size - 2
    assert math.isclose(found.used_share, 2 / ordinary)
    assert found.megabytes_per_second > 0
    assert measure(tokenizer, [" "]).tokens_per_word is None


def test_texts_are_drawn_by_seed(workspace: Path) -> None:
    folder = workspace / "build" / "documents" / "spam"
    one, again, other = (draw_texts(folder, 50, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert (len(one.train), len(one.validation)) == (50, 5)
    assert set(one.train) <= set(sentences(300)[:200]) and set(one.validation) <= set(sentences(300)[200:])


def test_what_a_vocabulary_loses_is_said_and_bytes_are_the_texts_own(tmp_path: Path) -> None:
    """Lower case is cheaper to predict; the bytes it is divided by stay the same."""
    texts = Texts(["The FILM Was GOOD"] * 40, ["The FILM Was GOOD"] * 4)
    found = {}
    for normalizer in (TokenizerNormalizer.none, TokenizerNormalizer.lowercase):
        bake_off = BakeOff(texts, normalizer, 0.1, 0, compose_evaluation(conf=ROOT / "conf"), tmp_path)
        [found[normalizer]] = bake_off.run(["byte"], [])
    plain, lower = found.values()
    assert plain.measures.num_bytes == lower.measures.num_bytes == 4 * 17
    assert (plain.losses, lower.losses) == ((), ("case",))
    assert (plain.measures.lost_rate, lower.measures.lost_rate) == (0.0, 1.0)


def test_no_algorithm_of_the_name(tmp_path: Path) -> None:
    bake_off = BakeOff(
        Texts(["a"], ["a"]), TokenizerNormalizer.none, 0, 0, compose_evaluation(conf=ROOT / "conf"), tmp_path
    )
    with refused(ConfigError, "unknown", "bpee"):
        bake_off.run(["bpee"], [300])
