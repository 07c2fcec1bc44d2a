"""Registered models and their versions: the one module that talks to MLflow's model registry.

MLflow moves an alias atomically, but the last writer wins and nothing is remembered; it takes broken models without a
word. What Langmill adds: registering is idempotent, an alias moves only from where the caller believes it to be and is
then read back, and a downloaded model is checked against its manifest.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmill.errors import ConflictError, LangmillError, RegistryError
from langmill.files import atomic_folder, exclusive_lock, read_manifest
from langmill.registry.ledger import Ledger
from langmill.tracking import connect, database_path, explained_tracking_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"

MODEL_PATH = "artifacts/model"
"""Where a package keeps the model folder."""
EVALUATION_PATH = "artifacts/evaluation"
"""Where a package keeps the evaluation folder."""


class Tag:
    """The names of the tags on a version."""

    provenance = "langmill.provenance"
    weights = "langmill.weights_sha256"
    recipe = "langmill.recipe"
    task = "langmill.task"
    test_set = "langmill.test_set"
    protocol = "langmill.protocol"
    trivial = "langmill.trivial_baseline"
    strong = "langmill.strong_baseline"
    metric = "langmill.metric"
    value = "langmill.value"
    low = "langmill.value_low"
    high = "langmill.value_high"
    parameters = "langmill.parameters"
    documents = "langmill.training_documents"
    data_bytes = "langmill.training_bytes"
    size = "langmill.size_bytes"
    state = "langmill.state"
    reason = "langmill.reason"
    latency = "langmill.latency_ms"
    verdict = "langmill.verdict"
    rolled_back = "langmill.rolled_back"


class State:
    """What a version's validation said."""

    registered = "registered"
    validated = "validated"
    rejected = "rejected"


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: int
    aliases: tuple[str, ...]
    provenance: str
    """The digest of what the model was made from; "" for a version that Langmill did not register."""
    run_id: str | None
    """Its run in MLflow."""
    tags: Mapping[str, str]
    created: datetime

    @property
    def state(self) -> str:
        """One of `State`."""
        return self.tags.get(Tag.state, State.registered)

    @property
    def title(self) -> str:
        """As a person calls it: `reviews-lm version 3`."""
        return f"{self.name} version {self.version}"


class Registry:
    """The registered models behind a tracking address."""

    def __init__(self, tracking_uri: str) -> None:
        """Make a registry; nothing is asked before the first call that needs an answer."""
        self.tracking_uri = tracking_uri
        database = database_path(tracking_uri)
        self._state = database.parent if database else Path.cwd() / ".langmill"
        self.ledger = Ledger(self._state / "ledger.jsonl")

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.tracking_uri)

    # Reading ---------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The registered models, sorted.

        Raises:
            TrackingError: The registry can't be asked; so for every method here.
        """
        client = self._client
        with explained_tracking_errors(self.tracking_uri):
            return sorted(str(model.name) for model in client.search_registered_models(max_results=1000))

    def versions(self, name: str) -> list[ModelVersion]:
        """The versions of a model, oldest first; none for a name that is not registered."""
        client, aliases = self._client, self._aliases(name)
        with explained_tracking_errors(self.tracking_uri):
            found, token = [], None
            while True:
                page = client.search_model_versions(f"name='{_checked(name)}'", max_results=1000, page_token=token)
                found += list(page)
                token = page.token
                if not token:
                    break
        return sorted((_version(item, aliases) for item in found), key=lambda version: version.version)

    def version(self, name: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            RegistryError: There is no such version.
        """
        client, aliases = self._client, self._aliases(name)
        with explained_tracking_errors(self.tracking_uri), _missing_as_none() as found:
            found.append(client.get_model_version(_checked(name), str(version)))
        if not found:
            raise RegistryError(f"{name} has no version {version}; `langmill status` lists what there is.")
        return _version(found[0], aliases)

    def aliased(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to; None where it points nowhere."""
        number = self._aliases(name).get(alias)
        return None if number is None else self.version(name, number)

    def champion(self, name: str) -> ModelVersion | None:
        """The version in service; None before the first promotion."""
        return self.aliased(name, CHAMPION)

    def description(self, version: ModelVersion) -> str:
        """What a version is for, as its recipe said when it was registered."""
        client = self._client
        with explained_tracking_errors(self.tracking_uri):
            return str(client.get_model_version(_checked(version.name), str(version.version)).description or "")

    def find(self, name: str, provenance: str, weights: str) -> ModelVersion | None:
        """The newest version with this provenance and these weights (SHA-256 of the file).

        Both are asked for: on another kind of processor the same provenance gives slightly other weights, and a version
        must be what it says it is.
        """
        matching = [
            version
            for version in self.versions(name)
            if version.provenance == provenance and version.tags.get(Tag.weights) == weights
        ]
        return matching[-1] if matching else None

    def _aliases(self, name: str) -> dict[str, int]:
        client = self._client
        with explained_tracking_errors(self.tracking_uri), _missing_as_none() as found:
            found.append(client.get_registered_model(_checked(name)))
        return {alias: int(version) for alias, version in found[0].aliases.items()} if found else {}

    # Writing ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the registry's lock in this workspace, waiting for it; other workspaces on a shared server are not held.

        Against those stands that every move says what it expects and is read back.
        """
        with exclusive_lock(self._state / "locks" / "registry.lock", "Changing the model registry", wait=True):
            yield

    def register(
        self,
        package: Path,
        *,
        name: str,
        provenance: str,
        weights: str,
        run_id: str,
        tags: Mapping[str, str],
        description: str,
    ) -> tuple[ModelVersion, bool]:
        """Make a packaged model a new version, unless it is one already.

        Args:
            package: A folder made by `langmill.registry.package`.
            name: The registered model, made if it is new.
            provenance: The digest of what the model was made from.
            weights: SHA-256 of its weights file.
            run_id: The run in MLflow that made it; the package is kept among that run's artifacts.
            tags: What to note on the version, by the names in `Tag`.
            description: One sentence on what the model is for.

        Returns:
            The version, and whether it is new.

        Raises:
            RegistryError: MLflow refused.
        """
        client = self._client
        with self.locked(), explained_tracking_errors(self.tracking_uri):
            known = self.find(name, provenance, weights)
            if known is not None:
                return known, False
            folder = f"model-{weights[:12]}"
            client.log_artifacts(run_id, str(package), folder)
            with _existing_is_fine():
                client.create_registered_model(_checked(name), description=description)
            made = client.create_model_version(
                name,
                f"{client.get_run(run_id).info.artifact_uri}/{folder}",
                run_id=run_id,
                tags={**tags, Tag.provenance: provenance, Tag.weights: weights, Tag.state: State.registered},
                description=description,
            )
            return self.version(name, int(made.version)), True

    def note(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        client = self._client
        with explained_tracking_errors(self.tracking_uri):
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.version), key, value)

    def unnote(self, version: ModelVersion, key: str) -> None:
        """Take a tag off a version, if it is there."""
        client = self._client
        if key in version.tags:
            with explained_tracking_errors(self.tracking_uri):
                client.delete_model_version_tag(version.name, str(version.version), key)

    def move_alias(self, name: str, alias: str, to: int | None, expected: int | None) -> None:
        """Let an alias point elsewhere, if it points where the caller believes: compare and swap, then read back.

        Args:
            name: The registered model.
            alias: The alias.
            to: The version it shall point to; None removes it.
            expected: The version it points to now; None where it must not exist.

        Raises:
            ConflictError: It pointed elsewhere, or someone else moved it at the same moment.
            RegistryError: There is no version `to`.
        """
        with self.locked():
            self.move_alias_locked(name, alias, to, expected)

    def move_alias_locked(self, name: str, alias: str, to: int | None, expected: int | None) -> None:
        """`move_alias` for a caller that holds `locked`."""
        client = self._client
        current = self._aliases(name).get(alias)
        if current != expected:
            raise ConflictError(
                f"{alias} of {name} points to {_told(current)} and not to {_told(expected)} any more: someone else "
                "moved it. Nothing was changed; look with `langmill status` and try again."
            )
        if to == current:
            return
        if to is not None:
            self.version(name, to)
        with explained_tracking_errors(self.tracking_uri):
            if to is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, str(to))
        found = self._aliases(name).get(alias)
        if found != to:
            raise ConflictError(
                f"{alias} of {name} was moved to {_told(to)}, yet points to {_told(found)}: someone else moved it at "
                "the same moment. Look with `langmill status`."
            )

    # Files -----------------------------------------------------------------------------------------------------------

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fetch a version's model folder and check it against its manifest.

        Args:
            name: The registered model.
            version: Its version.
            into: The folder to make or replace; it is whole or not there.

        Raises:
            IntegrityError: The files are not those that were registered.
            RegistryError: There is no such version, or its files are gone.
        """
        return self._fetch(name, version, MODEL_PATH, into)

    def download_evaluation(self, name: str, version: int, into: Path) -> Path:
        """Fetch the evaluation that a version was registered with. Raises as `download` does."""
        return self._fetch(name, version, EVALUATION_PATH, into)

    def _fetch(self, name: str, version: int, part: str, into: Path) -> Path:
        source = f"{self._location(name, version)}/{part}"
        with explained_tracking_errors(self.tracking_uri):
            from mlflow.artifacts import download_artifacts

            into.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as temporary:
                try:
                    found = Path(download_artifacts(source, dst_path=temporary, tracking_uri=self.tracking_uri))
                except Exception as error:
                    if not isinstance(error, FileNotFoundError) and "No such artifact" not in str(error):
                        raise
                    raise RegistryError(
                        f"The files of {name} version {version} are gone from {source}. Put them back, or roll back to "
                        "a version whose files are there."
                    ) from error
                if not found.is_dir():
                    raise RegistryError(f"{name} version {version} has no {part} in {source}; it can't be used.")
                with atomic_folder(into) as target:
                    shutil.copytree(found, target, dirs_exist_ok=True)
                    read_manifest(target, verify=True)
        return into

    def _location(self, name: str, version: int) -> str:
        client = self._client
        self.version(name, version)
        with explained_tracking_errors(self.tracking_uri):
            return str(client.get_model_version_download_uri(name, str(version))).rstrip("/")

    # A fast look -----------------------------------------------------------------------------------------------------

    def overview(self) -> list[ModelVersion]:
        """Every version that an alias points to, by model and version.

        Where the registry is a local database it is read without MLflow, whose import alone takes longer than `langmill
        status` may; if its tables look otherwise than expected, MLflow is asked after all.
        """
        path = database_path(self.tracking_uri)
        if path is not None:
            if not path.is_file():
                return []
            try:
                return _read_aliased(path)
            except sqlite3.Error:
                pass
        return [version for name in self.names() for version in self.versions(name) if version.aliases]


def _read_aliased(path: Path) -> list[ModelVersion]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        rows = database.execute(
            "SELECT v.name, v.version, v.run_id, v.creation_time, a.alias FROM model_versions v "
            "JOIN registered_model_aliases a ON a.name = v.name AND a.version = v.version ORDER BY v.name, v.version"
        ).fetchall()
        tags: dict[tuple[str, int], dict[str, str]] = {}
        for name, version, key, value in database.execute("SELECT name, version, key, value FROM model_version_tags"):
            tags.setdefault((name, int(version)), {})[key] = value
    aliases: dict[tuple[str, int], list[str]] = {}
    for name, version, _, _, alias in rows:
        aliases.setdefault((name, int(version)), []).append(alias)
    found = {(name, int(version)): (run_id, created) for name, version, run_id, created, _ in rows}
    return [
        ModelVersion(
            name,
            version,
            tuple(sorted(aliases[name, version])),
            tags.get((name, version), {}).get(Tag.provenance, ""),
            run_id,
            tags.get((name, version), {}),
            _time(created),
        )
        for (name, version), (run_id, created) in found.items()
    ]


def _version(item: Any, aliases: Mapping[str, int]) -> ModelVersion:
    number = int(item.version)
    mine = tuple(sorted(alias for alias, version in aliases.items() if version == number))
    tags = dict(item.tags)
    return ModelVersion(
        str(item.name),
        number,
        mine,
        tags.get(Tag.provenance, ""),
        item.run_id or None,
        tags,
        _time(item.creation_timestamp),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _told(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


def _checked(name: str) -> str:
    """A model's name that can stand in a filter. Raises RegistryError for others."""
    if not name or any(character in "'\"/:`%" for character in name):
        raise RegistryError(f"{name!r} can't be the name of a registered model; use letters, digits, - and _.")
    return name


@contextlib.contextmanager
def _missing_as_none() -> Iterator[list[Any]]:
    """Collects what the block finds; stays empty where MLflow says that there is no such thing."""
    found: list[Any] = []
    try:
        yield found
    except LangmillError:
        raise
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
            raise


@contextlib.contextmanager
def _existing_is_fine() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise
