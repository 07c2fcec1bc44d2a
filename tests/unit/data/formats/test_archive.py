"""Archives: members are read by name and as files are; nothing is unpacked by path, and what is left out is counted."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from langmill.config.sections import FileFields
from langmill.data.detection import detect
from langmill.data.formats import archive
from langmill.data.formats.base import ABOUT
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row, Unreadable
from langmill.errors import DataError
from tests.refused import refused
from tests.unit.data.formats.reading import bad, good, read
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit
MEMBERS = {
    "a/table.csv": "text;label\nGrüße;1\n".encode("cp1252"),
    "b.jsonl.gz": gzip.compress(b'{"text": "two", "label": 2}\n', mtime=0),
    "../../escape.txt": b"three",
    "README.md": b"# Hello",
    ".DS_Store": b"x",
    "inner.zip": b"PK",
    "notes.odt": b"x",
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("passwords.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    return buffer.getvalue()


WAYS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "x.zip": zipped,
    "x.tar": tarred,
    "x.tar.gz": lambda members: gzip.compress(tarred(members)),
    "x.tgz": lambda members: tarred(members, "w:gz"),
}


@pytest.mark.parametrize("name", WAYS)
def test_members_are_read_as_files_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WAYS[name](MEMBERS))
    rows = list(read_rows(tmp_path, file_format(), fields("text", "label")))
    assert [(row.where, row.text, row.label) for row in rows if isinstance(row, Row)] == [
        (f"{name}:a/table.csv:2", "Grüße", "1"),
        (f"{name}:b.jsonl.gz:1", "two", "2"),
    ]
    left = {row.where: row.num_bytes for row in rows if isinstance(row, BadRow)}
    links = {} if name == "x.zip" else {"* link or device": 0}
    expected = {
        "* .odt": 1,
        "* README or LICENSE": 7,
        "* outside of the archive": 5,
        "* .zip": 2,
        "* hidden": 1,
        **links,
    }
    assert left == {f"{name}:{place}": size for place, size in expected.items()}
    assert not list(tmp_path.parent.glob("escape.txt"))


@pytest.mark.parametrize("name", WAYS)
def test_texts_and_documents_beside_a_table_are_read_as_in_a_folder(tmp_path: Path, name: str) -> None:
    members = {
        "a.csv": b"body,day,stars\none,1,2\n",
        "n.txt": b"two",
        "p.html": b"<p>Three of us.</p>",
        "z.txt": b"\xff",
    }
    wanted = fields("body", "stars", None, "day")
    (tmp_path / "folder").mkdir()
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / name).write_bytes(WAYS[name](members))
    for file, data in members.items():
        (tmp_path / "folder" / file).write_bytes(data)
    beside = list(read_rows(tmp_path / "folder", file_format(), wanted))
    within = [row for row in read_rows(tmp_path / "archive", file_format(), wanted) if ":* " not in row.where]
    assert [replace(row, where=row.where.removeprefix(f"{name}:")) for row in within] == beside
    assert len(beside) == 4 and isinstance(beside[1], Row) and beside[1].text == "two"


def test_an_archive_of_texts_has_no_fields(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"a.txt": b"one", "README.md": b"x"}))
    rows = read_rows(tmp_path, file_format(), fields("body"))
    assert [row.where for row in rows] == ["x.zip:a.txt:1", f"x.zip:* {ABOUT}"]


def test_fields_of_members_are_those_that_the_longest_pattern_says(tmp_path: Path) -> None:
    table = b"body,note,topic\none,two,x\n"
    (tmp_path / "x.zip").write_bytes(zipped({"a.csv": table, "In/b.csv": table, "c.txt": b"text"}))
    (tmp_path / "d.csv").write_bytes(table)
    files = {"*.CSV": FileFields("note", "topic"), "x.zip/in/*": FileFields("topic")}
    wanted = replace(fields("body"), files=files)
    rows = [row for row in read_rows(tmp_path, file_format(), wanted) if isinstance(row, Row)]
    assert {row.where.removesuffix(":2"): (row.text, row.label) for row in rows} == {
        "d.csv": ("two", "x"), "x.zip:a.csv": ("two", "x"), "x.zip:In/b.csv": ("x", None),
        "x.zip:c.txt:1": ("text", None),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"*.tsv": FileFields("body")}, ["'*.tsv'", "fields.files"]),
        ({"*.csv": FileFields("text")}, ["text", "fields.files.*.csv.text", "body, topic"]),
    ],
)
def test_a_pattern_that_fits_nothing_and_a_field_that_no_row_has(
    tmp_path: Path, files: dict[str, FileFields], told: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("body,topic\none,x\n")
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n')
    with refused(DataError, "unknown", *told):
        list(read_rows(tmp_path, file_format(), replace(fields(), files=files)))


@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
def test_a_text_that_unpacks_to_very_much_is_not_held(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_TEXT_BYTES", 1000)
    pack = gzip.compress if ending == "txt.gz" else bytes
    members = {f"{count}.{ending}": pack(b"x" * count) for count in (1000, 1001, 10**6)}
    rows = read("archive", zipped(members), "x.zip")
    assert [place for place, _ in good(rows)] == [f"1000.{ending}:1"]
    large = {place: values.num_bytes for place, values in rows if isinstance(values, Unreadable)}
    assert large == {f"1001.{ending}:1": 1001, f"1000000.{ending}:1": 10**6}
    assert {reason for _, reason in bad(rows)} == {"too_large"}


def test_members_of_another_format() -> None:
    chat = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'
    rows = read("archive", zipped({"a.jsonl": chat}), "x.zip", format="messages")
    [(place, values)] = good(rows)
    assert (place, values["question"], values["answer"]) == ("a.jsonl:1.1", "hi", "ho")


def test_what_unpacks_to_very_much_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_GIGABYTE", 1000)
    rows = read(
        "archive", zipped({"a.txt": b"x" * 900, "b.txt": b"y" * 10**6, "c.txt": b"z"}), "x.zip", max_gigabytes=1
    )
    assert [place for place, _ in good(rows)] == ["a.txt:1"]
    assert bad(rows) == [("* beyond max_gigabytes", "unsupported")]


def test_an_encrypted_member_is_not_called_damaged(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"x"}))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    assert bad(read("archive", bytes(data), "x.zip")) == [("a.txt:1", "unreadable_file")]
    (tmp_path / "x.zip").write_bytes(data)
    found = detect(tmp_path / "x.zip", PurePosixPath("x.zip"))
    assert "asks for a password; unpack it" in str(found.problem)


def test_a_damaged_member_costs_itself_and_a_damaged_archive_its_rest() -> None:
    members = {f"{number}.txt": bytes([65 + number]) * 5000 for number in range(5)}
    data = bytearray(zipped(members))
    data[data.index(b"2.txt") + 8] ^= 255
    rows = read("archive", bytes(data), "x.zip")
    assert [place for place, _ in good(rows)] == ["0.txt:1", "1.txt:1", "3.txt:1", "4.txt:1"]
    assert bad(rows) == [("2.txt:1", "unreadable_file")]
    assert bad(read("archive", bytes(data[:200]), "x.zip")) == [("+", "unreadable_file")]
    cut = tarred(members)[:8000]
    rows = read("archive", cut, "x.tar")
    assert [place for place, _ in good(rows)] == ["0.txt:1"]
    assert [reason for _, reason in bad(rows)][-1] == "unreadable_file"
