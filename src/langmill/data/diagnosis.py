"""Why a data file is not read as it was meant to be, in a sentence: said where reading has failed, never before it."""

from __future__ import annotations

import codecs
import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

from langmill.data.compression import COMPRESSIONS, DAMAGED, open_decompressed

_HEAD = 2**16  # bytes that show a file's kind
_SCANNED = 2**24  # bytes that are looked through for the first thing that is wrong
_BINARY_SHARE = 0.1  # of control characters: text has hardly any

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_COMPRESSED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_PARQUET = b"PAR1"
_UNSUPPORTED = {
    b"\xd0\xcf\x11\xe0": "a spreadsheet or document of old Microsoft Office; save it as CSV in UTF-8",
    b"%PDF": "a PDF; take its text out and save that as .txt in UTF-8",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV or JSON lines",
    b"ARROW1": "an Arrow file; save the table as Parquet",
    b"FEA1": "a Feather file; save the table as Parquet",
    b"Obj\x01": "an Avro file; save the table as Parquet or JSON lines",
    b"ORC": "an ORC file; save the table as Parquet or JSON lines",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; save the table as Parquet or CSV",
    b"\x93NUMPY": "a NumPy array; save the rows as Parquet or CSV",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and name a file in it",
    b"Rar!": "a RAR archive; unpack it and name a file in it",
}
_ZIP = b"PK\x03\x04"
_ZIPPED_KINDS = {
    "xl/": "an Excel workbook; save the sheet as CSV in UTF-8",
    "word/": "a Word document; save its text as .txt in UTF-8",
    "content.xml": "an OpenDocument file; save a sheet as CSV, or a text as .txt, in UTF-8",
}
_UTF_MARKS = {  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_PAGE_STARTS = ("<!doctype html", "<html", "<head", "<body")
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}


def diagnose(path: Path) -> str | None:
    """What is wrong with a data file and what to do about it, in one sentence; None if nothing is found.

    By its ending a file is taken for what the format `auto` reads; of any other one only its kind and its encoding are
    judged. Of a long file the first 16 MiB are looked through.

    Args:
        path: The file; one that is not there or may not be read gives a sentence too.
    """
    try:
        return _diagnose(path)
    except OSError as error:
        return f"The file can't be opened ({error.strerror or error}); check its path, owner and mode."


def _diagnose(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    ending = suffixes[-1] if suffixes else ""
    kind = _kind(path, head, compression, ending)
    if kind is not None or ending == ".parquet":
        return kind
    try:
        with path.open("rb") as file, open_decompressed(file, compression) as content:
            data = content.read(_SCANNED)
            whole = not content.read(1)
    except DAMAGED as error:
        if not compression:
            raise
        return f"The file is damaged or cut short ({type(error).__name__}: {error}); get it again."
    if not data:
        return "The file is empty once it is decompressed; get it again."
    return _encoding(data, whole=whole) or _rows(data.decode("utf-8-sig", "ignore"), ending, whole=whole)


# The kind of file ----------------------------------------------------------------------------------------------------


def _kind(path: Path, head: bytes, compression: str, ending: str) -> str | None:
    """What else it is than text, or Parquet where its name says so."""
    if not head:
        return "The file is empty; get it again, or leave it out."
    if head.startswith(_LFS_POINTER):
        return "The file is a Git LFS pointer and not the data; run `git lfs pull` and try again."
    return _compression(path, head, compression) or (None if compression else _container(path, head, ending))


def _compression(path: Path, head: bytes, compression: str) -> str | None:
    found = next((suffix for magic, suffix in _COMPRESSED.items() if head.startswith(magic)), "")
    if found == compression:
        return None
    if not found:
        return f"The file is not compressed as its name says; get it again, or take {compression} off its name."
    name = path.name.removesuffix(path.suffix) if compression else path.name
    return f"The file is compressed, which its name does not say; rename it to {name}{found}."


def _container(path: Path, head: bytes, ending: str) -> str | None:
    if head.startswith(_PARQUET):
        return _parquet(path, ending)
    if head.startswith(_ZIP):
        return f"The file is {_zipped(path)}."
    unsupported = next((words for magic, words in _UNSUPPORTED.items() if head.startswith(magic)), None)
    if unsupported:
        return f"The file is {unsupported}."
    if ending == ".parquet":
        return "The file is no Parquet file, whatever its name says; get it again, or rename it to what it is."
    return None


def _parquet(path: Path, ending: str) -> str | None:
    if ending != ".parquet":
        return f"The file is a Parquet file; rename it to {path.with_suffix('.parquet').name}."
    with path.open("rb") as file:
        file.seek(-min(len(_PARQUET), path.stat().st_size), io.SEEK_END)
        if file.read() != _PARQUET:
            return "The file is cut short: a Parquet file ends with its table of contents; get it again."
    return None


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive; get it again and unpack it"
    kinds = (words for start, words in _ZIPPED_KINDS.items() if any(name.startswith(start) for name in names))
    return next(kinds, "a zip archive; unpack it and name a file or the folder")


# The encoding --------------------------------------------------------------------------------------------------------


def _encoding(data: bytes, *, whole: bool) -> str | None:
    """What else it is than clean UTF-8."""
    head = data[:_HEAD]
    if head.startswith(_LFS_POINTER):
        return "The file is a compressed Git LFS pointer and not the data; get it again with `git lfs pull`."
    encoding = next((name for mark, name in _UTF_MARKS.items() if head.startswith(mark)), None) or _unmarked_utf(head)
    if encoding:
        return f"The file is encoded in {encoding}; convert it to UTF-8 with `iconv -f {encoding} -t UTF-8`."
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r\x0b\x0c\x1b")
    if controls > _BINARY_SHARE * len(head):
        return "The file is binary and not text; name the file that holds the texts."
    return _page(head) or _bad_byte(data, whole=whole)


def _page(head: bytes) -> str | None:
    start = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if start.startswith(_PAGE_STARTS):
        return "The file is a web page, as a server sends it in place of the data; download the data itself."
    return "The file is XML, which is not read; convert it to JSON lines or CSV." if start.startswith("<?xml") else None


def _bad_byte(data: bytes, *, whole: bool) -> str | None:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return (
            f"The file is not in UTF-8: line {line:,} has the byte 0x{data[error.start]:02x}, so it is most likely "
            "Latin-1 or Windows-1252; convert it with `iconv -f WINDOWS-1252 -t UTF-8`."
        )
    if (place := data.find(0)) >= 0:
        line = data.count(b"\n", 0, place) + 1
        return f"The file has NUL bytes, the first in line {line:,}; take them out, for example with `tr -d '\\000'`."
    return None


def _unmarked_utf(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by the NULs that stand for the upper bytes of Latin letters."""
    nuls = [head[offset::4].count(0) for offset in range(4)]
    quarter = len(head) // 4
    if quarter < 2:
        return None
    mostly = [count > 0.8 * quarter for count in nuls]
    if sum(mostly) == 3:
        return "UTF-32LE" if not mostly[0] else "UTF-32BE"
    if mostly == [False, True, False, True]:
        return "UTF-16LE"
    return "UTF-16BE" if mostly == [True, False, True, False] else None


# The rows ------------------------------------------------------------------------------------------------------------


def _rows(text: str, ending: str, *, whole: bool) -> str | None:
    if not text.strip():
        return "The file holds white space only; get it again, or leave it out."
    if ending == ".jsonl":
        return _json_lines(text, whole=whole)
    if ending == ".json":
        return _json(text) if whole else None
    return _table(text, "," if ending == ".csv" else "\t") if ending in (".csv", ".tsv") else None


def _json_lines(text: str, *, whole: bool) -> str | None:
    start = text.lstrip()
    if start.startswith("[") and _is_array_of_objects(start):
        return "The file is one JSON array, but .jsonl wants an object a line; rename it to .json."
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not whole:
        lines.pop()  # it may end in the middle of this one
    last = max((number for number, line in enumerate(lines) if line.strip()), default=0)
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            json.loads(line, object_pairs_hook=_unique)
        except _DuplicateKeyError as error:
            return f"Line {number + 1:,} has the key {error.args[0]!r} twice; rename or remove one."
        except json.JSONDecodeError as error:
            if line.strip() == "{":
                return "The file's objects stand on several lines each; .jsonl wants an object a line."
            cut_short = number == last > 0
            return f"Line {number + 1:,} {_json_fault(error, cut_short=cut_short)}."
        except (ValueError, RecursionError) as error:
            return f"Line {number + 1:,} can't be read ({error}); mend or remove it."
    return None


def _is_array_of_objects(start: str) -> bool:
    """Whether JSON text is one array of objects, and not a first line that is an array of its own."""
    return start[1:].lstrip().startswith("{")


def _json(text: str) -> str | None:
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        return f"An object of the file has the key {error.args[0]!r} twice; rename or remove one."
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[error.pos :].lstrip().startswith("{"):
            return "The file has one JSON object after another, which are JSON lines; rename it to .jsonl."
        return f"Line {error.lineno:,} {_json_fault(error, cut_short=True)}."
    except (ValueError, RecursionError) as error:
        return f"The file's JSON can't be read ({error}); mend it."
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return None
    what = "an array of something else" if isinstance(value, list) else "no array"
    return f"The file is {what}; .json wants an array of objects with named fields, .jsonl such an object a line."


class _DuplicateKeyError(Exception):
    """A JSON object names a key twice."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return found


def _json_fault(error: json.JSONDecodeError, *, cut_short: bool) -> str:
    """What is wrong at a place in JSON text, to follow the words "Line 3"."""
    text, place = error.doc, error.pos
    rest, before = text[place:].lstrip(), text[:place].rstrip()
    if (rest[:1] in ("}", "]") and before.endswith(",")) or (error.msg == "Extra data" and rest.strip() == ","):
        return "has a comma after the last item, which JSON does not allow; take it out"
    if rest[:1] == "'" or rest.startswith(("None", "True", "False")):
        return "is in Python's notation and not JSON; write it with json.dumps"
    if cut_short and (not rest or error.msg.startswith("Unterminated string")):
        return "is cut short; get the file again"
    return f"is not JSON ({error.msg}, character {error.colno:,}); mend or remove it"


def _table(text: str, delimiter: str) -> str | None:
    try:
        header = next(_records(text, delimiter), [])
        second = next(islice(_records(text, delimiter), 1, None), None)
    except csv.Error as error:
        return f"The header can't be read ({error}); mend its quotation marks."
    names = [name.strip() for name in header]
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        return f"The header names the column {twice[0]!r} more than once; rename all but one of them."
    if len(names) == 1:
        first_line = text.lstrip().splitlines()[0]
        other = max((sign for sign in _DELIMITERS if sign != delimiter), key=first_line.count)
        if other in first_line:
            remedy = "rename it to .tsv" if other == "\t" else f"save it with {_DELIMITERS[delimiter]}"
            remedy = "rename it to .csv" if (delimiter, other) == ("\t", ",") else remedy
            return f"The file's columns are separated by {_DELIMITERS[other]}, not {_DELIMITERS[delimiter]}; {remedy}."
    if second is None:
        return "The file has a header and no rows, or a single row and no header; its first line must name the columns."
    if len(names) == 1:
        return f"The file has one column only, {names[0][:60]!r}; check that its first line names the columns."
    return None


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    """The records of a table that are not empty; only .csv has quotation marks."""
    lines: IO[str] = io.StringIO(text, newline="")
    quoted = csv.reader(lines, delimiter=delimiter)
    return filter(None, quoted if delimiter == "," else csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
