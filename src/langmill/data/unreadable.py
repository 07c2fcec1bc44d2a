"""Why a file gives no rows, or no text, in the words of somebody who can mend it."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.data.compression import COMPRESSIONS, DAMAGED, open_decompressed
from langmill.data.formats.base import Format
from langmill.data.rows import shown

_HEAD = 2**20  # bytes looked at, except of .json, which only makes sense whole
_UNPACK = "unpack it and give the files in it"
_EXPORT = "export it as .csv, .jsonl or .parquet"
_ONE_VALUE = "is one JSON value and not one a line; name it .json."
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the data", "run `git lfs pull` where it lies"),
    (b"PK\x03\x04", "a ZIP archive (or a document of an office program)", f"{_UNPACK}, or {_EXPORT}"),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"%PDF", "a PDF", "take the text out of it first"),
    (b"SQLite format 3\0", "an SQLite database", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "a document of an old office program", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"ARROW1", "an Arrow file", "write it as .parquet"),
    (b"\x93NUMPY", "a NumPy array", _EXPORT),
    (b"\x80\x04\x95", "a Python pickle, which could run code when it is opened", _EXPORT),
    (b"\x80\x05\x95", "a Python pickle, which could run code when it is opened", _EXPORT),
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (b"\x1f\x8b", "compressed by gzip", "name it so that it ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "name it so that it ends in .zst"),
    (b"\xfd7zXZ\0", "compressed by xz", "name it so that it ends in .xz"),
    (b"BZh", "compressed by bzip2", "name it so that it ends in .bz2"),
)
"""First bytes, what such a file is, and what to do with it."""
_COMPRESSED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".xz": b"\xfd7zXZ\0", ".bz2": b"BZh"}
_MARKS = (  # the longer marks first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def nothing_readable(path: Path, file_format: Format) -> str:
    """What to say of a path at which no file has an ending that the format reads; goes on after the path."""
    found = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    endings = Counter(each.suffix.lower() or "none" for each in found)
    there = ", ".join(f"{ending} ({count})" for ending, count in endings.most_common(5))
    what = (
        f"it has {'the ending ' if path.is_file() else 'files with the endings '}{shown(there)}"
        if found
        else "it is empty"
    )
    return f"holds no file that can be read; readable are {file_format.endings()}, and {what}."


def foreign(path: Path, file_format: Format) -> str | None:
    """What a file is that is not what its ending says, and what to do; None if it may be. Goes on after the path."""
    try:
        with path.open("rb") as file:
            outside = file.read(16)
        wanted = _COMPRESSED.get(path.suffix.lower())
        if not outside:
            return "is empty; bring it again."
        if wanted is not None and not outside.startswith(wanted):
            return f"is not compressed as its ending {path.suffix} says; take that off its name, or bring it again."
        return _foreign_content(_head(path, _HEAD), file_format.ending(path))
    except PermissionError:
        return "can't be opened for want of permission; check its owner and mode."
    except DAMAGED as error:
        return f"is damaged ({shown(str(error)) or type(error).__name__}); bring it again."


def _foreign_content(head: bytes, ending: str | None) -> str | None:
    if ending == ".parquet" and head.startswith(b"PAR1"):
        return None
    for beginning, what, remedy in _KINDS:
        if head.startswith(beginning):
            return f"is {what}; {remedy}."
    if ending == ".parquet":
        return "is not a Parquet file, though its name says so; bring it again."
    if coding := _coding(head):
        return f"is {coding}; save it as UTF-8 (`iconv -f {coding} -t UTF-8`)."
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:200].lower()
    for found, sentence in (
        (b"\0" in head[:4096], "holds zero bytes, so it is no text; export it as text."),
        (not start, "holds nothing but white space; bring it again."),
        (
            ending != ".txt" and start.startswith((b"<!doctype html", b"<html")),
            "is a web page, as a download that failed leaves it; bring the data themselves.",
        ),
        (ending != ".txt" and start.startswith(b"<?xml"), f"is an XML file; {_EXPORT}."),
        (ending == ".jsonl" and re.match(rb"\[\s*\n", start), _ONE_VALUE),
    ):
        if found:
            return sentence
    return _not_utf8(head) if ending == ".txt" else None


def _coding(head: bytes) -> str | None:
    """The Unicode form other than UTF-8 that a text is in: by its mark, or by every other byte being zero."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    beginning = head[:4096]
    even, odd = (beginning[start::2].count(0) for start in (0, 1))
    if max(even, odd) > len(beginning) / 5 and min(even, odd) < len(beginning) / 50:
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return None


def why_no_rows(path: Path, file_format: Format) -> str:
    """Why none of a file's rows can be read, and what to do. Goes on after the path."""
    ending = file_format.ending(path)
    try:
        data = _head(path, None if ending in (".json", ".parquet") else _HEAD)
    except DAMAGED as error:
        return f"is damaged ({shown(str(error)) or type(error).__name__}); bring it again."
    if ending == ".parquet":
        return _parquet_problem(data)
    if problem := _not_utf8(data):
        return problem
    text = data.decode("utf-8-sig", "replace")
    if ending == ".json":
        return _json_problem(text)
    return _lines_problem(text) if ending == ".jsonl" else _table_problem(text, "\t" if ending == ".tsv" else ",")


def why_no_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Why no field of rows holds text, and what to do. Goes on after the path."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return "has rows without any fields; give each row a field with its text."
    kinds = {name: {type(row.get(name)) for row in rows if row.get(name) not in (None, "")} for name in names}
    known = ", ".join(shown(name)[:40] for name in names[:20])
    nested = [name for name, found in kinds.items() if found & {list, dict}]
    if nested:
        return (
            f"has no field with text in its first rows; {shown(nested[0])} holds lists or objects: conversations are "
            "read by the format `messages`, other nested data must be laid out flat first."
        )
    if not any(kinds.values()):
        return f"has only empty fields in its first rows; known are {known}."
    if any(bytes in found for found in kinds.values()):
        return f"has no field with text in its first rows, only bytes; write them as text. Known are {known}."
    return f"has no field with text in its first rows, only numbers; known are {known}."


def separator_problem(names: Sequence[str], ending: str | None) -> str | None:
    """What to say of a table whose one column is several, separated by something else; goes on after the path."""
    if ending in (".csv", ".tsv") and len(names) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
            if separator in names[0]:
                ending_of = {"\t": "; name it .tsv.", ",": "; name it .csv."}
                wanted = "tabs" if ending == ".tsv" else "commas"
                return f"is separated by {name}, not by {wanted}" + ending_of.get(
                    separator, f"; save it with {wanted}."
                )
    return None


def _head(path: Path, limit: int | None) -> bytes:
    compression = path.suffix.lower()
    with path.open("rb") as raw, open_decompressed(raw, compression if compression in COMPRESSIONS else "") as file:
        return file.read() if limit is None else file.read(limit)


def _parquet_problem(data: bytes) -> str:
    try:
        rows = pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return f"is damaged ({shown(str(error).splitlines()[0]).rstrip('.')}); bring it again."
    return "is damaged; bring it again." if rows else "has columns and no rows; bring it again."


def _not_utf8(data: bytes) -> str | None:
    decoder = codecs.getincrementaldecoder("utf-8")()  # the last character may be cut in two
    try:
        decoder.decode(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        return (
            f"is not UTF-8 (the byte {byte:#04x} in line {line}), but probably Latin-1 or Windows-1252; save it as "
            "UTF-8 (`iconv -f WINDOWS-1252 -t UTF-8`)."
        )
    return None


def _json_problem(text: str) -> str:
    try:
        value = json.loads(text)
    except RecursionError:
        return "is nested too deeply to be rows; write an array of objects."
    except ValueError as error:
        return _json_error(text, error)
    if isinstance(value, list):
        return _no_objects(value) if value else "is an empty array; bring it again."
    inside = [name for name, item in value.items() if isinstance(item, list)] if isinstance(value, dict) else []
    rows = f", whose rows may be the list {shown(inside[0])!r}; write that list alone" if inside else "; write it"
    kind = "object" if isinstance(value, dict) else "plain value"
    return f"is one {kind} and not an array of objects{rows} as an array, or one object a line (.jsonl)."


def _json_error(text: str, error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return f"is not JSON ({error}); write such a number as a text."
    at = f"line {error.lineno}"
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    closing = before.endswith(",") and after[:1] in ("]", "}")
    for found, sentence in (
        (
            error.msg == "Extra data" and after[:1] in ("{", "["),
            "holds several JSON values, one after the other, which is JSON lines; name it .jsonl.",
        ),
        (
            closing or "trailing comma" in error.msg,  # Python 3.13 says so
            f"has a comma in {at} before a closing bracket, which JSON does not allow; take it out.",
        ),
        (
            re.match(r"\s*[\[{][\[{\s]*'", text),
            f"has single quotation marks in {at}, as Python writes them; JSON wants double ones.",
        ),
        (re.match(r"//|/\*|#", after), f"has a comment in {at}, which JSON does not allow; take it out."),
        (not after, f"ends in {at} in the middle of a value; bring it again."),
    ):
        if found:
            return sentence
    return f"is not JSON ({error.msg} in {at}, column {error.colno}); mend it there."


def _no_objects(values: Sequence[object]) -> str:
    kinds = {list: "arrays", str: "texts", int: "numbers", float: "numbers", type(None): "null", bool: "truth values"}
    found = next((kinds.get(type(value)) for value in values if not isinstance(value, dict)), None)
    return f'has rows that are {found or "nothing"} and not objects, so no field has a name; write {{"text": ...}}.'


def _lines_problem(text: str) -> str:
    if "\r" in text and "\n" not in text:
        return "has line ends of the old Macintosh (CR alone); save it with LF."
    lines = [line for line in text.split("\n") if line.strip()]
    with contextlib.suppress(ValueError, RecursionError):
        whole = json.loads(text)
        if len(lines) > 1 or (isinstance(whole, list) and any(isinstance(item, dict) for item in whole)):
            return _ONE_VALUE
    try:
        return _no_objects([json.loads(lines[0])])
    except RecursionError:
        return "is nested too deeply to be rows; write one object a line."
    except ValueError as error:
        if lines[0].rstrip().endswith("},"):
            return "has a comma behind each object; JSON lines have none, so take them out."
        return _json_error(lines[0], error)


def _table_problem(text: str, separator: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    problem = separator_problem([lines[0]], ".tsv" if separator == "\t" else ".csv")
    if problem and separator not in lines[0]:
        return problem
    if len(lines) == 1:
        return "has a header and no row below it; bring it again."
    if text.count('"') % 2:
        number = next(index for index, line in enumerate(text.splitlines(), start=1) if line.count('"') % 2)
        return (
            f'has a quotation mark in line {number} that is never closed; close it, or write "" for each that is meant.'
        )
    header, first = (line.count(separator) + 1 for line in lines[:2])
    return (
        f"has {header} names in its header and about {first} cells in the rows, so none fits; give every row as many "
        "cells as the header has, and put those with the separator in them into quotation marks."
    )
