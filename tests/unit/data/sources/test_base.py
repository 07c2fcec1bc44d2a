"""Sources are found by their kind, refuse wrong settings, and state facts that hold on any machine."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from langmill.config.sections import Source
from langmill.data.sources.base import SOURCES, build_source
from langmill.errors import Code, ConfigError
from tests.refused import refused
from tests.unit.data.settings import local, package

pytestmark = pytest.mark.unit


def facts(source: Source) -> dict[str, Any]:
    return build_source(source, "tiny.yaml").facts()


def test_the_shipped_sources_are_known() -> None:
    assert SOURCES.names() == ["files", "hub", "npm", "pypi", "python", "sql", "url"]


@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        (Source("ftp", [], None), "unknown", ["source.kind: ftp", "files, hub, npm, pypi, python, sql, url."]),
        (Source("pypy", [], None), "unknown", ["files, hub, npm, pypi, python, sql, url.", "Did you mean pypi?"]),
        (Source("pypi", [], None), "impossible", ["source.packages is an empty list", "at least one package"]),
        (
            package("0" * 64, "a.csv", kind="files"),
            "impossible",
            ["source.packages is {package: films", "members: [a.csv]}", "empty list for the kind files"],
        ),
        (Source("files", [], ""), "impossible", ["source.path is an empty text", "the path of a file or a folder"]),
        (Source("python", [], None, {"depth": 1}), "unknown", ["source.options.depth", "known are none"]),
    ],
)
def test_refusals(source: Source, code: Code, told: list[str]) -> None:
    with refused(ConfigError, code, "x.yaml: ", *told):
        build_source(source, "x.yaml")


def test_facts_name_no_path_of_this_machine(tmp_path: Path) -> None:
    assert facts(local(tmp_path / "mine")) == {"kind": "files", "name": "mine"}
    assert facts(package("0" * 64, "a.csv")) == {
        "kind": "pypi",
        "packages": [{"package": "films", "version": "1.0", "sha256": "0" * 64, "members": ["a.csv"]}],
    }
    python = facts(Source("python", [], None))
    assert python == {"kind": "python", "implementation": "CPython", "version": platform.python_version()}
