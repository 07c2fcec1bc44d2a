"""What `langmill run` looks at before and after the flow's process."""

import shutil
from collections import namedtuple

import pytest

from langmill.cli.run import _data_reports, _require_space
from langmill.errors import SpaceError
from langmill.workspace import Workspace
from tests.refused import refused

pytestmark = pytest.mark.unit
Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_for_the_databases_is_told_before_anything_starts(tmp_path, monkeypatch):
    _require_space(tmp_path / "state")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1_500_000))
    with refused(SpaceError, "full", "1.5 MB", str(tmp_path / "state")):
        _require_space(tmp_path / "state")


def test_the_end_of_a_run_names_the_page_of_each_corpus_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Workspace().data_report("letters")
    for path in (page, Workspace().composed_file("recipe", "a"), Workspace().composed_file("recipe", "b")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("corpus:\n  name: letters\n")
    assert _data_reports(["a", "b", "never-composed"]) == [page]
    page.unlink()
    assert _data_reports(["a"]) == []
