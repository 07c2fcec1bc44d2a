"""Model folders without merged weights: the base's weights and the adapter, of which the base's are kept once.

A package of a model that was tuned by an adapter holds the base's weights as they came and the adapter, instead of the
sum of both, if that sum gives the model's own weights to the bit. In a registry on this machine the base's weights of
all such packages are one file with several names. Whoever fetches a version gets a whole folder again, with the
SHA-256 that was registered. docs/decisions/0535 says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from langmill.errors import IntegrityError, LangmillError
from langmill.files import (
    MANIFEST_NAME,
    explained_os_errors,
    link_or_copy,
    read_json,
    read_manifest,
    sha256_file,
    write_json,
    write_manifest,
)
from langmill.models.folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE_WEIGHTS,
    MERGE_NAME,
    WEIGHTS_NAME,
    load_tensors,
    merged_weights,
)
from langmill.models.low_rank import Recipe, find_recipe
from langmill.workspace import Workspace

_BASE_FOLDER = BASE_WEIGHTS.partition("/")[0]
_MERGED = "merged_sha256"
"""The entry of a compact folder's manifest with the SHA-256 of the weights that are made of it."""


def make_compact(folder: Path) -> bool:
    """Put the base's weights into a model folder in place of merged ones, if they and the adapter give these.

    Returns whether they do: there is an adapter, the base is in the workspace, and every bit is the same. Where not,
    the folder stays as it is.
    """
    weights, manifest = folder / WEIGHTS_NAME, read_manifest(folder, verify=False)
    base = manifest.get("base")
    if not isinstance(base, dict) or not (folder / ADAPTER_WEIGHTS).is_file():
        return False
    theirs = Workspace().model(str(base["recipe"])) / WEIGHTS_NAME
    if not theirs.is_file() or (found := _recipe(folder, theirs)) is None:
        return False
    digest = manifest.pop("files")[WEIGHTS_NAME]
    (folder / _BASE_FOLDER).mkdir()
    link_or_copy(theirs, folder / BASE_WEIGHTS)
    write_json(folder / MERGE_NAME, {"header": found.header, "base": found.base, "adapter": found.adapter})
    weights.unlink()
    write_manifest(folder, {**manifest, _MERGED: digest})
    return True


def _recipe(folder: Path, base: Path) -> Recipe | None:
    config = read_json(folder / ADAPTER_CONFIG)
    try:
        tuned, adapter = load_tensors(folder / WEIGHTS_NAME), load_tensors(folder / ADAPTER_WEIGHTS)
        return find_recipe(_header(folder / WEIGHTS_NAME), tuned, load_tensors(base), adapter, config)
    except LangmillError:
        return None  # a base that was damaged since; the model's own weights are whole


def _header(path: Path) -> str:
    """The header of a file of safetensors: its length in eight bytes, then that much JSON."""
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little")).decode()


def make_whole(folder: Path) -> None:
    """Merge the weights of a compact model folder, whose files have been checked; a whole one stays as it is.

    Raises:
        IntegrityError: The weights are not those that were registered.
        SpaceError: The disk is full.
    """
    if not (folder / MERGE_NAME).is_file():
        return
    manifest, weights = read_manifest(folder, verify=False), folder / WEIGHTS_NAME
    digest = manifest.pop(_MERGED)
    with explained_os_errors(weights), weights.open("wb") as file:
        for piece in _pieces(folder):
            file.write(piece)
    if sha256_file(weights) != digest:
        raise IntegrityError(
            f"its base's weights and its adapter do not give the weights that {MANIFEST_NAME} promises."
        )
    files = {name: each for name, each in manifest.pop("files").items() if name not in (BASE_WEIGHTS, MERGE_NAME)}
    shutil.rmtree(folder / _BASE_FOLDER)
    (folder / MERGE_NAME).unlink()
    write_json(folder / MANIFEST_NAME, {**manifest, "files": {**files, WEIGHTS_NAME: digest}})


def _pieces(folder: Path) -> Iterator[bytes | memoryview]:
    """The bytes of the merged file: its header, and one weight after the other."""
    header = json.loads((folder / MERGE_NAME).read_text(encoding="utf-8"))["header"].encode()
    yield len(header).to_bytes(8, "little") + header
    for _, weight in merged_weights(folder):
        yield weight.contiguous().view(-1).view(torch.uint8).numpy().data


def keep_once(folder: Path, bases: Path) -> None:
    """Make the base's weights of a compact folder a further name of the file of that SHA-256 in `bases`.

    The first folder's own file becomes that. Files that no folder has any more are removed. On a file system without
    such names the folder keeps a copy of its own.

    Args:
        folder: The model folder, in its place in the registry.
        bases: The folder of shared weights, on the same file system.
    """
    if not (folder / BASE_WEIGHTS).is_file():
        return
    weights, digest = folder / BASE_WEIGHTS, read_manifest(folder, verify=False)["files"][BASE_WEIGHTS]
    kept, new = bases / f"{digest}.safetensors", weights.with_suffix(".new")
    bases.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        try:
            if kept.is_file() and sha256_file(kept) == digest:
                os.link(kept, new)
                os.replace(new, weights)
            else:
                os.link(weights, new)
                os.replace(new, kept)
            weights.chmod(0o444)
        finally:
            new.unlink(missing_ok=True)  # renamed to itself, a second name stays
    for each in bases.glob("*.safetensors"):
        if each.stat().st_nlink == 1:
            each.unlink(missing_ok=True)
