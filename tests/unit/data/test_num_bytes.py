"""Every byte is counted once: in a row, in a bad row, or in what was not read of a damaged file."""

from __future__ import annotations

import gzip
import json
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from langmill.data import readers
from langmill.data.readers import first_read, read_rows
from langmill.data.rows import BadRow, BadRowReason, Row, Unreadable
from tests.unit.data.folder_rows import COMPRESS, read, texts
from tests.unit.data.settings import fields, file_format

pytestmark = pytest.mark.unit


def noisy_lines(count: int) -> bytes:
    """Rows that hardly compress, so that a share of a file is about that share of its rows."""
    noise = random.Random(1)
    return "".join(json.dumps({"text": noise.randbytes(150).hex()}) + "\n" for _ in range(count)).encode()


def test_a_row_has_the_bytes_of_its_text_and_target() -> None:
    assert Row("a:1", "äb", None, "é", {"m": "ignored"}).num_bytes == 5
    assert Row("a:1", "\ud800", None, None, {}).num_bytes == 3


def test_bad_rows_have_the_bytes_of_their_lines(tmp_path: Path) -> None:
    lines = ["text,label", "short", "a,b,c", '"x" y,1', "x" * 5000]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    rows = [row for row in read(tmp_path) if isinstance(row, BadRow)]
    assert [row.num_bytes for row in rows] == [len(line) + (line != lines[-1]) for line in lines[1:]]
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.jsonl").write_text('{"no": "text"}\n["x"]\n{"text"\n{"text": "a"}\n')
    assert [row.num_bytes for row in read(tmp_path) if isinstance(row, BadRow)] == [14, 6, 8]


def test_what_stands_for_very_much_is_counted_in_little_time() -> None:
    """A few lines of YAML can stand for a list of a billion."""
    bomb: list[object] = ["x"]
    for _ in range(64):
        bomb = [bomb, bomb]
    assert Unreadable(BadRowReason.unexpected_shape, bomb).num_bytes < 1000


@pytest.mark.parametrize("ending", [".gz", ".xz"])
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_the_bytes_behind_a_damage_are_estimated(tmp_path: Path, ending: str, share: float) -> None:
    content = noisy_lines(4000)
    data = bytearray(COMPRESS[ending](content))
    place = int(share * len(data))
    data[place : place + 64] = bytes(64)
    (tmp_path / f"a.jsonl{ending}").write_bytes(data)
    rows = read(tmp_path)
    lost = rows[-1]
    assert isinstance(lost, BadRow)
    assert lost.reason == "unreadable_file"
    found = sum(row.num_bytes for row in rows[:-1])
    assert found + lost.num_bytes == pytest.approx(len(content), rel=0.3)


def test_a_gzip_file_cut_by_twenty_bytes(tmp_path: Path) -> None:
    content = noisy_lines(1000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content)[:-20])
    *good, last = read(tmp_path)
    assert isinstance(last, BadRow)
    assert len(good) >= 999
    lines = content.splitlines(keepends=True)
    assert 1 <= last.num_bytes <= len(lines[-1])


def test_all_of_a_damaged_file_without_rows_is_unread(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"x" * 500)
    (tmp_path / "b.txt.gz").write_bytes(b"no gzip at all" * 10)
    (tmp_path / "c.txt").write_text("good")
    lost = [row.num_bytes for row in read(tmp_path) if isinstance(row, BadRow)]
    assert lost == [504, 140]


def test_a_text_that_is_far_too_long_is_counted_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_TEXT_BYTES", 2**16)
    with (tmp_path / "a.txt").open("wb") as file:
        for _ in range(2**8):
            file.write(b"many words " * 12_000)
    size = (tmp_path / "a.txt").stat().st_size
    (tmp_path / "b.txt").write_text("short")
    told: dict[str, str] = {}
    tracemalloc.start()
    rows = list(read_rows(tmp_path, file_format(), fields(), max_characters=1000, wrong=told))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 30e6
    assert peak < 8e6
    assert [(row.where, row.num_bytes) for row in rows] == [("a.txt:1", size), ("b.txt:1", 5)]
    assert isinstance(rows[0], BadRow)
    assert rows[0].reason == "too_large"
    assert "max_characters" in told["a.txt"]
    assert "format: passages" in told["a.txt"]
    told.clear()
    rows = list(first_read(tmp_path, file_format(), fields(), 9, max_characters=1000, wrong=told))
    assert isinstance(rows[0], BadRow)
    assert "max_characters" in told["a.txt"]


def test_a_text_is_read_whole_where_cleaning_may_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_TEXT_BYTES", 10)
    (tmp_path / "a.txt").write_text("x" * 1000)
    [row] = read_rows(tmp_path, file_format(), fields(), max_characters=100)
    assert isinstance(row, Row)
    [row] = read_rows(tmp_path, file_format(), fields())
    assert isinstance(row, Row)


def test_files_of_any_name_are_read(tmp_path: Path) -> None:
    names = [b"bad\xe4.txt", b"with space.txt", "ünï.txt".encode(), b"new\nline.txt", b"#1 %20.txt"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_text(name.hex())
    assert sorted(texts(tmp_path).values()) == sorted(name.hex() for name in names)
    assert {"bad%E4.txt:1", "with space.txt:1", "ünï.txt:1"} <= set(texts(tmp_path))


def test_many_files_are_opened_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        (tmp_path / f"{number}.txt").write_text("a")
    opened: list[Path] = []
    real = Path.open

    def counted(path: Path, *args: object, **options: object) -> object:
        opened.append(path)
        return real(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counted)
    assert len(read(tmp_path)) == 500
    assert len(opened) == 500
