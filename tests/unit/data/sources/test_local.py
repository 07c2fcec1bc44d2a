"""Files and folders of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from langmill.data.sources import local as files
from langmill.errors import Code, SourceChangedError, SourceError
from tests.refused import refused
from tests.unit.data.settings import local
from tests.unit.data.sources.fetching import contents, fetch

pytestmark = pytest.mark.unit


def test_a_folder_is_copied_with_what_can_be_read(into: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("a.txt", "deep/er/b.jsonl", "c.csv.gz", "notes.odt", ".hidden.txt", ".git/d.txt"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(name)
    fetch(local(mine), into, tmp_path / "downloads")
    assert list(contents(into)) == ["a.txt", "c.csv.gz", "deep/er/b.jsonl"]
    (mine / "a.txt").write_text("changed later")
    assert (into / "a.txt").read_text() == "a.txt"


def test_a_file_that_is_written_to_meanwhile_is_no_corpus(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.txt").write_text("x")
    copy = files.write

    def slowly(content: IO[bytes], path: Path, on_bytes: Callable[[int], object]) -> None:
        copy(content, path, on_bytes)
        with (tmp_path / "mine.txt").open("a") as other:
            other.write("y")

    monkeypatch.setattr(files, "write", slowly)
    with refused(SourceChangedError, "changed", "mine.txt", "run this again"):
        fetch(local(tmp_path / "mine.txt"), into, tmp_path / "downloads")


def test_a_file_is_copied(into: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.TXT").write_text("x")
    fetch(local(tmp_path / "mine.TXT"), into, tmp_path / "downloads")
    assert contents(into) == {"mine.TXT": "x"}


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("nowhere", "missing", ["paths start at the workspace"]),
        ("empty", "unreadable", ["readable are .csv", "it is empty"]),
        ("film.avi", "unreadable", ["readable are .csv", "its ending is .avi."]),
    ],
)
def test_paths_that_hold_nothing(into: Path, tmp_path: Path, name: str, code: Code, told: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.avi").write_text("x")
    with refused(SourceError, code, name, "source.path", *told):
        fetch(local(tmp_path / name), into, tmp_path / "downloads")
