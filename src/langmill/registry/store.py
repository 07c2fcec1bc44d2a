"""Registered models and their versions: the one module that talks to MLflow's model registry.

MLflow moves an alias atomically, but the last writer wins and nothing is remembered; it takes broken models without a
word. What Langmill adds: registering is idempotent, an alias moves only from where the caller believes it to be and is
then read back, a champion that was moved by other means is noticed, and a downloaded model is checked against its
manifest.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmill.errors import ConflictError, IntegrityError, LangmillError, RegistryError
from langmill.files import (
    MANIFEST_NAME,
    atomic_folder,
    changed_files,
    exclusive_lock,
    sha256_bytes,
    temporary_folder,
)
from langmill.registry.ledger import Entry, Ledger, Witness
from langmill.tracking.addresses import database_path
from langmill.tracking.connection import connect
from langmill.tracking.explained import explained_tracking_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"

MODEL_PATH = "artifacts/model"
"""Where a package keeps the model folder."""
EVALUATION_PATH = "artifacts/evaluation"
"""Where a package keeps the evaluation folder."""


_RESTORE = "Put back what was registered, or roll back to a version whose files are whole."
_REGISTER_ANEW = "Delete the version in MLflow's pages, and `langmill run` registers the model anew."


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


class ModelTag:
    """The names of the tags on a registered model."""

    champion = "langmill.champion"
    """The version that Langmill made champion last, from whichever workspace."""
    ledger = "langmill.ledger"
    """Begins the name of the tag with a ledger's witness; a server's has the workspace in its name."""


class State:
    """What a version's validation said."""

    registered = "registered"
    """Not validated yet, or validation could not tell; a reason stands beside it then."""
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
        self._local = database is not None
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
        """The champion according to the alias and to what Langmill wrote down; None before the first promotion.

        Raises:
            RegistryError: The two disagree, or the ledger was tampered with (`complaint` says how to settle it).
        """
        complaint = self.champion_complaint(name)
        if complaint is not None:
            raise RegistryError(complaint)
        return self.aliased(name, CHAMPION)

    def recorded_champion(self, name: str) -> int | None:
        """The version that Langmill made champion last, whether or not the alias still points to it."""
        return self._recorded(name, self._model(name)[1])

    def exists(self, name: str, version: int) -> bool:
        """Whether there is such a version."""
        return any(one.version == version for one in self.versions(name))

    def recorded_previous(self, name: str) -> ModelVersion | None:
        """The version that the last promotion took out of service, whether or not the alias points to it.

        None where the last move was no promotion, or another workspace's, the ledger was tampered with, or the version
        is gone.
        """
        _, tags = self._model(name)
        move = self._last_move(name, tags)
        if move is None or move.action != "promote" or move.demoted is None or self._ledger_complaint(name, tags):
            return None
        return self.version(name, move.demoted) if self.exists(name, move.demoted) else None

    def complaint(self, name: str) -> str | None:
        """What is wrong with what is known of a model's champion or of the one before, and what settles it.

        None if nothing is.
        """
        return self._complaint(name, *self._model(name), lambda version: self.exists(name, version))

    def champion_complaint(self, name: str) -> str | None:
        """`complaint` of the champion alone: what keeps from promoting without force."""
        return self._champion_complaint(name, *self._model(name), lambda version: self.exists(name, version))

    def ledger_complaint(self, name: str) -> str | None:
        """What is wrong with the ledger's entries of a model; None if nothing is."""
        return self._ledger_complaint(name, self._model(name)[1])

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
        return self._model(name)[0]

    def _model(self, name: str) -> tuple[dict[str, int], dict[str, str]]:
        """A registered model's aliases and tags."""
        client = self._client
        with explained_tracking_errors(self.tracking_uri), _missing_as_none() as found:
            found.append(client.get_registered_model(_checked(name)))
        if not found:
            return {}, {}
        return {alias: int(version) for alias, version in found[0].aliases.items()}, dict(found[0].tags)

    # What Langmill wrote down ----------------------------------------------------------------------------------------

    def _recorded(self, name: str, tags: Mapping[str, str]) -> int | None:
        noted = tags.get(ModelTag.champion, "")
        if noted.isdecimal():
            return int(noted)
        # Older registries have no such tag. Other workspaces' moves on a server are in ledgers elsewhere.
        return self.ledger.champion(name) if self._local else None

    def _last_move(self, name: str, tags: Mapping[str, str]) -> Entry | None:
        """The last finished move, if it is the one that made the champion; another workspace's are not known here."""
        move = self.ledger.done(name)
        return move if move is not None and move.target == self._recorded(name, tags) else None

    @property
    def _witness_tag(self) -> str:
        """A tag of its own for each ledger: workspaces that share a server have one each."""
        if self._local:
            return ModelTag.ledger
        return f"{ModelTag.ledger}.{sha256_bytes(f'{socket.gethostname()}:{self.ledger.path}'.encode())[:12]}"

    def _ledger_complaint(self, name: str, tags: Mapping[str, str]) -> str | None:
        noted = tags.get(self._witness_tag)
        found = self.ledger.complaint(name, Witness.parse(noted) if noted is not None else None)
        return None if found is None else f"The ledger {self.ledger.path} is not what was written: {found}."

    def _complaint(
        self, name: str, aliases: Mapping[str, int], tags: Mapping[str, str], exists: Callable[[int], bool]
    ) -> str | None:
        found = self._champion_complaint(name, aliases, tags, exists)
        return found if found is not None else self._previous_complaint(name, aliases, tags, exists)

    def _previous_complaint(
        self, name: str, aliases: Mapping[str, int], tags: Mapping[str, str], exists: Callable[[int], bool]
    ) -> str | None:
        move, alias = self._last_move(name, tags), aliases.get(PREVIOUS)
        if move is None or move.demoted is None or move.demoted == alias or not exists(move.demoted):
            return None
        if self.ledger.unfinished(name):
            return None
        if alias is not None and not self._local:  # another workspace's moves may have led back to this champion
            return None
        happened = "removed its alias" if alias is None else f"moved its alias to version {alias}"
        force = f"`langmill promote {name} {{}} --force REASON`"
        remedy = (
            f"`langmill rollback {name}` goes back to version {move.demoted if alias is None else alias} all the same"
        )
        if alias is None and move.action == "rollback":
            remedy = f"it was rolled back, so only {force.format(move.demoted)} puts it in service again"
        return (
            f"Langmill made version {move.demoted} the previous one of {name}; someone {happened} by other means: "
            f"{remedy}, and {force.format(move.target)} leaves it as it is."
        )

    def _champion_complaint(
        self, name: str, aliases: Mapping[str, int], tags: Mapping[str, str], exists: Callable[[int], bool]
    ) -> str | None:
        recorded, alias = self._recorded(name, tags), aliases.get(CHAMPION)
        command = f"`langmill promote {name}"
        ledger = self._ledger_complaint(name, tags)
        if ledger is not None:
            kept = next((number for number in (alias, recorded) if number is not None), "VERSION")
            return f"{ledger} Put a copy of it back, or accept it as it is with {command} {kept} --force REASON`."
        unfinished = self.ledger.unfinished(name)
        if recorded is None or recorded == alias or (unfinished and alias in (unfinished.source, unfinished.target)):
            return None
        if alias is not None:
            return (
                f"Langmill made version {recorded} the champion of {name}; someone moved the alias to version {alias} "
                f"by other means. {command} {alias} --force REASON` keeps version {alias}, {command} {recorded} "
                f"--force REASON` goes back to version {recorded}."
            )
        move, previous = self._last_move(name, tags), aliases.get(PREVIOUS)
        if previous is None and move is not None and move.action == "promote" and move.demoted is not None:
            previous = move.demoted if exists(move.demoted) else None
        instead = f"`langmill rollback {name}` puts version {previous} in service, " if previous is not None else ""
        if not exists(recorded):
            return (
                f"Version {recorded} of {name}, its champion, was deleted from the registry by other means. "
                f"{instead}{command} VERSION --force REASON` another one."
            )
        return (
            f"Langmill made version {recorded} the champion of {name}; someone removed the alias by other means. "
            f"{instead}{command} {recorded} --force REASON` puts it back."
        )

    def write(self, event: str, action: str, name: str, *, accept: bool = False, **facts: Any) -> Entry:
        """Write an entry of the ledger, and its witness on the registered model.

        Args:
            event: As in `Entry`.
            action: As in `Entry`.
            name: The registered model; the caller holds its lock.
            accept: Whether to begin a new chain where the ledger was tampered with. Else the old witness stays, so that
                the damage goes on being told.
            **facts: The entry's other fields.
        """
        complaint = self.ledger_complaint(name)
        restart = complaint or "" if accept else ""
        entry = self.ledger.append(event, action, name, restart=restart, **facts)
        witness = self.ledger.witness(name)
        if (complaint is None or accept) and witness is not None:
            self._note_model(name, self._witness_tag, witness.text())
        return entry

    def record_champion(self, name: str, version: int) -> None:
        """Note on the registered model that Langmill made a version champion."""
        self._note_model(name, ModelTag.champion, str(version))

    def _note_model(self, name: str, key: str, value: str) -> None:
        client = self._client
        with explained_tracking_errors(self.tracking_uri):
            client.set_registered_model_tag(_checked(name), key, value)

    # Writing ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a model's lock in this workspace, waiting for it; other workspaces on a shared server are not held.

        Against those stands that every move says what it expects and is read back. Nothing slow is done under it: a
        rollback must not wait.
        """
        with self._lock(f"registry-{_checked(name)}", f"Changing what is in service of {name}"):
            yield

    @contextlib.contextmanager
    def _lock(self, lock: str, purpose: str) -> Iterator[None]:
        with exclusive_lock(self._state / "locks" / f"{lock}.lock", purpose, wait=True):
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

        Of several processes that register versions of one model one uploads at a time; moves do not wait for it.

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
        registering = self._lock(f"register-{_checked(name)}", f"Registering a version of {name}")
        with registering, explained_tracking_errors(self.tracking_uri):
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
        with self.locked(name):
            self.move_alias_locked(name, alias, to, expected)

    def move_alias_locked(self, name: str, alias: str, to: int | None, expected: int | None) -> None:
        """`move_alias` for a caller that holds the model's lock."""
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

    @contextlib.contextmanager
    def package(self, version: ModelVersion) -> Iterator[Path]:
        """A version's package in a local folder, its parts checked against their manifests.

        Raises:
            IntegrityError: The files are not those that were registered.
            RegistryError: They are gone.
            TrackingError: They can't be fetched.
        """
        source = self._location(version.name, version.version)
        with temporary_folder() as temporary:
            folder = self._downloaded(version.title, source, temporary, _REGISTER_ANEW)
            for part in (MODEL_PATH, EVALUATION_PATH):
                _check(folder / part, version.title, f"{source}/{part}", _REGISTER_ANEW)
            yield folder

    def _fetch(self, name: str, version: int, part: str, into: Path) -> Path:
        title, source = f"{name} version {version}", f"{self._location(name, version)}/{part}"
        with explained_tracking_errors(self.tracking_uri):
            into.parent.mkdir(parents=True, exist_ok=True)
            with (
                temporary_folder(into.parent) as temporary,
                atomic_folder(into) as target,
            ):
                found = self._downloaded(title, source, temporary, _RESTORE)
                shutil.copytree(found, target, dirs_exist_ok=True)
                _check(target, title, source, _RESTORE)
        return into

    def _downloaded(self, title: str, source: str, into: Path, remedy: str) -> Path:
        """The files at `source`: in place where they lie on this machine, else fetched into `into`."""
        place = None if source.startswith("file:") else str(into)
        with explained_tracking_errors(self.tracking_uri):
            from mlflow.artifacts import download_artifacts

            try:
                found = Path(download_artifacts(source, dst_path=place, tracking_uri=self.tracking_uri))
            except Exception as error:
                if not isinstance(error, FileNotFoundError) and "No such artifact" not in str(error):
                    raise
                raise RegistryError(f"The files of {title} are gone from {source}. {remedy}") from error
        if not found.is_dir():
            raise RegistryError(f"The files of {title} are gone from {source}. {remedy}")
        return found

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

    def complaints(self) -> dict[str, str]:
        """What is wrong with what is known of each model's champion, by model; found as fast as `overview`."""
        path = database_path(self.tracking_uri)
        if path is not None:
            if not path.is_file():
                return {}
            try:
                models = _read_models(path)
            except sqlite3.Error:
                pass
            else:
                found = {
                    name: self._complaint(name, aliases, tags, versions.__contains__)
                    for name, (aliases, tags, versions) in models.items()
                }
                return {name: complaint for name, complaint in found.items() if complaint is not None}
        return {name: complaint for name in self.names() if (complaint := self.complaint(name)) is not None}

    def numbers(self) -> dict[str, set[int]]:
        """The versions' numbers of every model; found as fast as `overview`."""
        path = database_path(self.tracking_uri)
        if path is not None:
            if not path.is_file():
                return {}
            try:
                return {name: versions for name, (_, _, versions) in _read_models(path).items()}
            except sqlite3.Error:
                pass
        return {name: {version.version for version in self.versions(name)} for name in self.names()}


def _read_models(path: Path) -> dict[str, tuple[dict[str, int], dict[str, str], set[int]]]:
    """Aliases, tags and numbers of versions of every registered model."""
    with contextlib.closing(_opened(path)) as database:
        models: dict[str, tuple[dict[str, int], dict[str, str], set[int]]] = {
            name: ({}, {}, set()) for (name,) in database.execute("SELECT name FROM registered_models")
        }
        for name, alias, version in database.execute("SELECT name, alias, version FROM registered_model_aliases"):
            models[name][0][alias] = int(version)
        for name, key, value in database.execute("SELECT name, key, value FROM registered_model_tags"):
            models[name][1][key] = value
        for name, version in database.execute(
            "SELECT name, version FROM model_versions WHERE current_stage != 'Deleted_Internal'"
        ):
            models[name][2].add(int(version))
    return models


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)


def _read_aliased(path: Path) -> list[ModelVersion]:
    with contextlib.closing(_opened(path)) as database:
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
