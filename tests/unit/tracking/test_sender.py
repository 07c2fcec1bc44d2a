from __future__ import annotations

import logging
from pathlib import Path

import pytest

from langmill.tracking.run_log import RunLog
from langmill.tracking.sender import shipping
from tests.unit.tracking.logs import start

pytestmark = pytest.mark.unit


def test_no_address_ships_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), shipping(tmp_path, None):
        start(RunLog(tmp_path))
    assert not (tmp_path / "shipped.json").exists()
    assert not caplog.records
