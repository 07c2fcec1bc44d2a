"""Rows of a folder, and small files in every format, for tests of reading."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from langmill.config.sections import Fields
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row
from tests.unit.data.settings import fields, file_format


def read(folder: Path, wanted: Fields | None = None) -> list[Row | BadRow]:
    return list(read_rows(folder, file_format(), wanted or fields()))


def bad(folder: Path, wanted: Fields | None = None) -> list[tuple[str, str]]:
    return [(row.where, row.reason.value) for row in read(folder, wanted) if isinstance(row, BadRow)]


def texts(folder: Path, wanted: Fields | None = None) -> dict[str, str]:
    return {row.where: row.text for row in read(folder, wanted) if isinstance(row, Row)}


def parquet(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


CONTENT: dict[str, bytes] = {
    "a.txt": "Tränen\nlügen nicht".encode(),
    "a.json": '[{"text": "Tränen\\nlügen nicht", "n": 1}, {"text": "zwei"}]'.encode(),
    "a.jsonl": '{"text": "Tränen\\nlügen nicht", "n": 1}\n\n{"text": "zwei"}\n'.encode(),
    "a.csv": 'n,text\n1,"Tränen\nlügen nicht"\n\n2,zwei\n'.encode(),
    "a.tsv": "n\ttext\n1\tTränen, viele\n".encode(),
    "a.parquet": parquet(text=["Tränen\nlügen nicht", "zwei"], n=[1, 2]),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
