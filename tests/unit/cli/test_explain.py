"""`langmill explain` on small saved models: a picture, a line or two, and a sentence for what it can't do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langmill import cli
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.evaluation.explained import model
from tests.unit.tasks.conftest import _one_thread, tokenizer  # noqa: F401  # the same fixtures

pytestmark = pytest.mark.unit
TEXT = "the film was very good and I liked the plot"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:  # noqa: F811
    base = tmp_path_factory.mktemp("models")
    for name, task, network in (
        ("classifier", "classification", "decoder-small"),
        ("recurrent", "classification", "gru-small"),
        ("translator", "text_to_text", "encoder-decoder-small"),
        ("writer", "language_modelling", "decoder-small"),
    ):
        model(base / name, task, network, tokenizer)
    return base


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_classifier_names_the_words_that_decide(
    folders: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("classifier", "recurrent"):
        assert cli.call(["explain", "--model", str(folders / name), TEXT]) == 0
        told = capsys.readouterr()
        first, second = told.out.splitlines()
        assert re.fullmatch(r"(positive|negative) 0\.\d{4}  for it: .+; against it: .+", first)
        assert second == "The plot: build/explanations/tiny.png"
        assert told.err == f"[{folders / name}]\n"
        assert (here / "build/explanations/tiny.png").read_bytes().startswith(b"\x89PNG")
        (here / "build/explanations/tiny.png").unlink()


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("classifier", ["--attention"], ["The plot (2 layers, mean of 2 heads): maps.svg"]),
        ("classifier", ["--layer", "2"], ["The plot (layer 2, mean of 2 heads): maps.svg"]),
        ("classifier", ["--head", "1"], ["The plot (2 layers, head 1): maps.svg"]),
        ("classifier", ["--layer", "1", "--head", "2"], ["The plot (layer 1, head 2): maps.svg"]),
        ("writer", [], ["The plot (2 layers, mean of 2 heads): maps.svg"]),
        ("writer", ["--target", " bad"], ["The plot (2 layers, mean of 2 heads): maps.svg"]),
        ("translator", ["--target", "bad"], ["The plot (3 layers, mean of 2 heads): maps.svg"]),
    ],
)
def test_a_transformer_shows_where_it_looks(
    name: str, options: list[str], lines: list[str], folders: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.call(["explain", "--model", str(folders / name), TEXT, "--out", "maps.svg", *options]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert "<svg" in (here / "maps.svg").read_text()


def test_a_translator_writes_its_own_answer_first(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["explain", "--model", str(folders / "translator"), TEXT, "--out", "m.png"]) == 0
    *answer, last = capsys.readouterr().out.splitlines()
    assert answer
    assert last.startswith("The plot (")


def test_what_is_cut_or_left_out_is_said(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["explain", "--model", str(folders / "classifier"), TEXT * 9, "--layer", "1"]) == 0
    assert re.search(
        r"^The text is longer than \S+ can take: \d+ tokens of it were truncated\.$",
        capsys.readouterr().err,
        re.MULTILINE,
    )
    assert cli.call(["explain", "--model", str(folders / "translator"), "good", "--target", TEXT * 9]) == 0
    assert "The target is longer than" in capsys.readouterr().err
    assert cli.call(["explain", "--model", str(folders / "recurrent"), "good \U000e0ff0"]) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("classifier", [], "There is no text to explain; give it after the recipe's name or the --model."),
        ("classifier", [" \n"], "There is no text to explain"),
        ("classifier", [TEXT, "--layer", "3"], "--layer is 3; {} has layers 1 to 2."),
        ("classifier", [TEXT, "--head", "0"], "--head is 0; {} has heads 1 to 2."),
        ("classifier", [TEXT, "--target", "x"], "so it has no use for --target."),
        ("classifier", [TEXT, "--attention", "--target", "x"], "so it has no use for --target."),
        (
            "classifier",
            [TEXT, "--out", "x.gif"],
            "A plot is a .png or an .svg file, not 'x.gif'; choose another --out.",
        ),
        ("classifier", [TEXT, "--out", "folder.png"], "folder.png is a folder; name a file with --out."),
        ("classifier", [TEXT, "--out", "file/x.png"], "file/x.png can't be written: "),
        ("recurrent", [TEXT, "--attention"], "{} is no Transformer, so it has no attention to show"),
        ("recurrent", [TEXT, "--layer", "1"], "{} is no Transformer, so it has no attention to show"),
        ("translator", [TEXT, "--target", " "], "--target is empty; leave it out to see the model's own answer."),
        ("nowhere", [TEXT], "There is no model in {}"),
        ("classifier", [TEXT, "more"], "Name either a recipe or, with --model, a model folder."),
    ],
)
def test_what_it_can_not_do_is_one_sentence(
    name: str, arguments: list[str], sentence: str, folders: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "folder.png").mkdir()
    (here / "file").write_text("")
    assert cli.call(["explain", "--model", str(folders / name), *arguments]) == 1
    told = capsys.readouterr()
    assert sentence.format(folders / name) in told.err
    assert told.err.count("\n") == 1
    assert not told.out
    assert sorted(each.name for each in here.iterdir()) == ["file", "folder.png"]
