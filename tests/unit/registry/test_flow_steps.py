"""What the flow does with a model once it is made, without Prefect's engine."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.make_models import _registry_steps
from langmill.config.compose import compose_operation
from langmill.events import UP_TO_DATE
from langmill.registry.evidence import Evidence
from langmill.registry.gathering import Case
from langmill.registry.outcomes import settled
from langmill.registry.promote import promote
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, Tag
from tests.unit.registry.building import URI, recipe_of, registered
from tests.unit.registry.judging import NAME, in_this_process

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[3] / "conf"


@pytest.mark.parametrize("another_protocol", [False, True])
def test_a_champion_is_scored_again_before_the_gate_is_asked(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, another_protocol: bool
) -> None:
    old = registered(workspace, NAME, seed=1, factor=1.0)
    promote(ModelRegistry(URI), NAME, 1, force="for the test", command="test")
    if another_protocol:
        ModelRegistry(URI).note(old, {Tag.protocol: "another"})
    registered(workspace, NAME, seed=2, factor=0.5)
    scored = in_this_process(monkeypatch)
    graph: Any = SimpleNamespace(maker=lambda kind, name: SimpleNamespace(address=f"evaluate@{name}"))
    operation = compose_operation(conf=CONF)
    assert operation.tracking_uri == URI
    gathered: list[str] = []
    gather = Case.gather

    def counted(case: Case, unscored: str = "") -> Evidence:
        gathered.append(unscored)
        return gather(case, unscored)

    monkeypatch.setattr(Case, "gather", counted)
    done: dict[str, Any] = {}
    notes: dict[str, str] = {}
    idle: dict[str, bool] = {}
    for step in _registry_steps(graph, recipe_of(NAME), operation, threading.Event()):
        verb = step.key.removesuffix(f" {NAME}")
        assert step.alone == (verb == "rescore")  # beside a training it would take its cores
        assert all(key in done for key in step.upstream if "@" not in key)
        done[step.key] = None if verb == "validate" else step.work(done)  # `registered` took it as validated
        notes[verb] = step.note(done[step.key]) if verb != "validate" else ""
        idle[verb] = step.idle(done[step.key])
    assert scored == (["reviews-lm version 1"] if another_protocol else [])
    assert len(gathered) == (2 if another_protocol else 1)  # anew only where there is more to know
    assert notes == {
        "register": "version 2, as before",
        "validate": "",
        "rescore": "" if another_protocol else UP_TO_DATE,
        "gate": "passed",
        "promote": "reviews-lm version 2 is the champion now in place of version 1.",
    }
    assert idle == {
        "register": True, "validate": True, "rescore": not another_protocol, "gate": True, "promote": False,
    }  # fmt: skip
    champion = ModelRegistry(URI).aliased(NAME, CHAMPION)
    note = settled(NAME)
    assert champion is not None and note is not None
    assert champion.version == note.version == note.champion == 2
