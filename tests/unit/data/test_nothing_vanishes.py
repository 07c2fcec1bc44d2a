"""What comes in is kept, dropped for a reason or quarantined, in rows and in bytes, whatever a person's files hold."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from langmill.config.sections import FileFields
from langmill.data.corpus import make_corpus
from langmill.data.document import QUARANTINE_NAME, Split, documents_path, read_documents
from langmill.data.readers import read_rows
from langmill.data.report import Report
from langmill.data.rows import BadRow, Row
from langmill.errors import DataError
from tests.unit.data.folder_rows import COMPRESS, parquet
from tests.unit.data.settings import fields, file_format, settings

pytestmark = pytest.mark.unit
pytest.importorskip("warcio")
TEXTS = [f"The letter {number} of many, {number * number} words long" for number in range(30)]
TWO_LANGUAGES = '<tu><tuv xml:lang="en"><seg>{0}</seg></tuv><tuv xml:lang="de"><seg>D {0}</seg></tuv></tu>'


def lines(texts: Iterable[str] = TEXTS) -> bytes:
    return "".join(f"{json.dumps({'text': text}, ensure_ascii=False)}\n" for text in texts).encode()


def table(delimiter: str = ",", end: str = "\n", texts: Iterable[str] = TEXTS) -> str:
    return end.join([f"text{delimiter}label", *(f'"{text}"{delimiter}1' for text in texts), ""])


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def crawl(texts: Iterable[str] = TEXTS) -> bytes:
    """The plain texts of a crawl (WET)."""
    head = "WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: "
    return "".join(f"{head}{len(text.encode())}\r\n\r\n{text}\r\n\r\n" for text in texts).encode()


def memory(texts: Iterable[str] = TEXTS) -> bytes:
    units = "".join(TWO_LANGUAGES.format(text) for text in texts)
    return f'<tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>'.encode()


def test_an_archive_that_is_cut_is_one_damaged_file(tmp_path: Path) -> None:
    """It has two such rows: of the member that is cut, and of the archive."""
    (tmp_path / "a.tar").write_bytes(tarred({f"{each}.jsonl": lines() for each in "xy"})[:3000])
    (tmp_path / "b.jsonl").write_bytes(lines())
    report = Report("x")
    for row in read_rows(tmp_path, file_format("auto"), fields()):
        report.count_row(row)
    assert report.quarantined["unreadable_file"] == 2
    assert report.as_json()["damaged_files"] == ["a.tar"]


BAD_LINES = (
    rb"""{'text': 1}

[1]
{}
{"text": "a", "text": "b"}
{"text": 3}
{"text": "%b"}
"""
    % b"\xff"
)
ALL = len(TEXTS)
CASES: dict[str, tuple[dict[str, bytes], int, dict[str, int], dict[str, int]]] = {
    # files; documents; dropped; quarantined
    "a German CSV of Excel's": (
        {"a.csv": b"\xef\xbb\xbf" + table(";", "\r\n", (f"Grüße; {text}" for text in TEXTS)).encode()}, ALL, {}, {},
    ),
    "UTF-16 and cp1252": (
        {
            "a.tsv": table("\t").replace('"', "").encode("utf-16"),
            "b.csv": table(",", "\n", (f"{text}, süß" for text in TEXTS)).encode("cp1252"),
        }, 2 * ALL, {}, {},
    ),
    "a .csv of tabs, lone CR": ({"a.csv": table("\t", "\r").encode()}, ALL, {}, {}),
    "bad lines of JSON": (
        {"a.jsonl": lines([*TEXTS, "Grüße"]) + BAD_LINES},
        ALL + 1, {},
        {"corrupt": 1, "not_an_object": 1, "missing_text": 1, "repeated_name": 1, "wrong_type": 1, "undecodable": 1},
    ),
    "one line of JSON that ends early": (
        {"a.json": json.dumps([{"text": text} for text in TEXTS]).encode()[:-20]}, ALL - 1, {}, {"corrupt": 1},
    ),
    "rows of other lengths": (
        {"a.csv": (table() + "one, two, three\nalone\n" + '"open,1\n').encode()}, ALL, {}, {"ragged": 2, "corrupt": 1},
    ),
    "nothing to see": (
        {"a.jsonl": lines([*TEXTS, "\u3164" * 12, "\u2800" * 12, "\u200e" * 12, " \n", ""])}, ALL, {"empty": 5}, {},
    ),
    "the same again": ({"a.jsonl": lines(), "b.txt": TEXTS[0].encode()}, ALL, {"duplicate": 1}, {}),
    "all alike": ({"a.jsonl": lines(TEXTS[:1] * 121)}, 1, {"duplicate": 120}, {}),
    "too long": ({"a.jsonl": lines([*TEXTS, "</<script>" * 16_000])}, ALL, {"too_long": 1}, {}),
    "a gzip file cut by 20 bytes": (
        {"a.jsonl.gz": gzip.compress(lines(), 0)[:-20]}, ALL - 1, {}, {"unreadable_file": 1},
    ),
    "a Parquet file without its end": (
        {"a.parquet": parquet(text=[*TEXTS])[:-9], "b.parquet": parquet(text=[*TEXTS])},
        ALL, {}, {"unreadable_file": 1},
    ),
    "an archive of all sorts": (
        {"a.zip": zipped(
            {"a.jsonl": lines(), "b.csv": b"text\nof a table\n", "c.txt": b"a text", "d.png": b"x", ".e": b"x"}
        )},
        ALL + 2, {}, {"unsupported": 2},
    ),
    "a text that is none": ({"a.txt": b"\xff\xfe\xfd" * 9, "b.jsonl": lines()}, ALL, {}, {"undecodable": 1}),
    "names of any bytes": ({"with space/a\nb.txt": b"one text", "b.jsonl": lines()}, ALL + 1, {}, {}),
    "five kinds at once": (
        {"a.csv": table(";").encode(), "b.jsonl": lines(f"B {text}" for text in TEXTS), "c/d.txt": b"a text",
         "e.tar": tarred({"f.md": b"# Mark"}), "g.wet": crawl(f"W {text}" for text in TEXTS), "README.md": b"no"},
        3 * ALL + 2, {}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_in_is_kept_and_dropped_and_quarantined(tmp_path: Path, name: str) -> None:
    files, kept, dropped, quarantined = CASES[name]
    for file, data in files.items():
        (tmp_path / "raw" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / file).write_bytes(data)
    out, report = tmp_path / "out", Report("tiny")
    out.mkdir()
    whole = settings(near={}, split={"validation": 0.3, "test": 0.3})
    with contextlib.suppress(DataError):  # of a split that gets none
        make_corpus(tmp_path / "raw", out, whole, lambda _: None, report)
    told = report.as_json()
    written = [one for split in Split for one in read_documents(documents_path(out, split))]
    assert (len(written), told["dropped"], told["quarantined"]) == (kept, dropped, quarantined)
    assert told["rows"] == kept + sum(dropped.values()) + sum(quarantined.values())
    parts = told["bytes"]
    assert parts["kept"] == sum(len((one.text + (one.target or "")).encode()) for one in written)
    assert parts["read"] == (
        parts["kept"] + parts["removed_by_cleaning"] + sum(parts["dropped"].values()) + parts["quarantined"]
    )
    assert set(parts["quarantined_by_reason"]) == set(quarantined)
    assert all(parts["quarantined_by_reason"][reason] for reason in quarantined)
    assert told["undecided"] == {"rows": 0, "bytes": 0}
    assert (out / QUARANTINE_NAME).is_file()


CUT: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lines,
    "a.json": lambda: json.dumps([{"text": text} for text in TEXTS]).encode(),
    "a.csv": lambda: table().encode(),
    "a.tmx": memory,
    "a.wet": crawl,
    "a.zip": lambda: zipped({f"{number}.txt": text.encode() for number, text in enumerate(TEXTS)}),
    "a.tar": lambda: tarred({f"{number}.txt": text.encode() for number, text in enumerate(TEXTS)}),
    "a.parquet": lambda: parquet(text=[*TEXTS]),
    **{f"a.json{ending}": (lambda pack=pack: pack(CUT["a.json"]())) for ending, pack in COMPRESS.items() if ending},
    **{f"a.tmx{ending}": (lambda pack=pack: pack(memory())) for ending, pack in COMPRESS.items() if ending},
    **{f"a.wet{ending}": (lambda pack=pack: pack(crawl())) for ending, pack in COMPRESS.items() if ending},
    **{f"a.tar{ending}": (lambda pack=pack: pack(CUT["a.tar"]())) for ending, pack in COMPRESS.items() if ending},
}


def read_cut(folder: Path, name: str, data: bytes) -> tuple[list[Row], list[BadRow]]:
    (folder / name).write_bytes(data)
    files = {"*.tmx*": FileFields("source")} if ".tmx" in name else {}
    rows = []
    with contextlib.suppress(DataError):  # no row, so that no pattern fits one
        for row in read_rows(folder, file_format(), replace(fields(), files=files)):
            rows.append(row)
    return [row for row in rows if isinstance(row, Row)], [row for row in rows if isinstance(row, BadRow)]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("name", CUT)
def test_a_file_that_ends_early_says_so(tmp_path: Path, name: str, share: float) -> None:
    """Crawls and tar archives that ended early, and all of a crawl in a damaged .gz, were taken for whole ones."""
    whole = CUT[name]()
    good, none = read_cut(tmp_path, name, whole)
    assert ([row.text for row in good], none) == (TEXTS, [])
    good, lost = read_cut(tmp_path, name, whole[: int(share * len(whole))])
    assert [row.text for row in good] == TEXTS[: len(good)]
    if len(good) < ALL:
        assert lost and all(row.num_bytes > 0 for row in lost)


@pytest.mark.parametrize("name", ["a.wet", "a.tar", "a.tmx"])
def test_a_file_cut_at_any_place_gives_its_whole_rows(tmp_path: Path, name: str) -> None:
    """Where it ends between two rows of a crawl nobody can tell; everywhere else it is told."""
    make: dict[str, Callable[[], bytes]] = {
        "a.wet": lambda: crawl(TEXTS[:2]),
        "a.tmx": lambda: memory(TEXTS[:2]),
        "a.tar": lambda: tarred({"a.txt": TEXTS[0].encode(), "b.txt": TEXTS[1].encode()}),
    }
    whole = make[name]()
    silent = set[int]()
    for size in range(1, len(whole), max(7, len(whole) // 150)):
        good, lost = read_cut(tmp_path, name, whole[:size])
        assert [row.text for row in good] == TEXTS[: len(good)]
        if len(good) < 2 and not lost:
            silent.add(size)
    first = len(crawl(TEXTS[:1]))
    assert all(first - 4 <= size <= first for size in silent) if name == "a.wet" else not silent


def test_a_damaged_header_is_not_the_end_of_an_archive(tmp_path: Path) -> None:
    data = bytearray(CUT["a.tar"]())
    data[8 * 1024 : 8 * 1024 + 512] = b"x" * 512
    good, lost = read_cut(tmp_path, "a.tar", bytes(data))
    assert [row.text for row in good] == TEXTS[:8]
    assert [str(row.reason) for row in lost] == ["unreadable_file"]


def test_all_of_a_zip_archive_without_its_list_is_lost(tmp_path: Path) -> None:
    data = CUT["a.zip"]()[:-30]
    assert [row.num_bytes for row in read_cut(tmp_path, "a.zip", data)[1]] == [len(data)]
