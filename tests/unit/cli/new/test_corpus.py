"""`langmill new corpus`: it asks where it can't tell, writes all or nothing, and takes any name and path that works."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.config.compose import compose_corpus
from langmill.files import MANIFEST_NAME
from langmill.stages import fetch
from tests.unit.cli.new.test_commands import CHAT, workspace, write_rows

pytestmark = pytest.mark.unit
__all__ = ["workspace"]
PROSE = "A letter of some length and with words in it"
TWO = [{"body": f"{PROSE} {number}", "content": f"{PROSE}, again {number}"} for number in range(9)]
ALPACA = {"instruction": "Say hello", "input": "", "output": "Hello"}


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Somebody sits at the terminal and answers."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: answer)


def test_fields_as_good_as_each_other_are_asked_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(workspace / "a.jsonl", TWO)
    before = everything(workspace)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 1
    told = capsys.readouterr()
    assert "--text content or --text body" in told.err and "1 .jsonl" in told.out
    assert everything(workspace) == before
    asked(monkeypatch, "content")
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    assert compose_corpus("mine").fields.text == "content"
    assert call(["new", "corpus", "other", "--from", "a.jsonl", "--text", "body"]) == 0
    assert compose_corpus("other").fields.text == "body"


def test_labels_may_be_none(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"text": f"{PROSE} {number}", "category": "ab"[number % 2], "sentiment": "+-"[number % 2]}
        for number in range(20)
    ]
    write_rows(workspace / "a.jsonl", rows)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 1
    assert "--label category or --label sentiment or --label none" in capsys.readouterr().err
    assert call(["new", "corpus", "mine", "--from", "a.jsonl", "--label", "none"]) == 0
    assert compose_corpus("mine").fields.label is None


def test_rows_and_shapes_that_do_not_agree(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "mine").mkdir()
    write_rows(workspace / "mine" / "a.jsonl", [CHAT])
    write_rows(workspace / "mine" / "b.jsonl", [ALPACA])
    assert call(["new", "corpus", "mine", "--from", "mine"]) == 1
    told = capsys.readouterr().err
    assert "messages (a.jsonl), alpaca (b.jsonl)" in told and "--format messages or --format alpaca" in told
    assert call(["new", "corpus", "mine", "--from", "mine", "--format", "messages"]) == 0
    assert (compose_corpus("mine").format.name, compose_corpus("mine").split.test) == ("messages", 0.2)
    (workspace / "two").mkdir()
    write_rows(workspace / "two" / "a.jsonl", [{"body": PROSE}] * 3)
    write_rows(workspace / "two" / "b.jsonl", [{"message": PROSE}] * 3)
    assert call(["new", "corpus", "two", "--from", "two"]) == 0
    said = compose_corpus("two").fields
    assert (said.text, {pattern: each.text for pattern, each in said.files.items()}) == ("message", {"a.jsonl": "body"})


def test_fields_are_asked_for_and_said_by_kind_of_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "mine").mkdir()
    write_rows(workspace / "mine" / "a.jsonl", TWO)
    (workspace / "mine" / "b.csv").write_text("note,topic\n" + f"{PROSE},x\n{PROSE},y\n" * 30)
    assert call(["new", "corpus", "mine", "--from", "mine"]) == 1
    told = capsys.readouterr().err
    assert "Several fields of the .jsonl files (a.jsonl) may be the text" in told
    assert "--text '*.jsonl=content' or --text '*.jsonl=body'" in told
    for wrong in (["*.tsv=body"], ["*.jsonl=note"], ["note", "body"]):
        assert call(["new", "corpus", "mine", "--from", "mine", *(f"--text={each}" for each in wrong)]) == 1
    assert "--text 'PATTERN=FIELD'" in capsys.readouterr().err
    assert call(["new", "corpus", "mine", "--from", "mine", "--text", "*.jsonl=body", "--label", "*.csv=none"]) == 0
    said = compose_corpus("mine").fields
    assert (said.text, said.label) == ("note", None)
    assert {pattern: each.text for pattern, each in said.files.items()} == {"*.jsonl": "body"}
    asked(monkeypatch, "content")
    assert call(["new", "corpus", "other", "--from", "mine"]) == 0
    said = compose_corpus("other").fields
    assert (said.text, said.label, said.files["*.jsonl"].text) == ("note", "topic", "content")


def test_a_field_that_no_row_has(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(workspace / "a.jsonl", TWO)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl", "--text", "contents"]) == 1
    assert "they have body, content. Did you mean content?" in capsys.readouterr().err


@pytest.mark.parametrize("failing", range(3))
def test_all_files_are_written_or_none_when_the_disk_is_full(
    failing: int, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of the writes fails in its turn; what is taken back needs no room."""
    (workspace / "a.csv").write_text("text\n" + f"{PROSE}\n" * 9)
    before = everything(workspace)
    whole, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    place = f"file://{workspace}/a.csv"  # a corpus with three files: its own, what was recorded, and the graph
    assert call(["new", "corpus", "mine", "--from", place]) not in (0, 70)
    assert "No space is left" in capsys.readouterr().err
    monkeypatch.undo()
    assert everything(workspace) == before
    assert not (workspace / "data").exists()


@pytest.mark.parametrize(
    "name",
    ["a: b", "${a}", "a\nb", "1e5", "true", "123", "no", "2024-01-01", "x" * 300, "", "-", "../x", "Ünï", "null"],
)
def test_names_that_would_break_a_file_are_refused(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "a.csv").write_text(f"text\n{PROSE}\n")
    before = everything(workspace)
    assert call(["new", "corpus", "--from", "a.csv", "--", name]) in (1, 2)
    assert "can't be a name; allowed are lower-case letters" in capsys.readouterr().err
    assert everything(workspace) == before


def test_a_folder_with_every_kind_of_name_is_read(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = workspace / "with space" / "ünï" / ("d" * 200) / ("e" * 200)
    folder.mkdir(parents=True)
    for name in (
        b"bad\xe4.txt",
        b"with space.txt",
        "ünï.txt".encode(),
        b"a: b.txt",
        b"no.txt",
        b"${a}.txt",
        b"n\nl.txt",
    ):
        (folder / os.fsdecode(name)).write_text(f"{PROSE} in {name!r}")
    (folder / ".hidden.txt").write_text("x")
    (folder / "empty.txt").touch()
    (folder / "film.avi").write_text("x")
    (folder / "out.txt").symlink_to("/etc/hostname")
    (folder / "in.txt").symlink_to("no.txt")
    (folder / "gone.txt").symlink_to("nowhere")
    assert call(["new", "corpus", "mine", "--from", str(folder.relative_to(workspace))]) == 0
    out = capsys.readouterr().out
    for told in ("8 .txt", "1 hidden", "1 empty", "1 .avi (not read)", "1 link to a file outside", "1 broken link"):
        assert told in out
    from langmill.config.compose import plain
    from langmill.config.core_yaml import dump_yaml

    path = Path("build/config/corpus/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(dump_yaml(plain(compose_corpus("mine"))))
    fetch.main("mine")
    found = sorted(path.name for path in Path("build/raw/mine").iterdir() if path.name != MANIFEST_NAME)
    assert found == ["${a}.txt", "a: b.txt", "bad%E4.txt", "in.txt", "n%0Al.txt", "no.txt", "with space.txt", "ünï.txt"]
