"""`langmill show`: documents, what was dropped beside its twin, the way of one document, a step's before and after."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from langmill import cli
from langmill.cli.show.drawing import Drawing
from langmill.cli.show.replay import Passed
from langmill.cli.show.views import _step
from langmill.config.compose import compose_corpus, plain
from langmill.config.core_yaml import dump_yaml
from langmill.data.cleaning.base import Draft
from langmill.files import write_manifest, write_text
from langmill.stages import clean

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[4] / "conf"
LONG = " ".join(f"{word} of the evening number {n}" for n, word in enumerate(["story", "song", "tale", "toast"] * 4))


@pytest.fixture
def workspace(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cleaned corpus of sixty rows, one of them too short, and one a near duplicate of another."""
    monkeypatch.chdir(made)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, made once: `show` changes nothing."""
    tmp_path = tmp_path_factory.mktemp("workspace")
    write_text(tmp_path / "dvc.yaml", "stages: {}\n")
    (tmp_path / "conf").mkdir()
    rows = [{"text": f"<p>Story number {n} of a long evening</p>", "label": n % 2, "n": n} for n in range(60)]
    rows[7]["text"] = "<i>no</i>"
    rows[10]["text"], rows[12]["text"] = f"{LONG} was told", f"{LONG} was very well told"
    rows[8]["text"] = "A story\x07 by mail to teller@example.org, told once"
    write_text(tmp_path / "build/raw/tiny/a.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    write_manifest(tmp_path / "build/raw/tiny", {})
    corpus = plain(compose_corpus("reviews", CONF)) | {"name": "tiny", "format": {"name": "auto", "options": {}}}
    corpus["fields"] |= {"text": "text", "label": "label", "metadata": ["n"]}
    corpus["split"] |= {"validation": 0.2, "test": 0.2}
    corpus["cleaning"]["workers"] = 1
    corpus["cleaning"]["steps"] = ["markup", "characters", "privacy", "length"]
    corpus["cleaning"]["options"] = {
        "markup": {}, "characters": {"preserve_whitespace": False}, "privacy": {},
        "length": {"min_characters": 10, "max_characters": 1000},
    }  # fmt: skip
    write_text(tmp_path / "build/config/corpus/tiny.yaml", dump_yaml(corpus))
    with contextlib.chdir(tmp_path):
        clean.main("tiny")
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    assert cli.call(["show", "tiny", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def told(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert cli.call(["show", "tiny", *options]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    return out


@pytest.mark.usefixtures("workspace")
def test_documents_are_drawn_by_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (shown(capsys, "--count", "5", "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again
    assert first["shown"] != other["shown"]
    assert len({document["id"] for document in first["shown"]}) == 5
    assert sum(first["documents"].values()) == 58
    everything = shown(capsys, "--count", "1000")["shown"]
    assert len({document["id"] for document in everything}) == 58
    out = told(capsys, "--count", "2")
    assert "tiny: 58 documents" in out
    assert "quarantined: corrupt: 1" in out


@pytest.mark.usefixtures("workspace")
def test_what_was_dropped_stands_beside_its_twin(capsys: pytest.CaptureFixture[str]) -> None:
    row = shown(capsys, "--dropped", "near_duplicate")["shown"][0]
    assert row["kept"]["id"] == row["twin"]
    assert 0.5 < row["similarity"] <= row["containment"] < 1
    out = told(capsys, "--dropped", "near duplicate")
    assert f"similarity {row['similarity']:.2f}  containment {row['containment']:.2f}" in out
    assert "{+very well +}told" in out and "{+so+}: only in the one that is kept" in out
    assert f"kept in its place: a.jsonl:13 {row['twin']}" in out
    assert (row["where"], row["kept"]["where"]) == ("a.jsonl:11", "a.jsonl:13")
    assert "step length" in told(capsys, "--dropped", "too_short")
    assert cli.call(["show", "tiny", "--dropped", "nothing"]) == 1
    assert "near_duplicate (1), too_short (1)" in capsys.readouterr().err


def test_the_way_of_one_document(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del workspace
    view = shown(capsys, "--why", "a.jsonl:9")
    assert [step["step"] for step in view["steps"] if step.get("changed")] == ["characters", "privacy"]
    assert view["steps"][2]["changes"] == ["email"]
    assert view["document"]["text"] == "A story by mail to <EMAIL>, told once"
    assert shown(capsys, "--why", view["id"][:9]) == view
    assert "Its text now:" in (out := told(capsys, "--why", view["id"])) and "It is in the" in out
    kept = shown(capsys, "--dropped", "near_duplicate")["shown"][0]["twin"]
    assert [row["where"] for row in shown(capsys, "--why", kept)["replaced"]] == ["a.jsonl:11"]
    assert f"; a.jsonl:13 {kept} is kept." in " ".join(told(capsys, "--why", "a.jsonl:11").split())


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("a.jsonl:8", "It was dropped by the step length: too short (score 2)."),
        ("a.jsonl:11", "It was dropped: near duplicate (similarity 0."),
        ("a.jsonl:61", "It is quarantined: corrupt."),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_the_way_of_a_row_that_is_no_document(asked: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence in told(capsys, "--why", asked)


@pytest.mark.usefixtures("workspace")
def test_a_step_is_shown_by_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    view = shown(capsys, "--step", "markup", "--count", "4")
    assert (view["rows"], view["seen"], view["changed"], view["dropped"]) == (61, 60, 57, 0)
    assert len(view["shown"]) == 4
    assert all("<" in one["before"]["text"] and "<" not in one["after"]["text"] for one in view["shown"])
    one = shown(capsys, "--step", "length")["shown"][0]
    assert (one["dropped"], one["score"], one["detail"]) == ("too_short", 2, None)
    assert "[-teller@example.org-]{+<EMAIL>+}" in told(capsys, "--step", "privacy")
    assert cli.call(["show", "tiny", "--step", "swim"]) == 2
    assert "markup, characters, privacy, length" in (err := capsys.readouterr().err)
    assert "--dropped near_duplicate" in err  # which is no step


@pytest.mark.usefixtures("workspace")
def test_quarantined_rows_are_shown_by_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    view = shown(capsys, "--dropped", "corrupt")
    assert (view["quarantined"], [row["where"] for row in view["shown"]]) == (1, ["a.jsonl:61"])
    assert "1 row quarantined: corrupt" in (out := told(capsys, "--dropped", "corrupt")) and "{broken" in out
    assert cli.call(["show", "tiny", "--dropped", "nosuch"]) == 1
    assert "corrupt (1), near_duplicate (1), too_short (1)" in capsys.readouterr().err


def test_what_a_step_notes_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    before = Draft("A letter", None, {})
    passed = Passed("language", before, Draft("A letter", None, {"language": "en"}))
    Drawing()._pair(_step(passed))
    assert capsys.readouterr().out.split() == ["language:", "en", "A", "letter"]
    Drawing()._step(_step(passed))  # on the way of one document the text has been shown
    assert capsys.readouterr().out == "language: noted language: en\n"


def test_of_exact_duplicates_the_text_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"where": "a:2", "split": "train", "step": None, "text": "A letter", "target": None, "twin": "f0-1"}
    kept = {"id": "f0-1", "where": "a:1", "split": "train", "text": "A letter", "target": None}
    Drawing().dropped({"corpus": "x", "reason": "duplicate", "documents": 1, "shown": [row | {"kept": kept}]})
    assert capsys.readouterr().out.splitlines()[-2:] == ["kept in its place: a:1 f0-1 (train)", "  A letter"]


def test_after_a_refusal_the_folder_that_was_kept_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "dvc.yaml", "stages: {}\n")
    (tmp_path / "conf").mkdir()
    write_text(tmp_path / ".langmill/failed/clean@tiny/report.json", "{}")
    assert cli.call(["show", "tiny"]) != 0
    assert ".langmill/failed/clean@tiny has what was read and left out (report.md" in capsys.readouterr().err


@pytest.mark.usefixtures("workspace")
def test_what_can_t_be_shown_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        (["nosuch"], "dvc repro clean@nosuch"),
        (["tiny", "--why", "ffff-nothing"], "has the id"),
        (["tiny", "--why", "b.jsonl:3"], "b.jsonl:3"),
        (["tiny", "--step", "markup", "--why", "x"], "Give one of"),
    ):
        assert cli.call(["show", *arguments]) != 0
        assert sentence in capsys.readouterr().err
