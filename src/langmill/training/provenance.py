"""Provenance: the digest of data, code, settings, base and kind of machine that decide a model's bytes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import langmill
from langmill.config.compose import plain
from langmill.config.sections import Recipe
from langmill.errors import TrainingError
from langmill.files import digest_files, digest_of, read_manifest, sha256_file
from langmill.models.base import ARCHITECTURES
from langmill.plugins import find_plugins
from langmill.tasks.base import TASKS
from langmill.tokenization.companion import tokenizer_digest
from langmill.training.hardware import accelerator_kind, number_format

CODE = ("models", "stages/train.py", "tasks", "tokenization", "training")
"""Parts of the package that influence a training's result; `train` and `finetune` in dvc.yaml list them too."""
LIBRARIES = ("numpy", "pytorch-lightning", "tokenizers", "torch")
"""Distributions that influence every training's result."""
WITHOUT_INFLUENCE = ("checkpoint_every", "log_every", "samples")
"""Training settings that never change the result. (The number of threads does: sums are added in another order.) DVC
knows the section as a whole, so that it trains again all the same, to the same provenance and bytes."""


@dataclass(frozen=True)
class Provenance:
    """The digest of everything that decides a model's bytes, and its parts."""

    digest: str
    """SHA-256 over the parts: equal for two trainings with the same result."""
    parts: dict[str, Any]
    """`recipe` (its name stands in the model's `config.json`), `settings`, `data` (digest of each file of tokens),
    `tokenizer`, `base` (its digest or null), `code` (digest of each folder), `plugins` (digest of each other
    distribution that brings the task or the architecture), `versions` and `machine` (what `auto` means on it: the kind
    of device and the number format of the products)."""
    base: dict[str, str] | None
    """The recipe and digest of the model that training starts from."""
    pretrained: dict[str, Any] | None = None
    """The `name`, `licence` and `source` of the model of other authors that it all began with, if it did."""


def compute_provenance(recipe: Recipe, shards: Path, tokenizer: Path, base: Path | None) -> Provenance:
    """Compute the provenance of a model about to be trained, from the folder of tokens and the tokenizer's file.

    Raises:
        IntegrityError: A folder is not a finished result.
        ConfigError: The code of a plug-in can't be found.
        TrainingError: The base model has no provenance.
    """
    settings, architecture = plain(recipe), recipe.model.architecture
    training = {key: value for key, value in settings["training"].items() if key not in WITHOUT_INFLUENCE}
    origin = pretrained = None
    if base is not None:
        manifest = read_manifest(base, verify=False)
        if "provenance" not in manifest:
            message = f"{base} has no provenance in its manifest; make it again with `dvc repro`."
            raise TrainingError(message, code="missing")
        origin = {"recipe": str(manifest["recipe"]), "provenance": str(manifest["provenance"])}
        pretrained = manifest.get("pretrained")
        if "source" in manifest:
            pretrained = {"name": origin["recipe"], **{key: manifest.get(key) for key in ("licence", "source")}}
    plugins = [(ARCHITECTURES.group, architecture), (TASKS.group, recipe.task.name)]
    libraries = (*LIBRARIES, *ARCHITECTURES.find(architecture).libraries)
    parts = {
        "recipe": recipe.name,
        "settings": {"task": settings["task"], "model": settings["model"], "training": training},
        "data": read_manifest(shards, verify=False)["files"],
        "tokenizer": tokenizer_digest(tokenizer),
        "base": origin["provenance"] if origin else None,
        "code": code_digests(Path(langmill.__file__).parent),
        "plugins": {plugin.name: plugin.digest for plugin in find_plugins(plugins)},
        "versions": {"langmill": langmill.__version__, **{name: version(name) for name in libraries}},
        "machine": {
            "accelerator": accelerator_kind(recipe.training).value,
            "precision": number_format(recipe.training).value,
        },
    }
    return Provenance(digest_of(parts), parts, origin, pretrained)


def code_digests(package: Path) -> dict[str, str]:
    """Digest of each part of `CODE` below the package's folder."""
    return {
        name: sha256_file(package / name) if name.endswith(".py") else digest_of(digest_files(package / name))
        for name in CODE
    }
