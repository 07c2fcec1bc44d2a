from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from langmill.errors import IntegrityError, ModelError, RegistryError
from langmill.files import read_manifest, write_text
from langmill.models.folder import read_config
from langmill.registry.package import REQUIREMENTS, input_example, package, requirements, signature
from langmill.tasks.base import TASKS
from langmill.tasks.loading import task_of
from tests.refused import refused
from tests.unit.registry.building import CLASSIFIER, LANGUAGE_MODEL

pytestmark = pytest.mark.unit
PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt"}


@pytest.mark.parametrize("name", [LANGUAGE_MODEL, CLASSIFIER])
def test_a_package_holds_all_it_needs_and_no_pickle(built_models: Path, tmp_path: Path, name: str) -> None:
    build = built_models / "build"
    folder = package(build / "models" / name, build / "evaluation" / name, tmp_path / "package")
    assert read_manifest(folder / "artifacts" / "model", verify=True)["recipe"] == name
    assert read_manifest(folder / "artifacts" / "evaluation", verify=True)["recipe"] == name
    assert (folder / "code" / "langmill" / "tasks" / "loading.py").is_file()
    writes = folder / "artifacts" / "model" / "generation_config.json"  # as it was judged
    judged = build / "evaluation" / name / "generation_config.json"
    assert writes.is_file() == judged.is_file() == (name == LANGUAGE_MODEL)
    assert name != LANGUAGE_MODEL or writes.read_bytes() == judged.read_bytes()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in PICKLES]
    assert not [path for path in files if path.read_bytes()[:1] == b"\x80"]  # how every pickle since protocol 2 begins
    description = yaml.safe_load((folder / "MLmodel").read_text())
    flavour = description["flavors"]["python_function"]
    assert flavour["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert "python_model" not in flavour
    assert description["signature"]["inputs"] is not None
    assert (folder / "input_example.json").is_file()
    assert (folder / "requirements.txt").read_text().split() == requirements(build / "models" / name)


def test_a_package_carries_the_code_of_plugins(
    built_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The model's task made one of another package, which is then found from the packaged code alone."""
    site = tmp_path / "site"
    code = "from langmill.tasks.base import TASKS\nfrom langmill.tasks.language_modelling import LanguageModelling\n"
    code += '@TASKS.register("toy_writing")\nclass ToyWriting(LanguageModelling): ...\n'
    write_text(site / "toy_tasks" / "tasks.py", code)
    write_text(site / "toy_tasks" / "__init__.py", "")
    about = "Metadata-Version: 2.1\nName: toy-tasks\nVersion: 1.0\nRequires-Dist: pyyaml>=5\nRequires-Dist: langmill\n"
    write_text(site / "toy_tasks-1.0.dist-info" / "METADATA", about)
    points = "[langmill.tasks]\ntoy_writing = toy_tasks.tasks\n"
    write_text(site / "toy_tasks-1.0.dist-info" / "entry_points.txt", points)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        request.addfinalizer(lambda: TASKS._classes.pop("toy_writing", None))
        build = built_models / "build"
        config = read_config(build / "models" / LANGUAGE_MODEL)
        config["langmill"]["task"]["name"] = "toy_writing"
        patch.setattr("langmill.registry.package.read_config", lambda model: config)
        folder = package(build / "models" / LANGUAGE_MODEL, build / "evaluation" / LANGUAGE_MODEL, tmp_path / "package")
    pinned = (folder / "requirements.txt").read_text().lower().split()
    assert [line for line in pinned if line.startswith("pyyaml==")]
    assert not [line for line in pinned if line.startswith(("langmill", "toy"))]
    program = (
        "import sys; sys.path.insert(0, 'code')\n"
        "from importlib.metadata import entry_points\n"
        "(point,) = entry_points(group='langmill.tasks', name='toy_writing')\n"
        "print(point.dist.version, point.load().__file__)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1.0", str(folder / "code" / "toy_tasks" / "tasks.py")]


def test_requirements_are_pinned_to_what_an_index_has(built_models: Path) -> None:
    pinned = requirements(built_models / "build" / "models" / CLASSIFIER)
    assert [line.split("==")[0] for line in pinned] == list(REQUIREMENTS)
    assert not [line for line in pinned if "+" in line]


def test_a_damaged_model_is_not_packaged(workspace: Path, tmp_path: Path) -> None:
    model = workspace / "build" / "models" / LANGUAGE_MODEL
    (model / "config.json").write_text("{}")
    with refused(IntegrityError, "damaged", "config.json"):
        package(model, workspace / "build" / "evaluation" / LANGUAGE_MODEL, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_the_signature_follows_what_a_task_can_do(built_models: Path) -> None:
    from mlflow.types import DataType

    generates, classifies = (
        task_of(read_config(built_models / "build" / "models" / name), name)[0] for name in (LANGUAGE_MODEL, CLASSIFIER)
    )
    assert signature(generates).inputs.input_types() == signature(classifies).inputs.input_types() == [DataType.string]
    assert signature(generates).outputs.input_names() == ["text"]
    assert [param.name for param in signature(generates).params] == [
        "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "num_beams",
        "length_penalty", "seed",
    ]  # fmt: skip
    assert signature(classifies).outputs.input_names() == ["label", "probability", "probabilities"]
    assert signature(classifies).params is None


def test_a_task_that_neither_generates_nor_classifies_is_refused() -> None:
    class Silent:
        pass

    task: Any = Silent()
    with refused(RegistryError, "unsupported", "Silent", "Generates", "Classifies"):
        input_example(task)


@pytest.mark.parametrize("name", [LANGUAGE_MODEL, CLASSIFIER])
def test_a_package_answers_every_form_in_which_mlflow_asks(built_models: Path, tmp_path: Path, name: str) -> None:
    """As `load_model().predict`, `mlflow models predict` and `mlflow models serve` hand texts over."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    build = built_models / "build"
    folder = package(build / "models" / name, build / "evaluation" / name, tmp_path / "package")
    model = mlflow.pyfunc.load_model(str(folder))
    column = "prompt" if name == LANGUAGE_MODEL else "text"
    texts = ["A wonderful film", "a dull one"]
    params = {"temperature": 0.0, "max_new_tokens": 4} if name == LANGUAGE_MODEL else None
    records = [{column: text} for text in texts]
    expected = model.predict(pd.DataFrame({column: texts}), params=params)
    assert len(expected) == 2
    for given in (
        texts, {column: texts}, records, pd.Series(texts), pd.DataFrame({column: texts, "id": [1, 2]}),
    ):  # fmt: skip
        assert model.predict(given, params=params).equals(expected), given
    assert model.predict(texts[0], params=params).equals(model.predict({column: texts[0]}, params=params))
    example = model.metadata.load_input_example(str(folder))
    assert list(example.columns) == [column]
    assert len(model.predict(example, params=params)) == len(example) == 1
    for wrong in (
        None,
        [None],
        [*texts, ""],
        {column: ["a", None]},
        [],
        {},
        [3],
        {"a": texts},
        {"a": texts, column: texts},
    ):
        with pytest.raises((ModelError, MlflowException)):
            model.predict(wrong, params=params)

    def served(content: str, body: str) -> list[dict[str, object]]:
        answer = scoring_server.invocations(body, content, model, model.metadata.get_input_schema())
        assert answer.status == 200, answer.response
        return json.loads(answer.response)["predictions"]

    as_records = json.loads(expected.to_json(orient="records"))
    for body in (
        {"inputs": texts},
        {"inputs": records},
        {"instances": texts},
        {"dataframe_split": {"columns": [column], "data": [[text] for text in texts]}},
        {"dataframe_records": records},
    ):
        found = served("application/json", json.dumps({**body, **({"params": params} if params else {})}))
        assert [row[next(iter(row))] for row in found] == [row[next(iter(row))] for row in as_records], body
    with pytest.raises(MlflowException, match="un-named"):  # MLflow's own; docs/decisions/0634
        served("application/json", json.dumps({"inputs": {column: texts}}))
    csv = served("text/csv", f"{column}\n" + "\n".join(texts))
    assert [set(row) for row in csv] == [set(row) for row in as_records]
