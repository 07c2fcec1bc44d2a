from __future__ import annotations

from pathlib import Path

import pytest

from langmill.errors import TrackingError
from langmill.tracking.connection import connect
from langmill.tracking.runs import find_run
from tests.refused import refused
from tests.unit.tracking.logs import URI

pytestmark = pytest.mark.unit


def test_a_provenance_can_not_carry_a_query(workspace: Path) -> None:
    client = connect(URI)
    with refused(TrackingError, "impossible", "provenance", "tags.y"):
        find_run(client, "x' OR tags.y = 'z")
