"""From raw files to the documents of a corpus: read, clean, drop duplicates, split, report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.config import sections
from langmill.data.cleaning import Cleaned, DropReason, clean_rows
from langmill.data.document import Document, DocumentWriter, Split, documents_path
from langmill.data.formats.base import Format
from langmill.data.readers import read_rows
from langmill.data.report import Report
from langmill.data.rows import BadRow
from langmill.data.splits import deciding_key, side_of_key
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
    file_format: Format
    fields: sections.Fields
    cleaning: sections.Cleaning
    split: sections.Split


def make_corpus(raw: Path, out: Path, settings: CorpusSettings, on_bytes: Callable[[int], object]) -> Report:
    """Read the raw files and write each split's documents and the quarantined rows.

    Args:
        raw: The folder of raw files.
        out: An existing folder to write into.
        settings: Format, fields, cleaning and split.
        on_bytes: Called with the raw bytes read since the last call.

    Returns:
        What was counted on the way.

    Raises:
        DataError: Nothing can be read, a named field does not exist, a split comes out empty, or `split.by` puts equal
            texts on two sides and duplicates are kept.
    """
    report = Report(settings.name)
    seen = _Seen(settings, report)
    with contextlib.ExitStack() as stack:
        quarantine = stack.enter_context(_Quarantine(out / QUARANTINE_NAME))
        writers = {split: stack.enter_context(DocumentWriter(documents_path(out, split))) for split in Split}

        def documents() -> Iterator[Document]:
            for row in read_rows(raw, settings.file_format, settings.fields, on_bytes):
                report.count_row(row)
                if isinstance(row, BadRow):
                    quarantine.add(row)
                else:
                    yield row

        for document, cleaned in clean_rows(documents(), lambda row: (row.text, row.target), settings.cleaning):
            if cleaned.dropped is not None:
                report.count_drop(cleaned.dropped)
                continue
            side = side_of_key(deciding_key(cleaned.key, document.metadata, settings.split), settings.split)
            reason = seen.judge(document, cleaned, side)
            if reason is not None:
                report.count_drop(reason)
                continue
            clean = Document(document.id, cleaned.text, document.label, cleaned.target, document.metadata)
            writers[side].add(clean)
            report.count_document(side, clean, cleaned.key)
    _require_usable(report, settings)
    return report


class _Seen:
    """Remembers what has been kept, by key, to tell duplicates."""

    def __init__(self, settings: CorpusSettings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._labels: dict[bytes, str | None] = {}
        """The first label of each text with its target."""
        self._sides: dict[bytes, Split] = {}
        """The side of each text, where texts alike may differ in their target or in what decides their side."""

    def judge(self, document: Document, cleaned: Cleaned, side: Split) -> DropReason | None:
        """Why a document is left out for the sake of earlier ones; None keeps it.

        Equal texts with different targets are all kept: several answers to a question, several translations.

        Raises:
            DataError: Its text is on another side already, and duplicates are to be kept.
        """
        key, pair_key = cleaned.key[:_KEY_BYTES], cleaned.pair_key[:_KEY_BYTES]
        drop = self._settings.cleaning.drop_duplicates
        if pair_key in self._labels:
            self._report.count_duplicate(other_label=self._labels[pair_key] != document.label)
            if drop:
                return DropReason.duplicate
        if cleaned.target is not None or self._settings.split.by is not None:
            first_side = self._sides.get(key)
            if first_side not in (None, side):
                if drop:
                    return DropReason.other_side
                raise DataError(
                    f"{document.id} of the corpus {self._settings.name} reads like a document on the {first_side} "
                    f"side, but its {self._settings.split.by} puts it on the {side} side; set "
                    "cleaning.drop_duplicates to true or split.by to null."
                )
            if first_side is not None and pair_key not in self._labels:
                self._report.count_other_target()
            self._sides[key] = side
        self._labels.setdefault(pair_key, document.label)
        return None


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
