"""What the first rows of files say: which field holds the text, which the label, and what stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from langmill.config.sections import Corpus, FormatSection
from langmill.data.diagnosis.diagnose import diagnose, nothing_readable, why_no_text
from langmill.data.formats.base import Format, build_format, recognized
from langmill.data.readers import first_rows
from langmill.data.sources.base import build_source
from langmill.errors import LangmillError
from langmill.workspace import Workspace

_TEXT_NAMES = ("text", "content", "body", "review", "sentence", "document", "message", "article", "abstract")
_LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "stars", "rating", "intent", "topic")
_SAMPLED_ROWS = 100
_SAMPLED_FILES = 20


def guess_formats(path: Path) -> dict[str | None, Path]:
    """The formats that the first rows of a file, or of a folder's first files, have the shape of; None for none.

    Each with the first file that has it, in the files' order. A file that can't be read has none of them:
    `guess_fields` says what is wrong with it.
    """
    auto = build_format(FormatSection("auto", {}), "langmill new")
    found: dict[str | None, Path] = {}
    for file in _files(path, auto)[:_SAMPLED_FILES]:
        if diagnose(file, rows=False) is None and (rows := first_rows(file, auto, _SAMPLED_ROWS)):
            found.setdefault(recognized(rows), file)
    return found


def _files(path: Path, file_format: Format) -> list[Path]:
    return [path] if path.is_file() and file_format.ending(path) else file_format.files(path)


def guess_fields(path: Path) -> tuple[dict[str, str | None], list[str]]:
    """Which field of the rows holds the text and which the label, and the names of the others.

    Args:
        path: A file, or a folder whose first readable file is looked at.

    Raises:
        LangmillError: There is no file that can be read, or no field with text.
    """
    auto = build_format(FormatSection("auto", {}), "langmill new")
    files = _files(path, auto)
    if not files:
        raise LangmillError(f"{path} {nothing_readable(path, auto.endings())}", "unreadable")
    rows: Sequence[Mapping[str, object]] = []
    for file in files[:_SAMPLED_FILES]:
        if cause := diagnose(file, rows=False):
            raise LangmillError(f"{file}: {cause}", "unreadable")
        rows = first_rows(file, auto, _SAMPLED_ROWS)
        if rows:
            break
    else:
        cause = diagnose(files[0]) or "None of its rows can be read; look at its first lines."
        raise LangmillError(f"{files[0]}: {cause}", "unreadable")
    if auto.is_plain_text(PurePosixPath(file)):
        return {"text": "text", "label": None}, []
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = _named(names, _TEXT_NAMES)
    if text is None or not _mean_length(rows, text):
        text = max(names, key=lambda name: _mean_length(rows, name), default=None)
    if text is None or not _mean_length(rows, text):
        raise LangmillError(f"{file}: {why_no_text(rows)}", "missing")
    label = _named([name for name in names if name != text], _LABEL_NAMES)
    return {"text": text, "label": label}, [name for name in names if name not in (text, label)]


def _named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _mean_length(rows: Sequence[Mapping[str, object]], name: str) -> float:
    texts = [value for row in rows if isinstance(value := row.get(name), str)]
    return sum(map(len, texts)) / len(rows) if rows else 0.0


def documents_available(corpus: Corpus, most: int) -> list[tuple[str, object]]:
    """Text and label of a corpus's rows, at most so many, as far as it is on this machine."""
    where = str(Workspace().settings("corpus", corpus.name))
    folder = Path(build_source(corpus.source, where).local or Workspace().raw(corpus.name))
    file_format = build_format(corpus.format, where)
    try:
        files = [folder] if folder.is_file() else file_format.files(folder)
        rows = list(islice((row for file in files for row in first_rows(file, file_format, most)), most))
    except (LangmillError, OSError):
        return []  # the stages say what is wrong with it
    plain = bool(files) and file_format.is_plain_text(PurePosixPath(files[0]))
    text_field, label_field = "text" if plain else corpus.fields.text, corpus.fields.label
    return [
        (text, row.get(label_field) if label_field else None)
        for row in rows
        if isinstance(text := row.get(text_field), str) and text.strip()
    ]
