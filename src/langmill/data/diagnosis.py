"""Why a data file is not read as it was meant to be, in the words of somebody who can mend it."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.data.compression import COMPRESSIONS, DAMAGED, open_decompressed
from langmill.data.formats.auto import RepeatedNameError, repeated, unique
from langmill.data.formats.base import lines_of
from langmill.data.rows import portable, shown

_HEAD = 2**16  # bytes that show a file's kind
_SCANNED = 2**24  # bytes that are looked through for the first thing that is wrong
_BINARY_SHARE = 0.1  # of control characters: text has hardly any
_LOOKED_INTO = 5  # files that can't be read, of a folder without any that can

_KINDS = {
    b"version https://git-lfs": "a Git LFS pointer and not the data; run `git lfs pull` and try again",
    b"PK\x03\x04": "a zip archive; unpack it and name a file or the folder",
    b"Rar!\x1a": "a RAR archive; unpack it and name a file or the folder",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and name a file or the folder",
    b"%PDF-": "a PDF; take its text out and save that as .txt in UTF-8",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or document of old Microsoft Office; save it as CSV in UTF-8",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV or JSON lines",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; save the table as Parquet or CSV",
    b"\x93NUMPY": "a NumPy array; save the rows as Parquet or CSV",
    b"\x80\x04\x95": "a Python pickle, which could run code when it is opened; save the rows as JSON lines",
    b"\x80\x05\x95": "a Python pickle, which could run code when it is opened; save the rows as JSON lines",
    b"ARROW1": "an Arrow file; save the table as Parquet",
    b"FEA1": "a Feather file; save the table as Parquet",
    b"Obj\x01": "an Avro file; save the table as Parquet or JSON lines",
    b"ORC": "an ORC file; save the table as Parquet or JSON lines",
}
"""What a file is by its first bytes, and what to do with it."""
_ZIP = b"PK\x03\x04"
_ZIPPED_KINDS = {
    "xl/": "an Excel workbook; save the sheet as CSV in UTF-8",
    "word/": "a Word document; save its text as .txt in UTF-8",
    "content.xml": "an OpenDocument file; save a sheet as CSV, or a text as .txt, in UTF-8",
}
_PARQUET = b"PAR1"
_COMPRESSED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_UTF_MARKS = {  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_PAGE_STARTS = ("<!doctype html", "<html", "<head", "<body")
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_TABLES = {".csv": ",", ".tsv": "\t"}


def diagnose(path: Path, *, rows: bool = True) -> str | None:
    """What is wrong with a data file and what to do about it, in one sentence; None if nothing is found.

    By its ending a file is taken for what the format `auto` reads; of any other one only its kind and its encoding are
    judged. Of a long file the first 16 MiB are looked through; a .json one is read whole, as by its format.

    Args:
        path: The file; one that is not there or may not be read gives a sentence too.
        rows: Whether its rows are looked at. Without, it is only asked whether the file is what its name says: what is
            wrong then is wrong even if rows can be read of it.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    ending = suffixes[-1] if suffixes else ""
    try:
        with path.open("rb") as file:
            said = _compression(path, file.read(_HEAD), compression)
            if said is None:
                file.seek(0)
                content = open_decompressed(file, compression)
                data = content.read((-1 if ending == ".json" else _SCANNED) if rows else _HEAD)
                said = _content(path, data, compression, ending, whole=not content.read(1), rows=rows)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            return f"The file can't be opened ({error.strerror or error}); check its path, owner and mode."
        return _damaged(error)
    return said and shown(said)


def nothing_readable(path: Path, readable: str) -> str:
    """What to say of a file, or of a folder of files, that the format does not read; goes on after the path.

    Args:
        path: What was given.
        readable: The endings that the format reads, for the message.
    """
    found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    endings = Counter(each.suffix.lower() or "none" for each in found)
    there = ", ".join(f"{portable(ending)} ({count})" for ending, count in endings.most_common(5))
    if path.is_file():
        said = f"can't be read; readable are {readable}, and its ending is {portable(path.suffix) or 'none'}."
    else:
        what = f"it has files with the endings {there}" if found else "it is empty"
        said = f"holds no file that can be read; readable are {readable}, and {what}."
    causes = (f" {portable(file.as_posix())}: {cause}" for file in found[:_LOOKED_INTO] if (cause := diagnose(file)))
    return said + next(causes, "")


def why_no_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Why no field of a file's first rows holds text, and what to do."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return "The file has rows without any fields; give each row a field with its text."
    kinds = {name: {type(row.get(name)) for row in rows if row.get(name) not in (None, "")} for name in names}
    known = ", ".join(shown(name)[:40] for name in names[:20])
    nested = [name for name, found in kinds.items() if found & {list, dict}]
    if nested:
        return (
            f"The file has no field with text in its first rows; {shown(nested[0])} holds lists or objects: "
            "conversations are read by the format `messages`, other nested data must be laid out flat first."
        )
    if not any(kinds.values()):
        return f"The file has only empty fields in its first rows; known are {known}."
    if any(bytes in found for found in kinds.values()):
        return f"The file has no field with text in its first rows, only bytes; write them as text. Known are {known}."
    return f"The file has no field with text in its first rows, only numbers; known are {known}."


# The kind of file ----------------------------------------------------------------------------------------------------


def _compression(path: Path, head: bytes, compression: str) -> str | None:
    """What is wrong with a file before it is decompressed."""
    if not head:
        return "The file is empty; get it again, or leave it out."
    found = _compressed_as(head)
    if found == compression:
        return None
    if not found:
        said = f"The file is not compressed as its name says; get it again, or take {compression} off its name."
        return _kind(path, head) or said
    name = path.name.removesuffix(path.suffix) if compression else path.name
    return f"The file is compressed, which its name does not say; rename it to {name}{found}."


def _compressed_as(head: bytes) -> str:
    return next((suffix for magic, suffix in _COMPRESSED.items() if head.startswith(magic)), "")


def _content(path: Path, data: bytes, compression: str, ending: str, *, whole: bool, rows: bool) -> str | None:
    """What is wrong with a file's decompressed content."""
    head = data[:_HEAD]
    if not data:
        return "The file is empty once it is decompressed; get it again."
    if compression and _compressed_as(head):
        return "The file is compressed twice over; unpack it once."
    if said := _kind(None if compression else path, head) or _misnamed_parquet(path, head, compression, ending):
        return said
    if ending == ".parquet":
        return _parquet(path, compression) if rows else None
    text = data.decode("utf-8-sig", "ignore")
    said = _encoding(data) or (None if ending == ".txt" else _page(text)) or _form(text, ending)
    return said or (_bad_byte(data, whole=whole) or _rows(data, text, ending, whole=whole) if rows else None)


def _kind(path: Path | None, head: bytes) -> str | None:
    """What a file is, if it is of a kind that no format reads; a zip archive with a path is looked into."""
    if path is not None and head.startswith(_ZIP):
        return f"The file is {_zipped(path)}."
    found = next((words for magic, words in _KINDS.items() if _begins(head, magic)), None)
    return found and f"The file is {found}."


def _begins(head: bytes, magic: bytes) -> bool:
    """Whether a file begins so; letters alone could be a text's, so that a NUL must follow them."""
    return head.startswith(magic) and (not magic.isalnum() or b"\0" in head)


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive; get it again and unpack it"
    kinds = (words for start, words in _ZIPPED_KINDS.items() if any(name.startswith(start) for name in names))
    return next(kinds, _KINDS[_ZIP])


def _misnamed_parquet(path: Path, head: bytes, compression: str, ending: str) -> str | None:
    if _begins(head, _PARQUET) and ending != ".parquet":
        bare = path.with_suffix("") if compression else path
        name = bare.with_suffix(".parquet").name + (path.suffix if compression else "")
        return f"The file is a Parquet file; rename it to {name}."
    if not head.startswith(_PARQUET) and ending == ".parquet":
        return "The file is no Parquet file, whatever its name says; get it again, or rename it to what it is."
    return None


def _parquet(path: Path, compression: str) -> str | None:
    try:
        with path.open("rb") as file, open_decompressed(file, compression) as content:
            table = pq.ParquetFile(io.BytesIO(content.read()) if compression else file)
    except pa.ArrowException as error:
        return _damaged(error)
    if name := repeated(table.schema_arrow.names):
        return _repeated_column(name)
    return None if table.metadata.num_rows else "The file has columns and no rows; get it again, or leave it out."


def _damaged(error: Exception) -> str:
    told = str(error).strip().partition("\n")[0].rstrip(".")
    return shown(f"The file is damaged or cut short ({told or type(error).__name__}); get it again.")


# The encoding --------------------------------------------------------------------------------------------------------


def _encoding(data: bytes) -> str | None:
    """What else it is than text that is UTF-8 but for single bytes."""
    head = data[:_HEAD]
    encoding = next((name for mark, name in _UTF_MARKS.items() if head.startswith(mark)), None) or _unmarked_utf(head)
    if encoding:
        return f"The file is encoded in {encoding}; convert it to UTF-8 with `iconv -f {encoding} -t UTF-8`."
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r\x0b\x0c\x1b")
    if controls > _BINARY_SHARE * len(head):
        return "The file is binary and not text; name the file that holds the texts."
    if (place := data.find(0)) >= 0:
        line = data.count(b"\n", 0, place) + 1
        return f"The file has NUL bytes, the first in line {line:,}; take them out, for example with `tr -d '\\000'`."
    return None


def _unmarked_utf(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by the NULs that are the upper bytes of Latin letters, blanks and line ends."""
    quarter = len(head) // 4
    if quarter < 2:
        return None
    nuls = [head[offset::4].count(0) / quarter for offset in range(4)]
    if sum(share > 0.8 for share in nuls) == 3:
        return "UTF-32LE" if nuls[0] <= 0.8 else "UTF-32BE"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    if max(even, odd) > 0.8 and min(even, odd) < 0.08:
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return None


def _bad_byte(data: bytes, *, whole: bool) -> str | None:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return (
            f"The file is not in UTF-8: line {line:,} has the byte 0x{data[error.start]:02x}, so it is most likely "
            "Latin-1 or Windows-1252; convert it with `iconv -f WINDOWS-1252 -t UTF-8`."
        )
    return None


# The form of the rows ------------------------------------------------------------------------------------------------


def _page(text: str) -> str | None:
    start = text[:_HEAD].lstrip().lower()
    if start.startswith(_PAGE_STARTS):
        return "The file is a web page, as a server sends it in place of the data; download the data itself."
    return "The file is XML, which is not read; convert it to JSON lines or CSV." if start.startswith("<?xml") else None


def _form(text: str, ending: str) -> str | None:
    """What other rows it has than its ending says."""
    if not text.strip():
        return "The file holds white space only; get it again, or leave it out."
    if ending == ".jsonl" and re.match(r"\s*\[\s*\{", text):
        return "The file is one JSON array, but .jsonl wants an object a line; rename it to .json."
    return _other_delimiter(text, _TABLES[ending]) if ending in _TABLES else None


def _other_delimiter(text: str, delimiter: str) -> str | None:
    header = next(_records(text, delimiter))
    line = header[0].partition("\n")[0]  # more of it only where a quotation mark is open
    other = max((sign for sign in _DELIMITERS if sign != delimiter), key=line.count)
    if len(header) != 1 or other not in line:
        return None
    remedy = next((f"rename it to {ending}" for ending, sign in _TABLES.items() if sign == other), None)
    remedy = remedy or f"save it with {_DELIMITERS[delimiter]}"
    return f"The file's columns are separated by {_DELIMITERS[other]}, not {_DELIMITERS[delimiter]}; {remedy}."


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    """The records of a table that are not empty; only .csv has quotation marks."""
    csv.field_size_limit(sys.maxsize)
    lines: IO[str] = io.StringIO(text, newline="")
    if delimiter == ",":
        return filter(None, csv.reader(lines))
    return filter(None, csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))


# The rows ------------------------------------------------------------------------------------------------------------


def _rows(data: bytes, text: str, ending: str, *, whole: bool) -> str | None:
    if ending == ".jsonl":
        return _json_lines(data, whole=whole)
    if ending == ".json":
        return _json(text)
    return _table(text, _TABLES[ending], whole=whole) if ending in _TABLES else None


class _FaultError(Exception):
    """What is wrong with JSON text, to follow the words "The file" or "Line 3".

    Attributes:
        line: The line of the text, if one is at fault.
    """

    def __init__(self, words: str, line: int | None = None) -> None:
        super().__init__(words)
        self.line = line


class _SeveralError(_FaultError):
    """It is one object after another."""


def _json_lines(data: bytes, *, whole: bool) -> str | None:
    lines = list(lines_of(io.BytesIO(data)))
    if not whole:
        lines.pop()  # it may end in the middle of this one
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    for number, line in enumerate(lines, start=1):
        if line.strip() in (b"{", b"["):
            return "The file's objects stand on several lines each; .jsonl wants an object a line."
        try:
            value = _loaded(line.decode("utf-8-sig"), cut_short=number == last > 1) if line.strip() else {}
        except _FaultError as fault:
            return f"Line {number:,} {fault}."
        if not isinstance(value, dict):
            return f"Line {number:,} is {_named(value)} {_NO_OBJECT}."
    return None


def _json(text: str) -> str | None:
    try:
        value = _loaded(text, cut_short=True)
    except _SeveralError:
        return "The file has one JSON object after another, which are JSON lines; rename it to .jsonl."
    except _FaultError as fault:
        return f"{f'Line {fault.line:,}' if fault.line else 'The file'} {fault}."
    if isinstance(value, list):
        if not value:
            return "The file is an empty array; get it again, or leave it out."
        found = ((number, item) for number, item in enumerate(value, start=1) if not isinstance(item, dict))
        return next((f"Row {number:,} is {_named(item)} {_NO_OBJECT}." for number, item in found), None)
    inside = [name for name, item in value.items() if isinstance(item, list)] if isinstance(value, dict) else []
    rows = f", whose rows may be the list {inside[0]!r}; write that list alone" if inside else "; write it as an array"
    return f"The file is {_named(value)} and not an array of objects{rows}, or one object a line (.jsonl)."


_NO_OBJECT = 'and not an object, so no field has a name; write {"text": ...}'
_JSON_NAMES = {
    dict: "one object",
    list: "an array",
    str: "a text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _named(value: object) -> str:
    return _JSON_NAMES[type(value)]


def _loaded(text: str, *, cut_short: bool) -> object:
    """What JSON text stands for.

    Args:
        text: The text.
        cut_short: Whether it could go on, were the file whole.

    Raises:
        _FaultError: It stands for nothing.
    """
    try:
        return json.loads(text, object_pairs_hook=unique)
    except RepeatedNameError as error:
        raise _FaultError(f"has the key {str(error)!r} twice in one object; rename or remove one") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[error.pos :].startswith("{"):
            raise _SeveralError("has several objects; put each on a line of its own") from error
        raise _FaultError(_json_fault(error, cut_short=cut_short), error.lineno) from error
    except RecursionError as error:
        raise _FaultError("is nested too deeply to be rows; lay it out flat") from error
    except ValueError as error:  # of a number
        raise _FaultError(f"can't be read ({error}); write such a number as a text") from error


def _json_fault(error: json.JSONDecodeError, *, cut_short: bool) -> str:
    rest, before = error.doc[error.pos :].lstrip(), error.doc[: error.pos].rstrip()
    closing = before.endswith(",") and rest[:1] in ("}", "]")
    behind = error.msg == "Extra data" and rest.strip() == ","
    if closing or behind or "trailing comma" in error.msg:  # Python 3.13 says so
        return "has a comma after the last item, which JSON does not allow; take it out"
    if rest[:1] == "'" or rest.startswith(("None", "True", "False")):
        return "is in Python's notation and not JSON; write it with json.dumps"
    if rest.startswith(("//", "/*", "#")):
        return "has a comment, which JSON does not allow; take it out"
    if cut_short and (not rest or error.msg.startswith("Unterminated string")):
        return "is cut short; get the file again"
    return f"is not JSON ({error.msg}, character {error.colno:,}); mend or remove it"


def _table(text: str, delimiter: str, *, whole: bool) -> str | None:
    if whole and (line := _open_quotation(text, delimiter)):
        return f'Line {line:,} has a quotation mark that is never closed; close it, or write "" for one that is meant.'
    records = _records(text, delimiter)
    names = [name.strip() for name in next(records)]
    if name := repeated([name for name in names if name]):
        return _repeated_column(name)
    first = next(records, None)
    if first is None:
        return "The file has a header and no rows, or a single row and no header; its first line must name the columns."
    if len(first) != len(names) and not any(len(cells) == len(names) for cells in records):
        return (
            f"The file has {len(names)} names in its header and {len(first)} cells in its first row, and no row fits; "
            "give every row as many cells as the header has"
            + (", and put those with a comma in them into quotation marks." if delimiter == "," else ".")
        )
    if len(names) == 1:
        return f"The file has one column only, {names[0][:60]!r}; check that its first line names the columns."
    return None


def _repeated_column(name: str) -> str:
    return f"The header names the column {name!r} more than once; rename all but one of them."


def _open_quotation(text: str, delimiter: str) -> int | None:
    """The line that begins the record whose quotation mark is never closed."""
    if delimiter != ",":
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        return line if "unexpected end" in str(error) else None
    return None
