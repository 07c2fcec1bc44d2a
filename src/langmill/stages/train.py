"""Train a recipe's model: from random weights, or from its base's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import yaml

from langmill.config.compose import compose_operation, load_section
from langmill.config.sections import Recipe
from langmill.training.fit import fit
from langmill.workspace import Workspace


def main(name: str) -> None:
    """Train build/models/NAME on build/shards/NAME."""
    workspace = Workspace()
    recipe = load_section(Recipe, workspace.composed_file("recipe", name))
    base = recipe.training.base
    fit(
        recipe,
        shards=workspace.shards(name),
        tokenizer=workspace.tokenizer(recipe.tokenizer.name),
        base=workspace.model(base) if base is not None else None,
        runs=workspace.runs,
        out=workspace.model(name),
        tracking_uri=compose_operation().tracking_uri,
        is_committed=is_committed,
    )


def is_committed(folder: Path) -> bool:
    """Whether dvc.lock lists a folder of exactly these files: DVC writes it after they are in its cache."""
    try:
        stages = yaml.safe_load(Workspace().graph_lock.read_text(encoding="utf-8"))["stages"]
        known = {out["md5"] for stage in stages.values() for out in stage.get("outs") or ()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False
    return dvc_digest(folder) in known


def dvc_digest(folder: Path) -> str:
    """DVC's digest of a folder: the MD5 of the sorted list of its files' digests."""
    listed = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        listed.append({"md5": digest, "relpath": path.relative_to(folder).as_posix()})
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
