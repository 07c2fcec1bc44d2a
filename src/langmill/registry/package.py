"""Wrap a model folder as an MLflow model: models from code, safetensors, signature, example, pinned requirements.

Nothing in a package is pickled. Its layout:

    MLmodel, requirements.txt, …    MLflow's description
    pyfunc_model.py                 what MLflow runs to load the model
    code/langmill/                  Langmill's current code, so that the package outlives the installed version
    code/…                          likewise that of the plug-ins which bring its task or its architecture, with the
                                    metadata by which their entry points are found
    artifacts/model/                the model folder, with its manifest; it writes as it was judged. Of a model with
                                    an adapter the base's weights and the adapter, where these give its own to the
                                    bit (`compact.py`)
    artifacts/evaluation/           the evaluation it was registered with, so that a later challenger can be compared
                                    with this model, document by document
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import langmill
from langmill.errors import RegistryError
from langmill.files import MANIFEST_NAME, link_or_copy, read_manifest, write_manifest, write_text
from langmill.models.base import ARCHITECTURES
from langmill.models.folder import CONFIG_NAME, GENERATION_NAME, read_config
from langmill.plugins import PlugIn, find_plugins
from langmill.registry.compact import make_compact
from langmill.tasks.base import TASKS, Classifies, Generates, Task
from langmill.tasks.loading import task_of
from langmill.tracking.connection import quiet_mlflow
from langmill.tracking.explained import explained_tracking_errors

# What loading and answering import; pinned to what is installed, since that is what was tested.
REQUIREMENTS = ("mlflow", "numpy", "pyarrow", "pydantic", "safetensors", "tiktoken", "tokenizers", "torch")

GENERATION_PARAMETERS = {
    "max_new_tokens": "long",
    "temperature": "double",
    "top_k": "long",
    "top_p": "double",
    "min_p": "double",
    "repetition_penalty": "double",
    "num_beams": "long",
    "length_penalty": "double",
    "seed": "long",
}
"""What a caller of a model that writes may say, in MLflow's types."""
_one_at_a_time = threading.Lock()  # MLflow keeps the model that it is saving in a global variable
_EXAMPLES = {"prompt": "The film was", "text": "A wonderful film, I laughed and cried."}


def package(model: Path, evaluation: Path, into: Path) -> Path:
    """Make a package of a model folder and its evaluation in `into`, which must not exist.

    Raises:
        IntegrityError: A file of either folder differs from its manifest.
        RegistryError: The task's models can neither generate nor classify.
        TrackingError: MLflow refused to write the package.
    """
    for folder in (model, evaluation):
        read_manifest(folder, verify=True)
    task, _ = task_of(read_config(model), str(model / CONFIG_NAME))
    quiet_mlflow()
    with (
        _one_at_a_time,
        explained_tracking_errors("the package of a model"),
        tempfile.TemporaryDirectory(dir=into.parent) as temporary,
    ):
        import mlflow.pyfunc

        code = Path(temporary) / "code"
        _copy_code(Path(langmill.__file__).parent, code)
        for plugin in _plugins(model):
            for path in plugin.packages:
                _copy_code(path, code)
            _write_metadata(plugin, code)
        named = {"model": Path(temporary) / "model", "evaluation": Path(temporary) / "evaluation"}
        # MLflow names what it copies after the last part of its path, which is the recipe's name for both.
        _copy_model(model, evaluation, named["model"])
        shutil.copytree(evaluation, named["evaluation"], copy_function=link_or_copy)
        mlflow.pyfunc.save_model(
            str(into),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={part: str(path) for part, path in named.items()},
            code_paths=[str(path) for path in sorted(code.iterdir())],
            signature=signature(task),
            input_example=input_example(task),
            pip_requirements=requirements(model),
            metadata={"langmill": langmill.__version__},
        )
    for part in ("model", "evaluation"):
        read_manifest(into / "artifacts" / part, verify=True)
    return into


def _plugins(model: Path) -> list[PlugIn]:
    """The other distributions that bring a model's task or architecture."""
    own = read_config(model)["langmill"]
    return find_plugins([(ARCHITECTURES.group, own["model"]["architecture"]), (TASKS.group, own["task"]["name"])])


def _copy_model(model: Path, evaluation: Path, into: Path) -> None:
    """Copy a model folder, with the `generation_config.json` of its evaluation: a model is served as it was judged."""
    judged = evaluation / GENERATION_NAME
    left_out = shutil.ignore_patterns(GENERATION_NAME, MANIFEST_NAME) if judged.is_file() else None
    shutil.copytree(model, into, copy_function=link_or_copy, ignore=left_out)
    if judged.is_file():
        link_or_copy(judged, into / GENERATION_NAME)
        facts = read_manifest(model, verify=False)
        del facts["files"]
        write_manifest(into, facts)
    make_compact(into)


def _copy_code(path: Path, into: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, into / path.name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copyfile(path, into / path.name)


def _write_metadata(plugin: PlugIn, into: Path) -> None:
    """What Python finds a distribution's entry points by: a folder beside its code."""
    folder = into / f"{re.sub(r'[-_.]+', '_', plugin.name)}-{plugin.version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {plugin.name}\nVersion: {plugin.version}\n"
    write_text(folder / "METADATA", about)
    groups: dict[str, list[str]] = {}
    for point in plugin.entry_points:
        groups.setdefault(point.group, []).append(f"{point.name} = {point.value}")
    write_text(folder / "entry_points.txt", "\n".join("\n".join([f"[{group}]", *groups[group]]) for group in groups))


def signature(task: Task) -> Any:
    """MLflow's signature of a task's models: a column in, columns out, parameters. Raises as `input_example`.

    The column in has no name there: MLflow would refuse a plain list of texts, which has none. In a table it must have
    that of the example, which the packaged model sees to.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Map

    inputs = Schema([ColSpec(DataType.string) for _ in input_example(task).columns])
    if isinstance(task, Classifies):
        columns = {"label": DataType.string, "probability": DataType.double, "probabilities": Map(DataType.double)}
        return ModelSignature(inputs, Schema([ColSpec(kind, name) for name, kind in columns.items()]))
    # No default: None leaves it to the model's generation_config.json, and only so can it be told from what was asked.
    params = [ParamSpec(name, DataType[kind], None) for name, kind in GENERATION_PARAMETERS.items()]
    return ModelSignature(inputs, Schema([ColSpec(DataType.string, "text")]), ParamSchema(params))


def input_example(task: Task) -> Any:
    """One row of what a task's models take, as a table; RegistryError where they neither generate nor classify."""
    import pandas as pd

    if not isinstance(task, Classifies | Generates):
        raise RegistryError(
            f"A {type(task).__name__} can neither generate nor classify, so its models can't be packaged; "
            "let it be a Generates or a Classifies (langmill.tasks.base).",
            "unsupported",
        )
    column = "text" if isinstance(task, Classifies) else "prompt"
    return pd.DataFrame({column: [_EXAMPLES[column]]})


def requirements(model: Path) -> list[str]:
    """What a model's package needs, pinned; local parts of a version (`+cpu`) left out, as no index has them."""
    architecture = ARCHITECTURES.find(read_config(model)["langmill"]["model"]["architecture"])
    needed = {name for plugin in _plugins(model) for name in map(_installed_name, plugin.requires) if name}
    names = sorted({*REQUIREMENTS, *architecture.libraries, *needed})
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in names]


def _installed_name(requirement: str) -> str | None:
    """The distribution that a plug-in's requirement names; None for Langmill itself and for what is not installed."""
    found = re.match(r"[\w.-]+", requirement)
    if found is None or found[0].lower() == "langmill":
        return None
    try:
        return str(importlib.metadata.distribution(found[0]).name)
    except importlib.metadata.PackageNotFoundError:
        return None  # of an extra that nobody asked for
