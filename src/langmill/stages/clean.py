"""Clean, deduplicate and split a corpus."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

from langmill.config.compose import load_section
from langmill.config.sections import Cleaning, Fields, FormatSection, Labels, Split
from langmill.data.cleaning.base import build_steps
from langmill.data.corpus import CorpusSettings, make_corpus
from langmill.data.document import DROPPED_NAME, QUARANTINE_NAME, REPORT_NAME
from langmill.data.formats.base import build_format
from langmill.data.report import Report
from langmill.data.report.page import PAGE_NAME
from langmill.data.sources.folder import raw_files
from langmill.errors import DataError
from langmill.files import atomic_folder, digest_of, read_manifest, write_json, write_manifest, write_text
from langmill.progress import track
from langmill.workspace import Workspace

logger = logging.getLogger(__name__)


def main(name: str) -> None:
    """Write build/documents/NAME from build/raw/NAME.

    Raises:
        DataError: No usable corpus comes of it; the report and the quarantine are then in .langmill/failed/clean@NAME.
    """
    workspace = Workspace()
    path = workspace.composed_file("corpus", name)
    settings = CorpusSettings(
        name,
        build_format(load_section(FormatSection, path, "format"), str(path)),
        load_section(Fields, path, "fields"),
        load_section(Cleaning, path, "cleaning"),
        load_section(Split, path, "split"),
        load_section(Labels, path, "labels"),
    )
    raw = workspace.raw(name)
    facts = read_manifest(raw, verify=True)
    size = sum(file.stat().st_size for file in raw_files(raw, settings.file_format))
    out, failed = workspace.documents(name), workspace.failed(f"clean@{name}")
    report = Report(name)
    report.skipped = facts.get("skipped", {})
    with atomic_folder(out) as folder, contextlib.ExitStack() as reading:
        progress = reading.enter_context(track(f"Cleaning {name}", size / 1e6, "MB"))
        try:
            make_corpus(
                raw, folder, settings, lambda count: progress.advance(count / 1e6), report, on_read=reading.close
            )
        except DataError as error:
            with atomic_folder(failed) as kept:
                for table in (QUARANTINE_NAME, DROPPED_NAME):
                    shutil.copy(folder / table, kept)
                report.illustrate(folder, build_steps(settings.cleaning, f"The corpus {name}"))
                _write_report(kept, report)
            error.args = (f"{error} What was read and what was left out is in {failed / 'report.md'}.",)
            raise
        report.illustrate(folder, build_steps(settings.cleaning, f"The corpus {name}"))
        _write_report(folder, report)
        write_manifest(folder, {"corpus": name, "documents": report.num_documents, "raw": digest_of(facts["files"])})
    shutil.rmtree(failed, ignore_errors=True)
    if words := report.warning():
        logger.warning("%s", words)
    if report.quarantined:
        causes = "".join(f"; {file}: {cause}" for file, cause in report.causes.items())
        logger.warning("%s: %s; the rows are in %s%s", name, report.account(), out / QUARANTINE_NAME, causes)


def _write_report(folder: Path, report: Report) -> None:
    write_json(folder / REPORT_NAME, report.as_json())
    write_text(folder / "report.md", report.as_markdown())
    write_text(folder / PAGE_NAME, report.as_html())
