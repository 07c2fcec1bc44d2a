"""What `langmill run` looks at before and after the flow's process."""

import shutil
from collections import namedtuple

import pytest

from langmill.cli.run import _require_space
from langmill.errors import SpaceError
from tests.refused import refused

pytestmark = pytest.mark.unit
Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_for_the_databases_is_told_before_anything_starts(tmp_path, monkeypatch):
    _require_space(tmp_path / "state")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1_500_000))
    with refused(SpaceError, "full", "1.5 MB", str(tmp_path / "state")):
        _require_space(tmp_path / "state")
