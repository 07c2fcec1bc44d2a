"""What is said of a stage that is done."""

from __future__ import annotations

from langmill.data.contract.passed import read_note
from langmill.graph.dag import Stage
from langmill.graph.process import Outcome
from langmill.workspace import Workspace


def note_of(stage: Stage, outcome: Outcome) -> str:
    """Why a stage did not run, or what it warns of; nothing where there is nothing to say."""
    if stage.kind == "contract" and outcome is not Outcome.unchanged:
        warning = read_note(Workspace().contract(stage.address.partition("@")[2]))
        return "; ".join(filter(None, [outcome.note, warning]))
    return outcome.note
