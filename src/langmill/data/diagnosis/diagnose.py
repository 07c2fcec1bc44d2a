"""What is wrong with a data file, or with its rows, in one sentence."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from langmill.data.compression import COMPRESSIONS, DAMAGED, is_of_machine, open_decompressed
from langmill.data.diagnosis.encoding import bad_byte, no_text
from langmill.data.diagnosis.json_text import wrong_json, wrong_json_lines
from langmill.data.diagnosis.kinds import HEAD, compressed_as, misnamed_parquet, unreadable_kind
from langmill.data.diagnosis.tables import damaged, wrong_parquet, wrong_table
from langmill.data.encoding import Utf8Stream
from langmill.data.formats.auto import TEXTS, claimed_by
from langmill.data.formats.base import Chunks
from langmill.data.formats.tables import TABLES
from langmill.data.rows import portable, shown

_SCANNED = 2**24  # bytes that are looked through for the first thing that is wrong
_WHOLE = 2**26  # bytes of a .json file that is read whole, compressed or not
_LOOKED_INTO = 5  # files that can't be read, of a folder without any that can
_JSON_LINES = (".jsonl", ".ndjson")
_PAGE_STARTS = ("<!doctype html", "<html", "<head", "<body")


def diagnose(path: Path, *, rows: bool = True) -> str | None:
    """What is wrong with a data file and what to do about it, in one sentence; None if nothing is found.

    By its ending a file is taken for what the format `auto` reads; of any other one only its kind and its encoding are
    judged. Of a long file the first 16 MiB are looked through; a .json one is read whole or, if it is larger than 64
    MiB, not for its rows.

    Args:
        path: The file; one that is not there or may not be read gives a sentence too.
        rows: Whether its rows are looked at. Without, it is only asked whether the file is what its name says: what is
            wrong then is wrong even if rows can be read of it.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    ending = suffixes[-1] if suffixes else ""
    try:
        rows = rows and not (ending == ".json" and path.stat().st_size > _WHOLE)
        with path.open("rb") as file:
            said = _compression(path, file.read(HEAD), compression)
            if said is None:
                file.seek(0)
                content = open_decompressed(file, compression)
                data = content.read(-1 if ending == ".json" else _SCANNED) if rows else _head(content)
                said = _content(path, data, compression, ending, whole=rows and not content.read(1), rows=rows)
    except DAMAGED as error:
        if isinstance(error, OSError) and is_of_machine(error):
            return f"The file can't be opened ({error.strerror or error}); check its path, owner and mode."
        return damaged(error)
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
            "conversations are read by the formats `messages` and `sharegpt`, as lists of that name or `conversations` "
            "with `role` and `content`; other nested data must be laid out flat."
        )
    if not any(kinds.values()):
        return f"The file has only empty fields in its first rows; known are {known}."
    if any(bytes in found for found in kinds.values()):
        return f"The file has no field with text in its first rows, only bytes; write them as text. Known are {known}."
    return f"The file has no field with text in its first rows, only numbers; known are {known}."


def _compression(path: Path, head: bytes, compression: str) -> str | None:
    """What is wrong with a file before it is decompressed."""
    if not head:
        return "The file is empty; get it again, or leave it out."
    found = compressed_as(head)
    if found == compression:
        return None
    if not found:
        said = f"The file is not compressed as its name says; get it again, or take {compression} off its name."
        return unreadable_kind(path, head) or said
    name = path.name.removesuffix(path.suffix) if compression else path.name
    return f"The file is compressed, which its name does not say; rename it to {name}{found}."


def _head(content: IO[bytes]) -> bytes:
    """The first bytes, or those before a damage; raises what is in `DAMAGED` where there are none."""
    chunks = Chunks(content)
    head = chunks.read(HEAD)
    if chunks.damage is not None and is_of_machine(chunks.damage):
        raise chunks.damage
    return head


def _content(path: Path, data: bytes, compression: str, ending: str, *, whole: bool, rows: bool) -> str | None:
    """What is wrong with a file's decompressed content."""
    head = data[:HEAD]
    if not data:
        return "The file is empty once it is decompressed; get it again."
    if compression and compressed_as(head):
        return "The file is compressed twice over; unpack it once."
    said = unreadable_kind(None if compression else path, head) or misnamed_parquet(path, head, compression, ending)
    if said:
        return said
    if ending == ".parquet":
        return wrong_parquet(path, compression) if rows else None
    if claimed_by(PurePosixPath(path.name)) is not None:  # its format says what is wrong with it
        return None
    data = io.BufferedReader(Utf8Stream(io.BytesIO(data))).read()
    text = data.decode("utf-8-sig", "ignore")
    said = no_text(data) or (None if ending in TEXTS else _page(text)) or _form(text, ending)
    return said or (bad_byte(data, whole=whole) or _rows(data, text, ending, whole=whole) if rows else None)


def _page(text: str) -> str | None:
    start = text[:HEAD].lstrip().lower()
    if start.startswith(_PAGE_STARTS):
        return "The file is a web page, as a server sends it in place of the data; download the data itself."
    return "The file is XML, which is not read; convert it to JSON lines or CSV." if start.startswith("<?xml") else None


def _form(text: str, ending: str) -> str | None:
    """What other rows it has than its ending says."""
    if not text.strip():
        return "The file holds white space only; get it again, or leave it out."
    if ending in _JSON_LINES and re.match(r"\s*\[\s*\{", text):
        return f"The file is one JSON array, but {ending} wants an object a line; rename it to .json."
    return None


def _rows(data: bytes, text: str, ending: str, *, whole: bool) -> str | None:
    if ending in _JSON_LINES:
        return wrong_json_lines(data, whole=whole)
    if ending == ".json":
        return wrong_json(text)
    return wrong_table(text, ending, whole=whole) if ending in TABLES else None
