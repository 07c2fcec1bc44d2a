"""Finding takes time that grows with the text and not with its square, whatever the text is.

`tests/unit/test_patterns.py` tries each pattern alone; here are the detectors, with all that they do around theirs.
"""

from __future__ import annotations

import pytest

from langmill.data.cleaning.detectors.base import build_finder
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit
FINDER = build_finder(None, {"phone": {"regions": ["US", "DE"]}, "ip": {"private": True}})
UNITS = [
    "1", "0 ", "1-", "12 345 ", "+49 30 ", "+1", "(1", "1/", "(212) 555 ", "4111 1111 1111 1111 ", "4111111111111111",
    "@", "a@", "a.a.a.", "a@a.", "[at] ", "a [dot] ", "x@y.zz ", "1.", "1.2.3.4 ", "8.8.8.8.", "2001:", "2001:0:", "::",
    "AB12", "DE89 ", "DE89370400440532013000", "eyJ", "eyJa.", "-----BEGIN PRIVATE KEY-----", "sk-", "ghp_", "_",
    ":", "=", "password=", "password=a1B2c3! ", "://", "://a:", "://a:b@", "a:a:", "Bearer ", 'secret="', "tel ", "é",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_finding_takes_linear_time(unit: str) -> None:
    require_linear(FINDER.find, lambda size: "x" + unit * (size // len(unit)))


def test_a_long_run_of_digits_is_no_number() -> None:
    assert FINDER.find("7" * 200_000) == []
