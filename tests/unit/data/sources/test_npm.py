"""npm packages, without a network: npm is pointed at a server of the test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmill.config.sections import Source
from langmill.errors import SourceError, SourceUnreachableError
from tests.refused import refused
from tests.unit.data.settings import package
from tests.unit.data.sources.archives import Registry
from tests.unit.data.sources.fetching import contents, fetch

pytestmark = pytest.mark.unit
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that is the only one npm knows, by settings such as a user's own."""
    with Registry() as server:
        monkeypatch.setenv("NPM_CONFIG_USERCONFIG", os.devnull)
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.address)
        monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "npm-cache"))
        monkeypatch.setenv("NPM_CONFIG_FETCH_RETRY_MINTIMEOUT", "10")
        monkeypatch.setenv("NPM_CONFIG_FETCH_RETRY_MAXTIMEOUT", "10")
        yield server


def npm_package(sha256: str, *members: str, name: str = "@films/data", version: str = "1.0.0") -> Source:
    return package(sha256, *members, name=name, version=version, kind="npm")


@needs_npm
def test_members_of_an_npm_archive_and_none_of_its_scripts_run(registry: Registry, into: Path, tmp_path: Path) -> None:
    marker = tmp_path / "script-was-run"
    scripts = {name: f"touch {marker}" for name in ("prepack", "prepare", "postpack", "preinstall", "install")}
    sha256 = registry.add("@films/data", "1.0.0", {"data/a.csv": "a", "data/b.js": "x", "c.csv": "c"}, scripts)
    fetch(npm_package(sha256, "package/data/*.csv"), into, tmp_path / "downloads")
    assert contents(into) == {"@films/data/data/a.csv": "a"}
    assert not marker.exists()
    asked = len(registry.requests)
    assert asked > 0
    fetch(npm_package(sha256, "package/c.csv"), into, tmp_path / "downloads")
    assert len(registry.requests) == asked
    assert contents(into) == {"@films/data/c.csv": "c"}


@needs_npm
def test_another_npm_checksum_is_reported_with_both(registry: Registry, into: Path, tmp_path: Path) -> None:
    sha256 = registry.add("@films/data", "1.0.0", {"a.csv": "a"})
    with refused(SourceError, "damaged", "@films/data@1.0.0", sha256, "0" * 64):
        fetch(npm_package("0" * 64, "package/a.csv"), into, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").glob("*/*"))


@needs_npm
@pytest.mark.parametrize("name", ["@films/data", "plays"])
def test_a_package_that_no_registry_has(registry: Registry, into: Path, tmp_path: Path, name: str) -> None:
    registry.add("@films/data", "1.0.0", {"a.csv": "a"})
    with refused(SourceError, "unknown", f"{name}@2.0.0", "source.packages"):
        fetch(npm_package("0" * 64, "package/a.csv", name=name, version="2.0.0"), into, tmp_path / "downloads")


@needs_npm
def test_no_registry_answers(registry: Registry, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    with refused(SourceUnreachableError, "unreachable", "npm registry", "@films/data@1.0.0"):
        fetch(npm_package("0" * 64, "package/a.csv"), into, tmp_path / "downloads")


def test_npm_is_missing(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with refused(SourceError, "missing", "npm", "@films/data@1.0.0", "Node.js"):
        fetch(npm_package("0" * 64, "package/a.csv"), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("file:/etc", "1.0"),
        ("films", "1.0 --registry=x"),
        ("../films", "1.0"),
        ("@a/b/c", "1"),
        ("--help", "1"),
        ("a", "file:x"),
    ],
)
def test_npm_names_are_only_names(into: Path, tmp_path: Path, name: str, version: str) -> None:
    with refused(SourceError, "impossible", "of source.packages", "allowed are letters"):
        fetch(npm_package("0" * 64, "a.csv", name=name, version=version), into, tmp_path / "downloads")
