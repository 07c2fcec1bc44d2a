from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from langmill.registry.status import baseline, status, worth
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, ModelVersion, State, Tag
from tests.unit.registry.building import LANGUAGE_MODEL, URI, registered

pytestmark = pytest.mark.unit


def version(**tags: str) -> ModelVersion:
    return ModelVersion("sentiment", 3, (), "", None, tags, datetime.now(UTC))


def test_a_metric_comes_with_its_interval() -> None:
    tags = {Tag.metric: "accuracy", Tag.value: "0.91234", Tag.low: "0.9", Tag.high: "0.92345"}
    assert worth(version(**tags)) == "3  accuracy 0.9123 [0.9, 0.9234]"
    assert worth(version(**{Tag.metric: "accuracy", Tag.value: "0.5"})) == "3  accuracy 0.5"
    assert worth(version()) == "3"
    assert worth(None) == "-"


def test_the_baselines_stand_beside_it(workspace: Path) -> None:
    made = registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    for tag, name in ((Tag.trivial, "unigram"), (Tag.strong, "trigram")):
        found, value = baseline(made, tag).split()
        assert found == name and 0 < float(value) < 5
    assert baseline(version(), Tag.strong) == baseline(None, Tag.trivial) == "-"
    assert baseline(version(**{Tag.strong: "tfidf_logistic_regression 0.71"}), Tag.strong) == (
        "tfidf_logistic_regression 0.71"
    )


def test_every_model_that_an_alias_points_into_is_listed(workspace: Path) -> None:
    assert status(URI) == []
    made = registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    (found,) = status(URI)
    assert (found.name, found.champion, found.previous) == (LANGUAGE_MODEL, None, None)
    assert found.challenger == made
    registry = ModelRegistry(URI)
    registry.move_alias(LANGUAGE_MODEL, CHAMPION, 1, None)
    registry.note(made, {Tag.state: State.rejected, Tag.reason: "Its files are damaged."})
    (found,) = status(URI)
    assert found.champion is not None
    assert found.notes == ("The champion failed validation: Its files are damaged.",)


def test_a_look_at_the_registry_needs_no_mlflow(workspace: Path) -> None:
    """`langmill status` has three seconds, MLflow's import takes most of them."""
    import subprocess

    registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    code = f"import sys; from langmill.registry.status import status; assert status({URI!r}); " + (
        "sys.exit(bool({'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
