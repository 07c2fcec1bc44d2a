"""From raw files to the documents of a corpus: read and clean, drop duplicates, split and write; and report."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from langmill.config import sections
from langmill.data.cleaning.pool import COLLECT_EVERY, clean_batches
from langmill.data.contradictions import Contradictions
from langmill.data.document import (
    COPIES_KEY,
    DROPPED_NAME,
    LEAKED_KEY,
    PLACES_NAME,
    QUARANTINE_NAME,
    Document,
    DocumentWriter,
    Split,
    TableWriter,
    document_id,
    documents_path,
)
from langmill.data.dropped import Dropped, DroppedSample
from langmill.data.duplicates import Fate, Ids, Numbers, Verdicts, exact_duplicates
from langmill.data.formats.base import Format
from langmill.data.labels import LabelTable
from langmill.data.leakage import Leak, find_leakage, num_passes
from langmill.data.near_duplicates.clusters import copies_of
from langmill.data.near_duplicates.find import find_near_duplicates
from langmill.data.parquet import parquet_file
from langmill.data.readers import causes, read_rows
from langmill.data.report import FEW_DOCUMENTS, Report, StepCount
from langmill.data.rows import BadRow, Row, portable
from langmill.data.sources.folder import raw_files
from langmill.data.splits import deciding_key, split_of_key
from langmill.data.spool import PRECEDENCE, Spool
from langmill.errors import DataError
from langmill.files import temporary_folder
from langmill.progress import track

logger = logging.getLogger(__name__)
_ROWS = 10_000  # in a row group of these tables
_EXAMPLES = 20  # leaked documents that the report names


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
    *,
    on_read: Callable[[], object] = lambda: None,
) -> Report:
    """Read the raw files and write each split's documents, their places, what was dropped and the quarantined rows.

    It takes three passes: rows are cleaned into a spool on disk; what reads alike is found, and what of it stays; the
    documents are written, cluster by cluster in one split. The same rows give the same documents in whatever order of
    files, and the same bytes whatever the number of workers.

    Args:
        raw: The folder of raw files.
        out: An existing folder to write into; the spool is there too until it is done with.
        settings: Format, fields, labels, cleaning and split.
        on_bytes: Called with the raw bytes read since the last call.
        report: Counts what happens; given by who wants to see it after an error too.
        on_read: Called when all rows are cleaned; what follows shows its own progress.

    Returns:
        The report.

    Raises:
        DataError: Nothing can be read, a named field does not exist, a split comes out empty, or `split.by` puts equal
            texts into two splits and duplicates are kept.
    """
    report = report or Report(settings.name)
    report.steps = {name: StepCount() for name in settings.cleaning.steps}
    labels = LabelTable()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_rare_collections())
        stack.callback(lambda: report.set_labels(labels.as_json()) if settings.fields.any_has("label") else None)
        stack.enter_context(_causes_found(raw, settings.file_format, report))
        dropped = stack.enter_context(DroppedSample(out / DROPPED_NAME))
        spool = stack.enter_context(Spool(stack.enter_context(temporary_folder(out))))
        _clean(raw, out, settings, on_bytes, report=report, spool=spool, dropped=dropped, labels=labels)
        on_read()
        verdicts = exact_duplicates(spool, settings.cleaning, settings.split, report)
        with track(f"Comparing the documents of {settings.name}", len(spool), "documents") as progress:
            sizes = find_near_duplicates(
                spool, verdicts, settings.cleaning, settings.split, report, on_documents=progress.advance
            )
        leaks = _find_leaks(spool, verdicts, settings)
        contradictions = Contradictions(spool.keys.labels, verdicts.pairs, spool.unlabelled)
        _write(
            out, settings, report, spool=spool, dropped=dropped, verdicts=verdicts, sizes=sizes, leaks=leaks,
            contradictions=contradictions,
        )  # fmt: skip
        labels.set_contradictions(contradictions.groups, contradictions.examples())
        for sentence in labels.warnings() if settings.fields.any_has("label") else ():
            logger.warning("%s: %s", settings.name, sentence)
    _show_places(out, report)
    report.require_balance()
    _require_usable(report, settings)
    return report


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Have the garbage collector look for circles rarely: rows have none, and are many: a tenth would go into it."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _clean(
    raw: Path,
    out: Path,
    settings: CorpusSettings,
    on_bytes: Callable[[int], object],
    *,
    report: Report,
    spool: Spool,
    dropped: DroppedSample,
    labels: LabelTable,
) -> None:
    """Read and clean every row, and put what stays by itself into the spool."""
    with TableWriter(out / QUARANTINE_NAME, _texts("where", "reason", "row"), _ROWS) as quarantine:

        def rows() -> Iterator[Row]:
            for row in read_rows(
                raw,
                settings.file_format,
                settings.fields,
                on_bytes,
                labels=settings.labels.map,
                table=labels,
                max_characters=settings.cleaning.longest,
                told=report.readings,
                wrong=report.causes,
            ):
                report.count_row(row)
                if isinstance(row, BadRow):
                    quarantine.add(row.where, row.reason.value, row.row)
                else:
                    yield row

        for batch, (cleaned, prints) in clean_batches(rows(), settings.cleaning, f"The corpus {settings.name}"):
            for row, one in zip(batch, cleaned, strict=True):
                report.count_changes(one.changes)
                report.observe(row, one)
                split = split_of_key(deciding_key(one.key, one.metadata, settings.split), settings.split)
                if one.dropped is None:
                    spool.add(row, one, split)
                    continue
                place = split if one.text else None
                report.count_drop(one.dropped, place, one.dropped_by, num_bytes=row.num_bytes)
                text = one.text or row.text
                dropped.add(Dropped(row.where, one.dropped, one.dropped_by, place, text, one.target, score=one.score))
            spool.add_fingerprints(prints, [one.dropped is None for one in cleaned])
    spool.finish()


def _find_leaks(spool: Spool, verdicts: Verdicts, settings: CorpusSettings) -> dict[int, Leak] | None:
    """The test documents that have leaked, by their numbers; None where it is not looked for."""
    if settings.cleaning.leakage is None:
        return None
    total = num_passes(spool, verdicts, settings.cleaning.leakage) * len(spool)
    with track(f"Looking for test documents of {settings.name} in training", total, "documents") as progress:
        return find_leakage(
            spool, verdicts, settings.cleaning.leakage, progress.advance, threads=settings.cleaning.workers
        )


def _write(
    out: Path,
    settings: CorpusSettings,
    report: Report,
    *,
    spool: Spool,
    dropped: DroppedSample,
    verdicts: Verdicts,
    sizes: Numbers,
    leaks: dict[int, Leak] | None,
    contradictions: Contradictions,
) -> None:
    """Write every split's documents, in the order in which they were read, and where each stands."""
    kept = np.flatnonzero(verdicts.fates == Fate.kept)
    ids = Ids(spool, kept, unique=settings.cleaning.drop_duplicates)
    copies = copies_of(sizes)
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(TableWriter(out / PLACES_NAME, _PLACES, _ROWS))
        writers = {split: stack.enter_context(DocumentWriter(documents_path(out, split))) for split in Split}
        progress = stack.enter_context(track(f"Writing {settings.name}", len(spool), "documents"))
        for number, one in spool.documents():
            split = PRECEDENCE[verdicts.ranks[number]]
            progress.advance()
            contradictions.see(number, one)
            fate = Fate(verdicts.fates[number])
            if fate is not Fate.kept:
                report.count_drop(fate.reason, split, num_bytes=one.num_bytes)
                twin = ids[verdicts.twins[number]]
                scores = float(verdicts.similarity[number]), float(verdicts.containment[number])
                dropped.add(Dropped(one.where, fate.reason, None, split, one.text, one.target, twin, *scores))
                continue
            # A field of the corpus that has one of these names is the corpus's.
            metadata = {COPIES_KEY: copies[number], **one.metadata}
            if leaks is not None and split is Split.test:
                metadata.setdefault(LEAKED_KEY, "yes" if number in leaks else "no")
            document = Document(ids[number], one.text, one.label, one.target, metadata)
            writers[split].write(document)
            places.add(split.value, document.id, one.where)
            report.count_kept(one, document, split)
        _repeat(writers[Split.train], settings, report, spool=spool, verdicts=verdicts, copies=copies)
    if leaks is not None:
        worst = sorted(leaks, key=lambda number: (-leaks[number].overlap, ids[number]))
        report.set_leakage(
            test_documents=report.splits[Split.test].documents,
            leaked=len(leaks),
            examples=[
                {
                    "test": ids[number],
                    "train": ids[leaks[number].train],
                    "overlap": leaks[number].overlap,
                }
                for number in worst[:_EXAMPLES]
            ],
        )


def _repeat(
    writer: DocumentWriter,
    settings: CorpusSettings,
    report: Report,
    *,
    spool: Spool,
    verdicts: Verdicts,
    copies: Sequence[str],
) -> None:
    """Write training documents again that are to be repeated: all second ones behind all first ones, and so on."""
    near = settings.cleaning.near_duplicates
    if near is None or not settings.cleaning.drop_duplicates:
        return
    train = (verdicts.fates == Fate.kept) & (verdicts.ranks == PRECEDENCE.index(Split.train))
    for occurrence in range(2, max(near.repeat.values(), default=1) + 1):
        for number, one in spool.documents():
            if train[number] and near.repeat.get(copies[number], 1) >= occurrence:
                name = document_id(spool.keys.digests[number].astype(">u8").tobytes(), occurrence)
                metadata = {COPIES_KEY: copies[number], **one.metadata}
                document = Document(name, one.text, one.label, one.target, metadata)
                writer.write(document)
                report.count_repeat(document, Split.train)


def _show_places(out: Path, report: Report) -> None:
    """Tell the report where its samples stand."""
    samples = pa.array(report.sample_ids(), pa.string())
    for batch in parquet_file(out / PLACES_NAME).iter_batches(columns=["id", "where"]):
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
    enough = math.ceil(FEW_DOCUMENTS / settings.split.test) if settings.split.test else FEW_DOCUMENTS
    few = f"Add data: {enough:,} documents or so give the {FEW_DOCUMENTS} test documents that the gate asks for"
    for split, advice in _ADVICE.items():
        if not report.splits[split].documents:
            noun = "document" if count == 1 else "documents"
            dropped = report.account_of_drops(split)
            left_out = f", where {dropped}" if dropped else ""
            raise DataError(
                f"The corpus {settings.name} has {count:,} usable {noun}; none fell to the {split} split{left_out} "
                f"({report.account()}). {advice if count >= FEW_DOCUMENTS else few}.",
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
        files = raw_files(raw, file_format)
        damaged = (path for path in files if portable(path.relative_to(raw).as_posix()) in report.damaged_files)
        report.causes.update(causes(raw, file_format, damaged))
    if failure is not None:
        raise failure
