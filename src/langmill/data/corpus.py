"""From raw files to the documents of a corpus: read, clean, drop duplicates, split, report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.config import sections
from langmill.data.cleaning import DropReason, clean_rows
from langmill.data.document import Document, DocumentWriter, Split, documents_path
from langmill.data.readers import BadRow, read_rows
from langmill.data.report import Report
from langmill.data.splits import side_of_key
from langmill.errors import DataError

QUARANTINE_NAME = "quarantine.parquet"
QUARANTINE_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("where", "reason", "row")],
)
_ROWS = 10_000  # quarantined rows in a row group
_KEY_BYTES = 16  # of a document's key are remembered: 128 bits collide by no chance that counts


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """What makes raw files a corpus."""

    name: str
    fields: sections.Fields
    cleaning: sections.Cleaning
    split: sections.Split


def make_corpus(raw: Path, out: Path, settings: CorpusSettings, on_bytes: Callable[[int], object]) -> Report:
    """Read the raw files and write each split's documents and the quarantined rows.

    Args:
        raw: The folder of raw files.
        out: An existing folder to write into.
        settings: Fields, cleaning and split.
        on_bytes: Called with the raw bytes read since the last call.

    Returns:
        What was counted on the way.

    Raises:
        DataError: Nothing can be read, a named field does not exist, or a split comes out empty.
    """
    report = Report(settings.name)
    seen: dict[bytes, tuple[str | None, int | None]] = {}
    with contextlib.ExitStack() as stack:
        quarantine = stack.enter_context(_Quarantine(out / QUARANTINE_NAME))
        writers = {split: stack.enter_context(DocumentWriter(documents_path(out, split))) for split in Split}

        def documents() -> Iterator[Document]:
            for row in read_rows(raw, settings.fields, on_bytes):
                report.count_row(row)
                if isinstance(row, BadRow):
                    quarantine.add(row)
                else:
                    yield row

        for document, cleaned in clean_rows(documents(), lambda row: (row.text, row.target), settings.cleaning):
            if cleaned.dropped is not None:
                report.count_drop(cleaned.dropped)
                continue
            known = (document.label, None if cleaned.target is None else hash(cleaned.target))
            first = seen.setdefault(cleaned.key[:_KEY_BYTES], known)
            if first is not known:
                report.count_duplicate(other_label=first[0] != known[0], other_target=first[1] != known[1])
                if settings.cleaning.drop_duplicates:
                    report.count_drop(DropReason.duplicate)
                    continue
            side = side_of_key(cleaned.key, settings.split)
            clean = Document(document.id, cleaned.text, document.label, cleaned.target, document.metadata)
            writers[side].add(clean)
            report.count_document(side, clean, cleaned.key)
    _require_usable(report, settings)
    return report


def _require_usable(report: Report, settings: CorpusSettings) -> None:
    count = report.num_documents
    if not count:
        raise DataError(
            f"The corpus {settings.name} has no usable document: {report.account()}. "
            "Check the corpus's source, fields and cleaning in conf/corpus/."
        )
    for split, advice in _ADVICE.items():
        if not report.splits[split].documents:
            noun = "document" if count == 1 else "documents"
            raise DataError(
                f"The corpus {settings.name} has {count:,} usable {noun}; none fell to the {split} side. {advice}."
            )


_ADVICE = {
    Split.train: "Add data, or lower split.validation and split.test",
    Split.validation: "Add data or raise split.validation",
    Split.test: "Add data or raise split.test",
}


class _Quarantine:
    """Writes the rows that could not be read, a bounded number at a time."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, QUARANTINE_SCHEMA, compression="zstd")
        self._rows: list[dict[str, str]] = []

    def add(self, row: BadRow) -> None:
        self._rows.append({"where": row.where, "reason": row.reason.value, "row": row.row})
        if len(self._rows) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=QUARANTINE_SCHEMA))
        self._rows.clear()

    def __enter__(self) -> _Quarantine:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
