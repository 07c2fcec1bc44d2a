"""The source that docs/guides/extending.md writes out runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from langmill.config.sections import Source
from langmill.data.sources import base
from langmill.data.sources.base import build_source, differences
from langmill.errors import SourceError
from tests.refused import refused
from tests.unit.data.settings import file_format
from tests.unit.data.sources.fetching import contents

pytestmark = pytest.mark.unit
GUIDE = (Path(__file__).parents[4] / "docs" / "guides" / "extending.md").read_text(encoding="utf-8")
FEED = "<rss><channel><item><guid>1</guid><description>{}</description></item></channel></rss>"


def test_a_source_in_one_file(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.SOURCES, "_classes", dict(base.SOURCES._classes))
    code = next(block for block in GUIDE.split("```python\n") if block.startswith("# toy/feed.py"))
    (tmp_path / "guide_feed.py").write_text(code.partition("```")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("guide_feed")
    feed = tmp_path / "feed.xml"
    feed.write_text(FEED.format("A letter"))
    source = build_source(Source("feed", [], None, {"url": feed.as_uri()}), "x.yaml")
    source.recorded = before = source.fingerprint(None, tmp_path)
    source.fetch(file_format(), into, tmp_path)
    assert contents(into) == {"feed.jsonl": '{"id": "1", "text": "A letter"}\n'}
    feed.write_text(FEED.format("Another letter"))
    assert differences(before, source.fingerprint(before, tmp_path)) == ["feed.jsonl has changed"]
    with refused(SourceError, "changed", "langmill refresh"):
        source.fetch(file_format(), into, tmp_path)
