"""Python's standard library as a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from langmill.config.sections import Source
from langmill.data.sources import standard_library
from langmill.data.sources.base import build_source
from langmill.errors import SourceError
from tests.refused import refused
from tests.unit.data.settings import file_format
from tests.unit.data.sources.fetching import contents, fetch

pytestmark = pytest.mark.unit


def test_the_standard_library_without_tests_and_what_is_installed(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "lib"
    for name in (
        "json/__init__.py", "json/tool.py", "textwrap.py", "unittest/test/testmock/x.py", "site-packages/json/x.py",
        "test/test_json.py", "idlelib/run.py", "_sysconfigdata__linux.py", "sitecustomize.py", "json/data.txt",
        "lib2to3/tests/x.py",
    ):  # fmt: skip
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(name)
    monkeypatch.setattr(standard_library.sysconfig, "get_path", lambda name: {"stdlib": str(library)}[name])
    functions = file_format("python_functions", max_lines=10)
    build_source(Source("python", [], None), "tiny.yaml").fetch(functions, into, tmp_path / "downloads")
    assert list(contents(into)) == ["json/__init__.py", "json/tool.py", "textwrap.py"]
    with refused(SourceError, "missing", "standard library", "format"):
        fetch(Source("python", [], None), into, tmp_path / "downloads")
