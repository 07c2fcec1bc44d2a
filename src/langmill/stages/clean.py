"""Clean, deduplicate and split a corpus."""

from __future__ import annotations

import logging
from pathlib import Path

from langmill.config.compose import load_section
from langmill.config.sections import Cleaning, Fields, FormatSection, Split
from langmill.data.corpus import QUARANTINE_NAME, CorpusSettings, make_corpus
from langmill.data.formats.base import build_format
from langmill.files import atomic_folder, digest_of, read_manifest, write_json, write_manifest, write_text
from langmill.progress import track

logger = logging.getLogger(__name__)


def main(name: str) -> None:
    """Write build/documents/NAME from build/raw/NAME."""
    path = Path(f"build/config/corpus/{name}.yaml")
    settings = CorpusSettings(
        name,
        build_format(load_section(FormatSection, path, "format"), str(path)),
        load_section(Fields, path, "fields"),
        load_section(Cleaning, path, "cleaning"),
        load_section(Split, path, "split"),
    )
    raw = Path(f"build/raw/{name}")
    raw_digest = digest_of(read_manifest(raw, verify=True)["files"])
    size = sum(file.stat().st_size for file in settings.file_format.files(raw))
    out = Path(f"build/documents/{name}")
    with (
        atomic_folder(out) as folder,
        track(f"Cleaning {name}", size / 1e6, "MB") as progress,
    ):
        report = make_corpus(raw, folder, settings, lambda count: progress.advance(count / 1e6))
        write_json(folder / "report.json", report.as_json())
        write_text(folder / "report.md", report.as_markdown())
        write_manifest(folder, {"corpus": name, "documents": report.num_documents, "raw": raw_digest})
    if report.quarantined:
        logger.warning("%s: %s; the rows are in %s", name, report.account(), out / QUARANTINE_NAME)
