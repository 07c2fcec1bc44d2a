"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import zipfile
from pathlib import Path

HEAD = 2**16  # bytes that show a file's kind
_KINDS = {
    b"version https://git-lfs": "a Git LFS pointer and not the data; run `git lfs pull` and try again",
    b"PK\x03\x04": "a zip archive; rename it so that its name ends in .zip",
    b"Rar!\x1a": "a RAR archive; unpack it and name a file or the folder",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and name a file or the folder",
    b"%PDF-": "a PDF; rename it so that its name ends in .pdf",
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
    "word/": "a Word document; rename it so that its name ends in .docx",
    "content.xml": "an OpenDocument file; save a sheet as CSV, or a text as .txt, in UTF-8",
}
_NAMED_SO = {b"%PDF": (".pdf",), _ZIP: (".zip", ".docx")}
"""The endings of files of such kinds that formats read."""
_PARQUET = b"PAR1"
_COMPRESSED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}


def compressed_as(head: bytes) -> str:
    """The ending that a compressed file should have, by its first bytes; empty if it is not compressed."""
    return next((suffix for magic, suffix in _COMPRESSED.items() if head.startswith(magic)), "")


def unreadable_kind(path: Path | None, head: bytes) -> str | None:
    """What a file is, if it is of a kind that no format reads; a zip archive with a path is looked into."""
    if path is not None and path.suffix.lower() in _NAMED_SO.get(head[:4], ()):
        return None
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
        return "a damaged zip archive; get it again"
    kinds = (words for start, words in _ZIPPED_KINDS.items() if any(name.startswith(start) for name in names))
    return next(kinds, _KINDS[_ZIP])


def misnamed_parquet(path: Path, head: bytes, compression: str, ending: str) -> str | None:
    """A Parquet file under another name, or another file under the name of one."""
    if _begins(head, _PARQUET) and ending != ".parquet":
        bare = path.with_suffix("") if compression else path
        name = bare.with_suffix(".parquet").name + (path.suffix if compression else "")
        return f"The file is a Parquet file; rename it to {name}."
    if not head.startswith(_PARQUET) and ending == ".parquet":
        return "The file is no Parquet file, whatever its name says; get it again, or rename it to what it is."
    return None
