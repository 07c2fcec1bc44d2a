"""`langmill refresh`, and what it means for what follows: other bytes are read again, the same ones change no hash."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs import LocalFileSystem

from langmill.cli import call
from langmill.config.compose import compose_corpus, plain
from langmill.config.core_yaml import dump_yaml
from langmill.errors import ConfigError, SourceError
from langmill.stages import fetch
from langmill.stages.compose import require_composed
from tests.refused import refused

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
RECORD = Path("data/fingerprints/letters.json")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped settings and graph, beside a folder `letters`."""
    folder = tmp_path / "workspace"
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.csv").write_text("text,topic\n" + "A letter of some length,x\n" * 9)
    monkeypatch.chdir(folder)
    return folder


def hash_of_raw(name: str, tmp_path: Path) -> str:
    """What DVC knows the raw folder by, and so what decides whether anything runs again."""
    files = LocalFileSystem()
    store = HashFileDB(files, str(tmp_path / "odb"))
    return str(build(store, str(Path(f"build/raw/{name}").absolute()), files, "md5", dry_run=True)[2].hash_info.value)


def fetched(name: str, tmp_path: Path) -> str:
    """Run the stage, and return the hash of what it made."""
    path = Path(f"build/config/corpus/{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_yaml(plain(compose_corpus(name))))
    fetch.main(name)
    return hash_of_raw(name, tmp_path)


def test_an_address_is_looked_at_again(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["new", "corpus", "letters", "--from", f"file://{tmp_path}/letters/*.csv"]) == 0
    out = capsys.readouterr().out
    for told in ("1 .csv", "the label is topic", "data/fingerprints/letters.json"):
        assert told in out
    assert compose_corpus("letters").source.kind == "url"
    assert 'letters: {source: "data/fingerprints/letters.json"}' in Path("dvc.yaml").read_text()
    require_composed([], ["letters"])
    before = fetched("letters", tmp_path)

    assert call(["refresh", "letters"]) == 0
    assert "letters: unchanged (1 file)." in capsys.readouterr().out
    record = RECORD.read_text()
    file = tmp_path / "letters" / "a.csv"
    file.write_bytes(file.read_bytes())  # the same bytes at a later time
    assert call(["refresh", "letters"]) == 0
    assert "letters: a.csv has changed." in capsys.readouterr().out
    assert RECORD.read_text() != record
    assert fetched("letters", tmp_path) == before

    file.write_text(file.read_text() + "Another letter,y\n")
    (tmp_path / "letters" / "b.csv").write_text("text,topic\nOne more letter,y\n")
    with refused(SourceError, "changed", "langmill refresh"):
        fetched("letters", tmp_path)
    assert call(["refresh"]) == 0
    assert "letters: a.csv has changed, b.csv is new. `langmill run` reads it again." in capsys.readouterr().out
    assert fetched("letters", tmp_path) != before


def test_a_database_by_the_name_of_a_variable(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(tmp_path / "letters.db") as connection:
        connection.execute("create table letters (id integer, body text, topic text)")
        values = ", ".join(f"({number}, 'A letter, the {number}th of many', 'x')" for number in range(20))
        connection.execute(f"insert into letters values {values}")
    monkeypatch.setenv("LETTERS_URL", f"sqlite:///{tmp_path}/letters.db")
    query = "select id, body, topic from letters order by id"
    assert call(["new", "corpus", "letters", "--from", "sql:LETTERS_URL", "--query", query]) == 0
    corpus = compose_corpus("letters")
    assert (corpus.fields.text, corpus.fields.label, corpus.fields.metadata) == ("body", "topic", ["id"])
    for path in (Path("conf/corpus/letters.yaml"), RECORD, Path("dvc.yaml")):
        assert "sqlite" not in path.read_text()
    assert json.loads(RECORD.read_text())["rows.jsonl"]["rows"] == 20
    before = fetched("letters", tmp_path)
    capsys.readouterr()
    assert call(["refresh"]) == 0
    assert "letters: unchanged (1 file)." in capsys.readouterr().out
    assert fetched("letters", tmp_path) == before


def test_a_source_that_nobody_has_looked_at_is_refused_with_the_command(workspace: Path, tmp_path: Path) -> None:
    assert call(["new", "corpus", "letters", "--from", f"file://{tmp_path}/letters/a.csv"]) == 0
    RECORD.unlink()
    with refused(ConfigError, "missing", "langmill refresh letters", str(RECORD)):
        require_composed([], ["letters"])
    assert call(["refresh", "letters"]) == 0
    require_composed([], ["letters"])


def test_what_can_not_change_is_said(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["refresh", "reviews", "questions"]) == 0
    out = capsys.readouterr().out
    assert "reviews: pinned" in out and "questions: data/questions.json is on this machine" in out
    assert call(["refresh"]) == 0
    assert "No corpus comes from a place that can change" in capsys.readouterr().out
    assert call(["refresh", "gone"]) == 2
