"""The files of a version: fetched from wherever MLflow keeps them, and checked against their manifests.

What works on tensors is imported where it is needed: who moves a champion fetches nothing, and must not wait for torch.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from langmill.errors import IntegrityError, RegistryError
from langmill.files import MANIFEST_NAME, atomic_folder, changed_files, link_or_copy, temporary_folder
from langmill.tracking.explained import explained_tracking_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MODEL_PATH = "artifacts/model"
"""Where a package keeps the model folder."""
EVALUATION_PATH = "artifacts/evaluation"
"""Where a package keeps the evaluation folder."""
_RESTORE = "Put back what was registered, or roll back to a version whose files are whole."
_REGISTER_ANEW = "Delete the version in MLflow's pages, and `langmill run` registers the model anew."


def download(tracking_uri: str, title: str, source: str, into: Path) -> Path:
    """Fetch one folder of a package of the version `title` and check it against its manifest.

    `into` is made or replaced, whole or not at all.

    Raises:
        IntegrityError: The files are not those that were registered.
        RegistryError: They are gone.
        TrackingError: They can't be fetched.
    """
    from langmill.models.folder import BASE_WEIGHTS
    from langmill.registry.compact import make_whole

    with explained_tracking_errors(tracking_uri):
        into.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(into.parent) as temporary, atomic_folder(into) as target:
            found = _downloaded(tracking_uri, title, source, temporary, _RESTORE)

            def copy(file: str, to: str) -> None:  # the base's weights are read there and not kept
                (link_or_copy if Path(file) == found / BASE_WEIGHTS else shutil.copy2)(file, to)

            shutil.copytree(found, target, dirs_exist_ok=True, copy_function=copy)
            _check(target, title, source, _RESTORE)
            try:
                make_whole(target)
            except IntegrityError as error:
                raise IntegrityError(f"{title} is damaged in {source}: {error} {_RESTORE}") from error
    return into


@contextlib.contextmanager
def downloaded_package(tracking_uri: str, title: str, source: str) -> Iterator[Path]:
    """A whole package in a local folder, its parts checked against their manifests. Raises as `download` does."""
    with temporary_folder() as temporary:
        folder = _downloaded(tracking_uri, title, source, temporary, _REGISTER_ANEW)
        for part in (MODEL_PATH, EVALUATION_PATH):
            _check(folder / part, title, f"{source}/{part}", _REGISTER_ANEW)
        yield folder


def upload(client: MlflowClient, run_id: str, package: Path, name: str, bases: Path | None) -> str:
    """Keep a package among the artifacts of a run, and return where.

    Args:
        client: MLflow's.
        run_id: The run.
        package: The package's folder.
        name: What it is called there.
        bases: Where weights that several packages have are kept once; None where they can't be shared.
    """
    from langmill.models.folder import BASE_WEIGHTS
    from langmill.registry.compact import keep_once

    place = f"{client.get_run(run_id).info.artifact_uri}/{name}"
    here = Path(unquote(urlsplit(place).path)) / MODEL_PATH if place.startswith("file:") else None
    if here is not None:  # of an upload that was cut short: a copy would be written into the file that others share
        (here / BASE_WEIGHTS).unlink(missing_ok=True)
    client.log_artifacts(run_id, str(package), name)
    if here is not None and bases is not None:
        keep_once(here, bases)
    return place


def local_size(source: str) -> int:
    """The bytes of a package that lies on this machine; 0 of one that lies elsewhere."""
    if not source.startswith("file:"):
        return 0
    folder = Path(unquote(urlsplit(source).path))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _downloaded(tracking_uri: str, title: str, source: str, into: Path, remedy: str) -> Path:
    """The files at `source`: in place where they lie on this machine, else fetched into `into`."""
    gone = RegistryError(f"The files of {title} are gone from {source}. {remedy}", "missing")
    if source.startswith("file:"):  # MLflow would say the same place, after seconds of imports
        found = Path(unquote(urlsplit(source).path))
        if not found.is_dir():
            raise gone
        return found
    with explained_tracking_errors(tracking_uri):
        from mlflow.artifacts import download_artifacts

        try:
            found = Path(download_artifacts(source, dst_path=str(into), tracking_uri=tracking_uri))
        except Exception as error:
            if not isinstance(error, FileNotFoundError) and "No such artifact" not in str(error):
                raise
            raise gone from error
    if not found.is_dir():
        raise gone
    return found


def _check(folder: Path, title: str, source: str, remedy: str) -> None:
    """Compare a part of a package with its manifest, and name the place where it lies in the registry."""
    try:
        changed = changed_files(folder)
    except IntegrityError:
        changed = [MANIFEST_NAME]
    if changed:
        raise IntegrityError(
            f"{title} is damaged in {source}: {', '.join(changed)} differ from {MANIFEST_NAME}. {remedy}"
        )
