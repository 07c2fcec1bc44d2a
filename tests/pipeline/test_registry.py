"""From a model folder to a champion that any process can load, for both tasks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langmill.config.sections import Recipe
from langmill.registry import steps
from langmill.registry.promote import promote
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, State, Tag
from tests.unit.registry.building import CLASSIFIER, LANGUAGE_MODEL, URI, recipe_of, restamp_evaluation

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def workspace(built_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("workspace") / "workspace"
    shutil.copytree(built_models, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        restamp_evaluation(folder, LANGUAGE_MODEL, 0.5)  # as if it had learned something
        yield folder


def line(recipe: Recipe) -> tuple[Any, Any, Any, Any]:
    """The flow's four steps, one after the other."""
    made = steps.package_and_register(recipe, URI)
    validation = steps.validate_version(recipe, made.version, URI)
    verdict = steps.judge_version(recipe, made.version, URI)
    return made, validation, verdict, steps.promote_if_passed(made.version, verdict, URI, "make-models")


def answer(code: str, workspace: Path) -> Any:
    """What a process that knows only MLflow gets from a model, pickle disallowed, as JSON."""
    program = "import json, mlflow, pandas as pd\n" + textwrap.dedent(code)
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{workspace}/.langmill/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_language_model_goes_into_service(workspace: Path) -> None:
    recipe = recipe_of(LANGUAGE_MODEL)
    made, validation, verdict, promotion = line(recipe)
    # Passed: MLflow, in a process of its own, answered the package's input example, as its own tools would.
    assert (made.fresh, validation.outcome, validation.fresh, verdict.outcome) == (
        True, "passed", True, "passed",
    ), (validation, verdict)  # fmt: skip
    assert (promotion.moved, promotion.champion) == (True, 1)
    champion = ModelRegistry(URI).champion(LANGUAGE_MODEL)
    assert champion is not None
    assert champion.state == State.validated
    assert float(champion.tags[Tag.latency]) > 0

    told = answer(
        """
        model = mlflow.pyfunc.load_model("models:/reviews-lm@champion")
        ask = lambda **params: model.predict(pd.DataFrame({"prompt": ["A dull", "It"]}), params=params)["text"].tolist()
        fixed = {"max_new_tokens": 4, "temperature": 1.0}
        print(json.dumps({
            "one": ask(seed=1, **fixed), "same": ask(seed=1, **fixed), "other": ask(seed=2, **fixed),
            "plain": len(model.predict(pd.DataFrame({"prompt": ["A dull"]}))),
            "signature": str(model.metadata.signature),
            "code": __import__("langmill").__file__,
        }))
        """,
        workspace,
    )
    assert told["one"] == told["same"] != told["other"]
    assert told["plain"] == 1
    assert "max_new_tokens" in told["signature"]
    assert told["code"].startswith(str(workspace / ".langmill" / "artifacts"))  # the package's own code


def test_a_second_time_nothing_is_done(workspace: Path) -> None:
    made, validation, verdict, promotion = line(recipe_of(LANGUAGE_MODEL))
    assert (made.fresh, validation.fresh, verdict.outcome, promotion.moved) == (False, False, "unchanged", False)
    assert [version.version for version in ModelRegistry(URI).versions(LANGUAGE_MODEL)] == [1]


def test_a_classifier_is_refused_put_in_service_by_hand_and_loaded(workspace: Path) -> None:
    made, validation, verdict, promotion = line(recipe_of(CLASSIFIER))
    assert (validation.outcome, verdict.outcome, promotion.moved) == ("passed", "refused", False)
    assert verdict.against == "the baseline majority"
    promote(ModelRegistry(URI), CLASSIFIER, made.version.version, force="to try it", command="test")
    told = answer(
        f"""
        model = mlflow.pyfunc.load_model("models:/{CLASSIFIER}@champion")
        print(model.predict(pd.DataFrame(dict(text=["A wonderful film.", "A dull film."]))).to_json(orient="records"))
        """,
        workspace,
    )
    assert len(told) == 2
    for row in told:
        assert row["label"] in ("0", "1")
        assert sum(row["probabilities"].values()) == pytest.approx(1.0)
        assert row["probability"] == pytest.approx(row["probabilities"][row["label"]])


def test_the_ledger_tells_both_moves(workspace: Path) -> None:
    entries = ModelRegistry(URI).ledger.entries()
    done = [(entry.name, entry.target, entry.forced) for entry in entries if entry.event == "done"]
    assert done == [(LANGUAGE_MODEL, 1, False), (CLASSIFIER, 1, True)]
    assert ModelRegistry(URI).aliased(CLASSIFIER, CHAMPION) is not None
