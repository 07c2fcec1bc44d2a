"""Registered models and their versions: the one module that talks to MLflow's model registry.

What Langmill adds to it: registering is idempotent, an alias moves only from where the caller believes it to be and is
then read back, a champion that was moved by other means is noticed (`record.py`), and a downloaded model is checked
against its manifest (`artifacts.py`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from langmill.errors import ConflictError, RegistryError
from langmill.files import exclusive_lock
from langmill.registry import artifacts
from langmill.registry.database import read_aliased, read_models
from langmill.registry.facts import FACTS_TAG, packed, repacked
from langmill.registry.ledger import Entry, Ledger
from langmill.registry.local import registry_client
from langmill.registry.record import ModelRecord
from langmill.registry.versions import CHAMPION, ModelVersion, State, Tag, checked_name, version_of
from langmill.tracking.addresses import database_path
from langmill.tracking.explained import existing_is_fine, explained_tracking_errors, missing_as_none
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_Found = TypeVar("_Found")


class ModelRegistry:
    """The registered models behind a tracking address. Every method raises TrackingError where that can't be asked."""

    def __init__(self, tracking_uri: str) -> None:
        """Make a registry; nothing is asked before the first call that needs an answer."""
        self.tracking_uri = tracking_uri
        database = database_path(tracking_uri)
        self._local = database is not None
        self._state = database.parent if database else Workspace(Path.cwd()).state
        self._bases = self._state / "bases" if self._local else None
        self.ledger = Ledger(self._state / "ledger.jsonl")

    @cached_property
    def _client(self) -> MlflowClient:
        return registry_client(self.tracking_uri)

    @contextlib.contextmanager
    def _mlflow(self) -> Iterator[MlflowClient]:
        client = self._client
        with explained_tracking_errors(self.tracking_uri):
            yield client

    # Reading ---------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The registered models, sorted."""
        with self._mlflow() as client:
            return sorted(str(model.name) for model in client.search_registered_models(max_results=1000))

    def versions(self, name: str) -> list[ModelVersion]:
        """The versions of a model, oldest first; none for a name that is not registered."""
        aliases = self._aliases(name)
        with self._mlflow() as client:
            found, token = [], None
            while True:
                page = client.search_model_versions(f"name='{checked_name(name)}'", max_results=1000, page_token=token)
                found += list(page)
                token = page.token
                if not token:
                    break
        return sorted((version_of(item, aliases) for item in found), key=lambda version: version.version)

    def version(self, name: str, version: int) -> ModelVersion:
        """One version; RegistryError where there is no such."""
        with self._mlflow() as client, missing_as_none() as found:
            found.append(client.get_model_version(checked_name(name), str(version)))
        if not found:
            raise RegistryError(f"{name} has no version {version}; `langmill status` lists what there is.", "unknown")
        return version_of(found[0], dict.fromkeys(found[0].aliases, version))  # a version knows its own

    def aliased(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to; None where it points nowhere."""
        number = self._aliases(name).get(alias)
        return None if number is None else self.version(name, number)

    def champion(self, name: str) -> ModelVersion | None:
        """The champion according to the alias and to what Langmill wrote down; None before the first promotion.

        Raises:
            RegistryError: The two disagree, or the ledger was tampered with (the message says how to settle it).
        """
        complaint = self.record(name).champion_complaint()
        if complaint is not None:
            raise RegistryError(complaint, "mismatch")
        return self.aliased(name, CHAMPION)

    def record(self, name: str) -> ModelRecord:
        """What is known of a model now, in MLflow and in the ledger, and what is wrong with it."""
        aliases, tags = self._model(name)
        return ModelRecord(name, aliases, tags, lambda version: self.exists(name, version), self.ledger, self._local)

    def exists(self, name: str, version: int) -> bool:
        """Whether there is such a version."""
        return any(one.version == version for one in self.versions(name))

    def find(self, name: str, provenance: str, weights: str, generation: str | None = None) -> ModelVersion | None:
        """The newest version with this provenance, weights and, if given, `generation_config.json` (as SHA-256).

        All are asked for: on another kind of processor the same provenance gives slightly other weights, how a model
        writes may change without a training, and a version must be what it says it is.
        """
        matching = [
            version
            for version in self.versions(name)
            if version.provenance == provenance
            and version.tags.get(Tag.weights) == weights
            and generation in (None, version.tags.get(Tag.generation, generation))  # older versions do not say
        ]
        return matching[-1] if matching else None

    def _aliases(self, name: str) -> dict[str, int]:
        return self._model(name)[0]

    def _model(self, name: str) -> tuple[dict[str, int], dict[str, str]]:
        """A registered model's aliases and tags."""
        with self._mlflow() as client, missing_as_none() as found:
            found.append(client.get_registered_model(checked_name(name)))
        if not found:
            return {}, {}
        return {alias: int(version) for alias, version in found[0].aliases.items()}, dict(found[0].tags)

    # Writing ---------------------------------------------------------------------------------------------------------

    def write(self, entry: Entry, *, accept: bool = False) -> None:
        """Write an entry of the ledger, and its witness on the registered model, whose lock the caller holds.

        With `accept` a new chain begins where the ledger was tampered with. Else the old witness stays, so that the
        damage goes on being reported.
        """
        record = self.record(entry.name)
        complaint = record.ledger_complaint()
        self.ledger.append(entry, restart=complaint or "" if accept else "")
        witness = self.ledger.witness(entry.name)
        if (complaint is None or accept) and witness is not None:
            self.note_model(entry.name, record.witness_tag, witness.text())

    def note_model(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model."""
        with self._mlflow() as client:
            client.set_registered_model_tag(checked_name(name), key, value)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a model's lock in this workspace, waiting for it; other workspaces on a shared server are not held.

        Against those stands that every move says what it expects and is read back. Nothing slow is done under it: a
        rollback must not wait.
        """
        with self._lock(f"registry-{checked_name(name)}", f"Changing what is in service of {name}"):
            yield

    def _lock(self, lock: str, purpose: str) -> contextlib.AbstractContextManager[None]:
        return exclusive_lock(self._state / "locks" / f"{lock}.lock", purpose, wait=True)

    def register(
        self,
        package: Path,
        *,
        name: str,
        provenance: str,
        weights: str,
        generation: str = "",
        run_id: str,
        tags: Mapping[str, str],
        description: str,
        card: str = "",
    ) -> tuple[ModelVersion, bool]:
        """Make a packaged model a new version, unless it is one already: the version, and whether it is new.

        Of several processes that register versions of one model one uploads at a time; moves do not wait for it.

        Args:
            package: A folder made by `langmill.registry.package`; it is kept among the artifacts of the run.
            name: The registered model, made if it is new.
            provenance: The digest of what the model was made from.
            weights: SHA-256 of its weights file.
            generation: SHA-256 of the evaluation's `generation_config.json`; "" where there is none.
            run_id: The run in MLflow that made it.
            tags: What to note on the version, by the names in `Tag`.
            description: One sentence on what the model is for.
            card: What MLflow's page of the version says, in Markdown; it begins with the description. "": that alone.
        """
        registering = self._lock(f"register-{checked_name(name)}", f"Registering a version of {name}")
        with registering, self._mlflow() as client:
            known = self.find(name, provenance, weights, generation)
            if known is not None:
                return known, False
            folder = f"model-{weights[:12]}{f'-{generation[:8]}' if generation else ''}"
            place = artifacts.upload(client, run_id, package, folder, self._bases)
            with existing_is_fine():
                client.create_registered_model(name, description=description)
            facts = {Tag.provenance: provenance, Tag.weights: weights, Tag.generation: generation}
            made = client.create_model_version(
                name,
                place,
                run_id=run_id,
                tags={**packed({**tags, **facts}, {Tag.task}), Tag.state: State.registered},
                description=card or description,
            )
            return self.version(name, int(made.version)), True

    def note(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._mlflow() as client:
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.version), key, value)

    def unnote(self, version: ModelVersion, key: str) -> None:
        """Take a tag off a version, if it is there."""
        if key not in version.tags:
            return
        number = str(version.version)
        with self._mlflow() as client:
            own = dict(client.get_model_version(version.name, number).tags)
            if key in own:
                client.delete_model_version_tag(version.name, number, key)
            without = repacked(own, key)
            if without is not None:
                client.set_model_version_tag(version.name, number, FACTS_TAG, without)

    def move_alias(self, name: str, alias: str, to: int | None, expected: int | None) -> None:
        """Let an alias point to a version (None removes it): compare with what it should point to now, swap, read back.

        Raises:
            ConflictError: It pointed elsewhere, or someone else moved it at the same moment.
            RegistryError: There is no such version.
        """
        with self.locked(name):
            self.move_alias_locked(name, alias, to, expected)

    def move_alias_locked(self, name: str, alias: str, to: int | None, expected: int | None) -> None:
        """`move_alias` for a caller that holds the model's lock."""
        current = self._aliases(name).get(alias)
        if current != expected:
            raise ConflictError(
                f"{alias} of {name} points to {_title(current)} and not to {_title(expected)} any more: someone else "
                "moved it. Nothing was changed; look with `langmill status` and try again."
            )
        if to == current:
            return
        if to is not None:
            self.version(name, to)
        with self._mlflow() as client:
            if to is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, str(to))
        found = self._aliases(name).get(alias)
        if found != to:
            raise ConflictError(
                f"{alias} of {name} was moved to {_title(to)}, yet points to {_title(found)}: someone else moved it at "
                "the same moment. Look with `langmill status`."
            )

    # Files -----------------------------------------------------------------------------------------------------------

    def download(self, name: str, version: int, into: Path) -> Path:
        """Fetch a version's model folder and check it against its manifest; `into` is whole or not there.

        Raises:
            IntegrityError: The files are not those that were registered.
            RegistryError: There is no such version, or its files are gone.
        """
        return self._download(name, version, artifacts.MODEL_PATH, into)

    def download_evaluation(self, name: str, version: int, into: Path) -> Path:
        """Fetch the evaluation that a version was registered with. Raises as `download` does."""
        return self._download(name, version, artifacts.EVALUATION_PATH, into)

    def package(self, version: ModelVersion) -> contextlib.AbstractContextManager[Path]:
        """A version's package in a local folder, its parts checked against their manifests. Raises as `download`."""
        source = self.location(version.name, version.version)
        return artifacts.downloaded_package(self.tracking_uri, version.title, source)

    def _download(self, name: str, version: int, part: str, into: Path) -> Path:
        source = f"{self.location(name, version)}/{part}"
        return artifacts.download(self.tracking_uri, f"{name} version {version}", source, into)

    def location(self, name: str, version: int) -> str:
        """Where MLflow keeps a version's package. Raises as `version`."""
        self.version(name, version)
        with self._mlflow() as client:
            return str(client.get_model_version_download_uri(name, str(version))).rstrip("/")

    # A fast look -----------------------------------------------------------------------------------------------------

    def overview(self) -> list[ModelVersion]:
        """Every version that an alias points to, by model and version.

        Where the registry is a local database it is read without MLflow, whose import alone takes longer than `langmill
        status` may; if its tables look otherwise than expected, MLflow is asked after all.
        """
        found = self._read_locally(read_aliased)
        if found is not None:
            return found
        return [version for name in self.names() for version in self.versions(name) if version.aliases]

    def complaints(self) -> dict[str, str]:
        """What is wrong with what is known of each model's champion, by model; found as fast as `overview`."""
        models = self._read_locally(read_models)
        if models is None:
            records = [self.record(name) for name in self.names()]
        else:
            records = [
                ModelRecord(name, aliases, tags, versions.__contains__, self.ledger, self._local)
                for name, (aliases, tags, versions) in models.items()
            ]
        return {record.name: complaint for record in records if (complaint := record.complaint()) is not None}

    def numbers(self) -> dict[str, set[int]]:
        """The versions' numbers of every model; found as fast as `overview`."""
        models = self._read_locally(read_models)
        if models is not None:
            return {name: versions for name, (_, _, versions) in models.items()}
        return {name: {version.version for version in self.versions(name)} for name in self.names()}

    def _read_locally(self, read: Callable[[Path], _Found]) -> _Found | None:
        """What is found in a local database; None where MLflow must be asked."""
        path = database_path(self.tracking_uri)
        with contextlib.suppress(sqlite3.Error):
            return None if path is None else read(path)
        return None


def _title(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
