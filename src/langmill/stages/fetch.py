"""Fetch the raw data of a corpus."""

from __future__ import annotations

import logging

from langmill.config.compose import load_section
from langmill.config.sections import FormatSection, Source
from langmill.data.formats.base import build_format
from langmill.data.sources.base import build_source
from langmill.files import atomic_folder, read_json, write_manifest
from langmill.workspace import Workspace

logger = logging.getLogger(__name__)


def main(name: str) -> None:
    """Write build/raw/NAME from the corpus's source."""
    workspace = Workspace()
    path = workspace.composed_file("corpus", name)
    section = load_section(Source, path, "source")
    source = build_source(section, str(path))
    if source.can_change:
        source.recorded = read_json(workspace.fingerprint(name))
    file_format = build_format(load_section(FormatSection, path, "format"), str(path))
    with atomic_folder(workspace.raw(name)) as folder:
        skipped = source.fetch(file_format, folder, workspace.downloads)
        write_manifest(folder, {"corpus": name, "source": source.facts(), "skipped": skipped})
    if skipped:
        counts = ", ".join(f"{reason}: {count:,}" for reason, count in skipped.items())
        logger.warning("%s: files of %s are not read (%s)", name, section.path or section.kind, counts)
