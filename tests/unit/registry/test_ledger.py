from __future__ import annotations

from pathlib import Path

import pytest

from langmill.registry.ledger import Entry, Ledger

pytestmark = pytest.mark.unit


def write(ledger: Ledger, event: str, name: str = "reviews-lm", target: int = 2) -> Entry:
    return ledger.append(
        event, "promote", name, source=1, target=target, previous=None, reason="better", forced=False,
        verdict={"passed": True}, command="langmill run",
    )  # fmt: skip


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.entries() == []
    first, second = write(ledger, "begin"), write(ledger, "begin", name="sentiment")
    assert ledger.entries() == [first, second]
    assert ledger.entries("sentiment") == [second]
    assert first.who.count("@") == 1
    assert first.when.endswith("+00:00")


def test_a_move_is_unfinished_until_it_is_done_or_undone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.unfinished("reviews-lm") is None
    for end in ("done", "undone"):
        begun = write(ledger, "begin")
        write(ledger, "done", name="sentiment")
        assert ledger.unfinished("reviews-lm") == begun
        assert ledger.unfinished("sentiment") is None
        write(ledger, end)
        assert ledger.unfinished("reviews-lm") is None


def test_half_a_line_costs_only_itself(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first = write(ledger, "begin")
    with ledger.path.open("ab") as file:
        file.write(b'{"event":"do')
    second = write(ledger, "begin", target=3)
    assert ledger.entries() == [first, second]
