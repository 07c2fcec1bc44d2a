from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from langmill.registry.ledger import Entry, Ledger, Witness

pytestmark = pytest.mark.unit


def write(ledger: Ledger, event: str, name: str = "reviews-lm", target: int = 2) -> Entry:
    return ledger.append(
        Entry(
            event, "promote", name, source=1, target=target, previous=None, demoted=1, reason="better", forced=False,
            verdict={"passed": True}, command="langmill run",
        )
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


# The chain

NAME = "reviews-lm"


@pytest.fixture
def four(tmp_path: Path) -> Ledger:
    """Four entries of one model with one of another in between."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for event in ("begin", "done"):
        write(ledger, event)
        write(ledger, event, name="sentiment")
        write(ledger, event, target=3)
    return ledger


def changed(lines: list[str]) -> list[str]:
    values = json.loads(lines[2])
    return [*lines[:2], json.dumps({**values, "target": 9}), *lines[3:]]


def unhashed(lines: list[str]) -> list[str]:
    return [json.dumps({key: value for key, value in json.loads(line).items() if key != "digest"}) for line in lines]


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (changed, "was changed, or one before it was"),
        (lambda lines: [line.replace("better", "bettor") for line in lines], "was changed"),
        (lambda lines: lines[1:], "was changed, or one before it was"),
        (lambda lines: [*lines[:2], *lines[3:]], "was changed, or one before it was"),
        (lambda lines: [lines[2], *lines[:2], *lines[3:]], "was changed, or one before it was"),
        (lambda lines: [*lines[:2], lines[2][:40], *lines[3:]], "was changed, or one before it was"),
        (lambda lines: [*lines, lines[0]], "was changed, or one before it was"),
        (lambda lines: [*lines[:4], *unhashed(lines[4:])], "has no digest, though older ones have"),
        (lambda lines: lines[:-1], "it has 3 entries of reviews-lm where the registry remembers 4"),
        (unhashed, "it has 0 entries of reviews-lm where the registry remembers 4"),
        (lambda lines: [], "it has 0 entries of reviews-lm where the registry remembers 4"),
    ],
)
def test_what_was_done_to_the_file_is_noticed(
    four: Ledger, tamper: Callable[[list[str]], list[str]], told: str
) -> None:
    witness = four.witness(NAME)
    assert witness is not None
    assert witness.entries == 4
    assert four.complaint(NAME, witness) is None
    lines = four.path.read_text().splitlines()
    four.path.write_text("".join(f"{line}\n" for line in tamper(lines)))
    assert told in str(four.complaint(NAME, witness))


def test_a_ledger_that_is_gone_is_noticed_by_the_witness(four: Ledger) -> None:
    witness = four.witness(NAME)
    four.path.unlink()
    assert "0 entries of reviews-lm where the registry remembers 4" in str(four.complaint(NAME, witness))
    assert four.complaint(NAME, None) is None


def test_another_ledger_of_the_same_length_is_noticed(four: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other.jsonl")
    for target in (2, 2, 2, 2):
        write(other, "begin", target=target)
    assert "entry 4 of reviews-lm is not the one" in str(other.complaint(NAME, four.witness(NAME)))


def test_a_witness_may_lag_behind(four: Ledger) -> None:
    """A crash between the file and the registry is no damage."""
    witness = four.witness(NAME)
    write(four, "begin")
    assert four.complaint(NAME, witness) is None


def test_half_a_line_breaks_no_chain(four: Ledger) -> None:
    with four.path.open("ab") as file:
        file.write(b'{"event":"do')
    write(four, "begin")
    assert four.complaint(NAME, four.witness(NAME)) is None


def test_entries_of_before_the_chain_are_read_and_stand_outside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    entry = dataclasses.asdict(write(ledger, "done"))
    for key in ("digest", "demoted", "restart"):
        del entry[key]
    ledger.path.write_text(json.dumps(entry) + "\n")
    (old,) = ledger.entries(NAME)
    assert (old.demoted, old.digest) == (old.source, None)
    assert ledger.complaint(NAME, None) is None
    assert ledger.witness(NAME) is None
    write(ledger, "begin")
    assert ledger.complaint(NAME, None) is None
    assert ledger.witness(NAME) == Witness(1, str(ledger.entries(NAME)[-1].digest))


def test_a_chain_begun_anew_forgives_what_was_before(four: Ledger) -> None:
    four.path.write_text(four.path.read_text().replace('"target":3', '"target":4'))
    complaint = four.complaint(NAME, four.witness(NAME))
    assert complaint is not None
    entry = four.append(
        Entry(
            "begin", "promote", NAME, source=1, target=2, previous=None, demoted=1, reason="seen", forced=True,
            verdict=None, command="test",
        ),
        restart=complaint,
    )  # fmt: skip
    assert four.complaint(NAME, four.witness(NAME)) is None
    assert four.witness(NAME) == Witness(1, str(entry.digest))


def test_a_witness_that_makes_no_sense_fits_nothing(four: Ledger) -> None:
    for text in ("", "four", "0 abc", "-1 abc", "4"):
        assert four.complaint(NAME, Witness.parse(text)) is not None
    witness = four.witness(NAME)
    assert witness is not None
    assert Witness.parse(witness.text()) == witness


def test_the_champion_is_the_target_of_the_last_finished_move(four: Ledger) -> None:
    write(four, "begin", target=7)
    write(four, "undone", target=7)
    done = four.done(NAME)
    assert done is not None
    assert done.target == 3
    assert four.done("unknown") is None
