"""From raw files to the documents of a corpus: read, clean, drop duplicates, split, report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from langmill.config import sections
from langmill.data.cleaning.pool import clean_rows
from langmill.data.document import (
    Document,
    DocumentWriter,
    Split,
    TableWriter,
    content_digest,
    documents_path,
    read_documents,
    write_documents,
)
from langmill.data.duplicates import Duplicates
from langmill.data.folding import key_of
from langmill.data.formats.base import Format
from langmill.data.labels import LabelTable
from langmill.data.readers import causes, read_rows
from langmill.data.report import Report, SplitCount, StepCount
from langmill.data.rows import BadRow, Row, portable
from langmill.data.splits import deciding_key, split_of_key
from langmill.errors import DataError

QUARANTINE_NAME = "quarantine.parquet"
"""The rows that could not be read: place, reason and beginning of each."""
PLACES_NAME = "places.parquet"
"""Where each document's row stands, by split and id; apart from the documents, which stay when their rows move."""
_ROWS = 10_000  # in a row group of these tables


def _texts(*names: str) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string(), nullable=False) for name in names])


_PLACES = _texts("split", "id", "where")


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """What makes raw files a corpus."""

    name: str
    file_format: Format
    fields: sections.Fields
    cleaning: sections.Cleaning
    split: sections.Split
    labels: sections.Labels = field(default_factory=lambda: sections.Labels({}))


def make_corpus(
    raw: Path,
    out: Path,
    settings: CorpusSettings,
    on_bytes: Callable[[int], object],
    report: Report | None = None,
) -> Report:
    """Read the raw files and write each split's documents, their places and the quarantined rows.

    Args:
        raw: The folder of raw files.
        out: An existing folder to write into.
        settings: Format, fields, cleaning and split.
        on_bytes: Called with the raw bytes read since the last call.
        report: Counts what happens; given by who wants to see it after an error too.

    Returns:
        The report.

    Raises:
        DataError: Nothing can be read, a named field does not exist, a split comes out empty, or `split.by` puts equal
            texts into two splits and duplicates are kept.
    """
    report = report or Report(settings.name)
    report.steps = {name: StepCount() for name in settings.cleaning.steps}
    labels = LabelTable()
    seen = Duplicates(settings.cleaning, settings.split, report)
    with _causes_found(raw, settings.file_format, report), contextlib.ExitStack() as stack:
        quarantine = stack.enter_context(TableWriter(out / QUARANTINE_NAME, _texts("where", "reason", "row"), _ROWS))
        places = stack.enter_context(TableWriter(out / PLACES_NAME, _PLACES, _ROWS))
        writers = {split: stack.enter_context(DocumentWriter(documents_path(out, split))) for split in Split}

        def rows() -> Iterator[Row]:
            for row in read_rows(
                raw,
                settings.file_format,
                settings.fields,
                on_bytes,
                labels=settings.labels.map,
                table=labels,
                max_characters=settings.cleaning.options.get("length", {}).get("max_characters"),
                told=report.causes,
            ):
                report.count_row(row)
                if isinstance(row, BadRow):
                    quarantine.add(row.where, row.reason.value, row.row)
                else:
                    yield row

        for row, cleaned in clean_rows(rows(), settings.cleaning, f"The corpus {settings.name}"):
            report.count_changes(cleaned.changes)
            split = split_of_key(deciding_key(cleaned.key, cleaned.metadata, settings.split), settings.split)
            digest = content_digest(cleaned.text, row.label, cleaned.target)
            reason = cleaned.dropped or seen.judge(row, cleaned, split, digest)
            if reason is not None:
                report.count_drop(reason, split if cleaned.text else None, cleaned.dropped_by)
                continue
            document = Document(seen.id_of(digest), cleaned.text, row.label, cleaned.target, dict(cleaned.metadata))
            writers[split].write(document)
            places.add(split.value, document.id, row.where)
            report.splits[split].add(document, cleaned.key)
    _settle(out, seen, report)
    _require_usable(report, settings)
    return report


def _settle(out: Path, seen: Duplicates, report: Report) -> None:
    """Take out the documents whose place another one has taken since, and tell the report where its samples stand."""
    superseded: set[tuple[str, str]] = set()
    for split in (split for split in Split if split in seen.unsettled):
        path, report.splits[split] = documents_path(out, split), SplitCount(dropped=report.splits[split].dropped)

        def kept(path: Path = path, split: Split = split) -> Iterator[Document]:
            for document in read_documents(path):
                if reason := seen.superseded(document, split):
                    superseded.add((split.value, document.id))
                    report.count_drop(reason, split)
                else:
                    report.splits[split].add(document, key_of(document.text))
                    yield document

        write_documents(path, kept())
    path = out / PLACES_NAME
    if superseded:
        temporary = out / f".{PLACES_NAME}"
        with TableWriter(temporary, _PLACES, _ROWS) as places:
            for batch in pq.ParquetFile(path).iter_batches():
                for split_name, name, where in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if (split_name, name) not in superseded:
                        places.add(split_name, name, where)
        temporary.replace(path)
    samples = pa.array(report.sample_ids(), pa.string())
    for batch in pq.ParquetFile(path).iter_batches(columns=["id", "where"]):
        shown = batch.filter(pc.is_in(batch["id"], samples))
        report.places.update(zip(shown["id"].to_pylist(), shown["where"].to_pylist(), strict=True))


def _require_usable(report: Report, settings: CorpusSettings) -> None:
    count = report.num_documents
    if not count:
        told = [f" {name}: {cause}" for name, cause in list(report.causes.items())[:1]]
        raise DataError(
            f"The corpus {settings.name} has no usable document: {report.account()}.{''.join(told)} "
            "Check the corpus's source, fields and cleaning in conf/corpus/.",
            "too_few",
        )
    for split, advice in _ADVICE.items():
        if not report.splits[split].documents:
            noun = "document" if count == 1 else "documents"
            dropped = report.account_of_drops(split)
            left_out = f", where {dropped}" if dropped else ""
            raise DataError(
                f"The corpus {settings.name} has {count:,} usable {noun}; none fell to the {split} split{left_out}. "
                f"{advice}.",
                "too_few",
            )


_ADVICE = {
    Split.train: "Add data, or lower split.validation and split.test",
    Split.validation: "Add data or raise split.validation",
    Split.test: "Add data or raise split.test",
}


@contextlib.contextmanager
def _causes_found(raw: Path, file_format: Format, report: Report) -> Iterator[None]:
    """Say in the report, once the block ends, what is wrong with files that rows were quarantined of."""
    failure: DataError | None = None
    try:
        yield
    except DataError as error:
        failure = error
    if report.quarantined:
        files = file_format.files(raw)
        damaged = (path for path in files if portable(path.relative_to(raw).as_posix()) in report.damaged_files)
        report.causes.update(causes(raw, file_format, damaged))
    if failure is not None:
        raise failure
