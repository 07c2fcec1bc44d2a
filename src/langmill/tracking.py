"""Runs in MLflow, by way of a file: the one module that talks to MLflow's tracking.

Whoever has something to log appends it to `events.jsonl` in the run's own folder (`RunLog`), which needs no server and
survives `kill -9`. `ship` sends what the server does not have yet. So a dead server stops nothing and loses nothing.

What is guaranteed: every metric value in the file arrives exactly once. How far the server has been told is kept beside
the events and moved on only after the server said yes. A process that dies in between sends its last batch again; each
value is sent with the time and step at which it was logged, and MLflow's store keeps one of equal (name, time, step,
value). The run itself is found again by its provenance tag, so it is not made twice either.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import logging
import math
import os
import re
import select
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langmill.errors import (
    BusyError,
    LangmillError,
    SpaceError,
    TrackingError,
    TrackingUnreachableError,
    without_passwords,
)
from langmill.files import (
    atomic_file,
    canonical_json,
    exclusive_lock,
    explained_os_errors,
    full_disk_sentence,
    is_full_disk,
    sha256_bytes,
    write_json,
)
from langmill.relocation import mend_locations

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PROVENANCE_TAG = "langmill.provenance"
EVENTS_NAME = "events.jsonl"
STATE_NAME = "shipped.json"
_URI_VARIABLE = "LANGMILL_TRACKING_URI"
_FILES_NAME = "files"
_LOCK_NAME = "run.lock"

# MLflow reads these when it is imported or called. The retries: by default a dead server costs four minutes a call.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_LOG_UV_FILES": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}
_NOISY = ("mlflow", "alembic", "sqlalchemy", "urllib3", "git")
_PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "MySQLdb": "mysqlclient",
    "google": "google-cloud-storage",
    "azure": "azure-storage-blob azure-identity",
}
"""What pip calls the modules that a tracking address or artifact store may need, where it calls them otherwise."""
_BATCH_METRICS = 500  # MLflow takes 1,000 in one call
_PARAM_CHARACTERS = 6000  # MLflow refuses longer ones
_SHIP_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
_LAST_SHIPMENT_SECONDS = 60.0
_PROBE_SECONDS = 5.0
_NO_ANSWER = (
    r"[Cc]onnection (?:refused|reset|aborted)|Max retries|timed out|timeout expired|could not connect|"
    r"could not translate host|too many 5\d\d error"
)
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}

_logger = logging.getLogger(__name__)


# The run's own file ---------------------------------------------------------------------------------------------------


class RunLog:
    """What one run has to say, in order, in a file of its own.

    A process that goes on with an interrupted run opens the same folder and logs as if it were the first: what is
    already in the file is not written again.
    """

    def __init__(self, folder: Path) -> None:
        """Open a run's log, made if there is none.

        Args:
            folder: The run's own folder; a last line that a killed process left half written is cut off.
        """
        self.folder = folder
        self._path = folder / EVENTS_NAME
        with explained_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._path.touch()
        events, whole = read_events(self._path, 0)
        if whole < self._path.stat().st_size:
            os.truncate(self._path, whole)
        self._started = any(event["kind"] == "start" for event in events)
        self._status = _status(events)
        self._logged = {
            (name, event["step"]) for event in events if event["kind"] == "metrics" for name in event["values"]
        }
        self._files = {event["name"]: event["sha256"] for event in events if event["kind"] == "file"}
        self._datasets = {(event["name"], event["digest"]) for event in events if event["kind"] == "dataset"}

    def start(
        self, *, experiment: str, name: str, provenance: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Say which run this is; a resumed run says the same again, and nothing is written.

        Args:
            experiment: MLflow's experiment: the recipe's name.
            name: What people call the run.
            provenance: The digest by which the run is found again.
            params: Settings; nested ones are logged under dotted names.
            tags: Further facts to search by.
        """
        if self._started:
            return
        self._started, self._status = True, "RUNNING"
        commit = git_commit()
        extra = {"mlflow.source.git.commit": commit} if commit else {}
        self._append(
            {
                "kind": "start",
                "experiment": experiment,
                "name": name,
                "provenance": provenance,
                "params": {key: str(value)[:_PARAM_CHARACTERS] for key, value in flatten(params).items()},
                "tags": {"mlflow.user": _user(), **extra, **tags},
            }
        )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log figures of a step; those of a step that is already in the log (a resumed run replays some) are left out.

        A figure that is not a number, or not a finite one, stays in the file as a word and reaches MLflow as a tag:
        MLflow itself would turn infinity into 1.8e308.
        """
        fresh = {name: _json_number(value) for name, value in values.items() if (name, step) not in self._logged}
        if fresh:
            self._logged.update((name, step) for name in fresh)
            self._append({"kind": "metrics", "step": step, "values": fresh})

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Name a body of data that the run used.

        Args:
            name: The corpus's name.
            digest: What identifies its bytes.
            source: Where it came from, in words.
            context: What it was used for: `training` or `evaluation`.
        """
        if (name, digest) not in self._datasets:
            self._datasets.add((name, digest))
            self._append({"kind": "dataset", "name": name, "digest": digest, "source": source, "context": context})

    def text(self, text: str, name: str) -> None:
        """Log a text as a file.

        Args:
            text: Its content.
            name: Its relative path among the run's artifacts, as in `samples/step-000100.txt`.
        """
        self._keep(text.encode(), name)

    def artifact(self, path: Path, folder: str) -> None:
        """Log a file, or all files below a folder; they are copied, so that the originals may go.

        Args:
            path: The file or folder.
            folder: Where it goes among the run's artifacts; "" is the top.
        """
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        base = path if path.is_dir() else path.parent
        for file in files:
            self._keep(file.read_bytes(), (Path(folder) / file.relative_to(base)).as_posix())

    @property
    def status(self) -> str | None:
        """How the run stands, in MLflow's words, as far as its log says; None before it has started."""
        return self._status

    def finish(self) -> None:
        """Say that the run has ended well, unless that has been said."""
        if self._status != "FINISHED":
            self._end("FINISHED")

    def fail(self, reason: str) -> None:
        """Say that the run was given up, and why."""
        self._end("FAILED", reason)

    def kill(self, reason: str) -> None:
        """Say that the run was stopped from outside, and how."""
        self._end("KILLED", reason)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Say how the block ends, however it ends; a run that goes on after an end is running again.

        A process that is killed says nothing. Its lock on the folder goes with it, by which `end_killed_runs` knows.

        Raises:
            BusyError: Another process is at work on this run.
        """
        with exclusive_lock(self.folder / _LOCK_NAME, "A run"):
            if self._status in ("FAILED", "KILLED"):
                self._status = "RUNNING"
                self._append({"kind": "resume"})
            try:
                yield
            except LangmillError as error:
                self.fail(str(error))
                raise
            except (KeyboardInterrupt, SystemExit):
                self.kill("It was interrupted.")
                raise
            except BaseException as error:
                self.fail(f"{type(error).__name__}: {error}")
                raise
            self.finish()

    def _end(self, status: str, reason: str | None = None) -> None:
        self._status = status
        self._append({"kind": "finish", "status": status} | ({"reason": reason} if reason else {}))

    def _keep(self, data: bytes, name: str) -> None:
        digest = sha256_bytes(data)
        if self._files.get(name) == digest:
            return
        with atomic_file(self.folder / _FILES_NAME / name) as file:
            file.write(data)
        self._files[name] = digest
        self._append({"kind": "file", "name": name, "sha256": digest})

    def _append(self, event: Mapping[str, Any]) -> None:
        line = canonical_json({**event, "time": time.time_ns() // 1_000_000}) + "\n"
        with explained_os_errors(self._path), self._path.open("ab", buffering=0) as file:
            file.write(line.encode())


def read_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole events of a log from a byte on, and the byte after the last of them.

    A line that is not an event (a disk that lost its power leaves some) is passed over with a warning.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    end = data.rfind(b"\n") + 1
    events = []
    for line in data[:end].splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and "kind" in event:
            events.append(event)
        else:
            _logger.warning("%s holds a line that is not an event; it is passed over.", path)
    return events, offset + end


def _status(events: Sequence[Mapping[str, Any]]) -> str | None:
    """How a run stands after some events; a finished one stays so, whatever is added to it (an evaluation)."""
    status = None
    for event in events:
        if event["kind"] in ("start", "resume"):
            status = "RUNNING"
        elif event["kind"] == "finish":
            status = event["status"]
    return status


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def git_commit() -> str | None:
    """The commit of the code at hand, with `-dirty` after it where files differ from it; None outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user
        return "unknown"


def _json_number(value: float) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)


# Talking to MLflow ----------------------------------------------------------------------------------------------------


def resolved_uri(tracking_uri: str) -> str:
    """A tracking address with a relative SQLite path made absolute, from the workspace on."""
    database = database_path(tracking_uri)
    return f"sqlite:///{database}" if database else tracking_uri


def database_path(tracking_uri: str) -> Path | None:
    """The file behind a `sqlite:///…` address, absolute; None for any other address."""
    prefix = "sqlite:///"
    if not tracking_uri.startswith(prefix):
        return None
    return Path.cwd() / tracking_uri.removeprefix(prefix).split("?")[0]


def artifact_root(tracking_uri: str) -> Path | None:
    """The folder for the artifacts of a local database, beside it; None where a server keeps them itself."""
    database = database_path(tracking_uri)
    return database.parent / "artifacts" if database else None


def quiet_mlflow() -> None:
    """Switch off what MLflow would print, ask or send home; settings from outside win."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow.*")


def connect(tracking_uri: str) -> MlflowClient:
    """A client for runs and registered models; a local database is made if there is none.

    Raises:
        TrackingError: The server does not answer, or the database is locked or damaged.
    """
    ensure_database(tracking_uri)
    _probe(tracking_uri)
    quiet_mlflow()
    with explained_tracking_errors(tracking_uri):
        from mlflow.tracking import MlflowClient

        uri = resolved_uri(tracking_uri)
        return MlflowClient(uri, uri)


def ensure_database(tracking_uri: str) -> None:
    """Make the local database if it is missing: once, whole, whoever asks first.

    MLflow makes it at first use, and several processes that do so at once break it. In a database whose folder was
    moved or copied, the artifacts' locations are set right (`langmill.relocation`).

    Raises:
        TrackingError: The file can't be made, is locked, or is not MLflow's.
    """
    path = database_path(tracking_uri)
    if path is None:
        return
    if _is_database(path, tracking_uri):
        _mend_locations(path, tracking_uri)
        return
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.parent / "locks" / "database.lock", "Making MLflow's database", wait=True):
            if _is_database(path, tracking_uri):
                return
            quiet_mlflow()
            unfinished = path.with_name(path.name + ".new")
            unfinished.unlink(missing_ok=True)
            with explained_tracking_errors(tracking_uri):
                from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                root = artifact_root(tracking_uri)
                assert root is not None
                SqlAlchemyStore(f"sqlite:///{unfinished}", root.as_uri()).engine.dispose()
            os.replace(unfinished, path)


def _is_database(path: Path, tracking_uri: str) -> bool:
    """Whether MLflow's database is there; a sentence instead of MLflow's hour of retries where it can't be read."""
    if not path.exists():
        return False
    with explained_tracking_errors(tracking_uri):
        connection = sqlite3.connect(path, timeout=_PROBE_SECONDS)
        try:
            return bool(connection.execute("SELECT version_num FROM alembic_version").fetchone())
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise TrackingError(
                    f"{path} is not a database of MLflow. Move it away, and the next run makes a new one."
                ) from error
            raise
        finally:
            connection.close()


def _mend_locations(path: Path, tracking_uri: str) -> None:
    root = artifact_root(tracking_uri)
    assert root is not None
    with (
        explained_tracking_errors(tracking_uri),
        contextlib.closing(sqlite3.connect(path, timeout=_PROBE_SECONDS, isolation_level=None)) as database,
    ):
        former = mend_locations(database, root)
    if former is not None:
        _logger.warning(
            "The workspace was moved or copied: MLflow's addresses of its artifacts led to %s and lead to %s now.",
            former,
            root.as_uri(),
        )


def _probe(tracking_uri: str) -> None:
    """Fail soon where nothing answers: MLflow itself tries a dead PostgreSQL for the better part of an hour."""
    parts = urlsplit(tracking_uri)
    if not parts.hostname:
        return
    default = {"http": 80, "https": 443}.get(parts.scheme, 5432 if parts.scheme.startswith("postgres") else None)
    port = parts.port or default
    if port is None:
        return
    with explained_tracking_errors(tracking_uri):
        socket.create_connection((parts.hostname, port), timeout=_PROBE_SECONDS).close()


@contextlib.contextmanager
def explained_tracking_errors(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow and its stores raise into a `TrackingError` of one sentence.

    Raises:
        SpaceError: The disk is full.
        TrackingUnreachableError: The server does not answer, or the database is locked.
        TrackingError: Anything else that was not a Langmill error already.
    """
    try:
        yield
    except (TrackingError, AssertionError):
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (top := (error.name or "").split(".")[0]) != "langmill":
            place = f"MLflow at {without_passwords(tracking_uri)}, or where it keeps its artifacts,"
            raise TrackingError(
                f"{place} needs the Python package {error.name}, which is not installed; "
                f"`pip install {_PACKAGES.get(top, top)}` gets it."
                if top
                else f"{place} needs a Python package that is not installed; install it: {_first_line(str(error))}"
            ) from error
        if not _is_foreign(error):
            raise
        if is_full_disk(error):
            place = without_passwords(str(database_path(tracking_uri) or tracking_uri))
            raise SpaceError(full_disk_sentence(f"MLflow's records at {place}")) from error
        kind = TrackingUnreachableError if _may_pass(error) else TrackingError
        raise kind(without_passwords(_sentence(tracking_uri, error))) from error


def _may_pass(error: Exception) -> bool:
    """Whether the same call may succeed later: a server that does not answer, a database that another one writes to."""
    if type(error).__module__.split(".")[0] in {"requests", "urllib3"}:
        return getattr(error, "response", None) is None
    if isinstance(error, OSError):  # a full disk or a missing permission is no matter of time
        return isinstance(error, ConnectionError | TimeoutError | socket.gaierror) or error.errno in _UNREACHABLE
    return re.search(_NO_ANSWER, str(error)) is not None or "database is locked" in str(error)


def _is_foreign(error: Exception) -> bool:
    module = type(error).__module__.split(".")[0]
    return module in {"mlflow", "sqlalchemy", "sqlite3", "alembic", "requests", "urllib3"} or isinstance(error, OSError)


def _sentence(tracking_uri: str, error: Exception) -> str:
    place = str(database_path(tracking_uri) or tracking_uri)
    message = str(error)
    kept = "Nothing is lost: what was logged is kept and sent by the next run."
    if "database is locked" in message:
        return (
            f"The tracking database {place} is locked by another process. {kept} "
            "Wait for that process or stop it, and run the same command again."
        )
    if "out-of-date" in message or "Can't locate revision" in message:
        return (
            f"The tracking database {place} was made by another version of MLflow. Upgrade it with "
            f"`mlflow db upgrade {resolved_uri(tracking_uri)}`."
        )
    if "not a database" in message or "malformed" in message:
        return (
            f"The tracking database {place} is damaged. Restore it, or move it and the ledger beside it away and new "
            "ones are made."
        )
    if isinstance(error, OSError) or re.search(f"{_NO_ANSWER}|unable to open", message):
        return (
            f"The tracking server {place} can't be reached ({_first_line(message)}). {kept} "
            "Check operation.tracking_uri, and that the server is up."
        )
    return f"MLflow at {place} refused: {_first_line(message)}"


def _first_line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


def last_metric(tracking_uri: str, run_id: str, name: str) -> float | None:
    """The last value of a run's figure; None where the run or the figure is not there.

    Raises:
        TrackingError: MLflow can't be reached.
    """
    client = connect(tracking_uri)
    with explained_tracking_errors(tracking_uri):
        if not _has_run(client, run_id):
            return None
        value = client.get_run(run_id).data.metrics.get(name)
    return None if value is None else float(value)


def find_run(tracking_uri: str, provenance: str) -> str | None:
    """The id of the run that carries a provenance, the oldest if there are several; None if there is none.

    Raises:
        TrackingError: The server can't be asked.
    """
    client = connect(tracking_uri)
    with explained_tracking_errors(tracking_uri):
        return _find_run(client, provenance)


def _find_run(client: MlflowClient, provenance: str) -> str | None:
    if not re.fullmatch(r"[\w.-]+", provenance):
        raise TrackingError(f"{provenance!r} is not a provenance digest; it holds more than letters and digits.")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    filter_string = f"tags.`{PROVENANCE_TAG}` = '{provenance}'"
    runs = client.search_runs(experiments, filter_string, max_results=1, order_by=["attributes.start_time ASC"])
    return str(runs[0].info.run_id) if runs else None


# Shipping -------------------------------------------------------------------------------------------------------------


@dataclass
class _Shipped:
    """How far a server has been told."""

    tracking_uri: str
    """Without user and password."""
    run_id: str
    offset: int
    """Bytes of the events that are there."""


def ship(folder: Path, tracking_uri: str) -> str:
    """Send what MLflow does not have yet of the run in `folder`, and say the run's id.

    Raises:
        TrackingError: The server can't be reached or refused; what was sent is remembered, the rest is kept.
    """
    run_id = _ship(folder, tracking_uri)
    if run_id is None:
        raise TrackingError(f"{folder} holds no run: nothing was logged there.")
    return run_id


def _ship(folder: Path, tracking_uri: str) -> str | None:
    path = folder / EVENTS_NAME
    if not path.is_file():
        return None
    with exclusive_lock(folder / "ship.lock", "Sending a run to MLflow", wait=True):
        state = _read_state(folder, tracking_uri)
        if state is not None and not read_events(path, state.offset)[0] and _still_there(tracking_uri, state.run_id):
            return state.run_id
        client = connect(tracking_uri)
        with explained_tracking_errors(tracking_uri):
            if state is None or not _has_run(client, state.run_id):
                start = next((event for event in read_events(path, 0)[0] if event["kind"] == "start"), None)
                if start is None:
                    return None
                state = _Shipped(_address(tracking_uri), _open_run(client, tracking_uri, folder, start), 0)
                _write_state(folder, state)
            _send(client, folder, state)
        return state.run_id


def _still_there(tracking_uri: str, run_id: str) -> bool:
    """Whether a local database still has a run, asked without MLflow, whose import takes seconds; else False."""
    path = database_path(tracking_uri)
    if path is None or not path.is_file():
        return False
    with explained_tracking_errors(tracking_uri):
        connection = sqlite3.connect(path, timeout=_PROBE_SECONDS)
        try:
            query = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
            return connection.execute(query, (run_id,)).fetchone() is not None
        finally:
            connection.close()


def _read_state(folder: Path, tracking_uri: str) -> _Shipped | None:
    try:
        state = _Shipped(**json.loads((folder / STATE_NAME).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # sending all of it again is safe
    size = (folder / EVENTS_NAME).stat().st_size
    return state if state.tracking_uri == _address(tracking_uri) and state.offset <= size else None


def _address(tracking_uri: str) -> str:
    """What tells a server from others, fit to be written to a file."""
    return without_passwords(resolved_uri(tracking_uri))


def _write_state(folder: Path, state: _Shipped) -> None:
    write_json(folder / STATE_NAME, vars(state))


def _has_run(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _open_run(client: MlflowClient, tracking_uri: str, folder: Path, start: Mapping[str, Any]) -> str:
    """The run of a start event: found by its provenance, or made."""
    database = database_path(tracking_uri)
    lock = (database.parent / "locks" if database else folder) / "new-run.lock"
    with exclusive_lock(lock, "Opening a run in MLflow", wait=True):
        found = _find_run(client, start["provenance"])
        if found is not None:
            return found
        run = client.create_run(
            _experiment(client, tracking_uri, start["experiment"]),
            start_time=start["time"],
            tags={PROVENANCE_TAG: start["provenance"]},
            run_name=start["name"],
        )
        return str(run.info.run_id)


def _experiment(client: MlflowClient, tracking_uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        root = artifact_root(tracking_uri)
        try:
            return str(client.create_experiment(name, (root / name).as_uri() if root else None))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise TrackingError(
                    f"MLflow refused to make the experiment {name}: {_first_line(str(error))}"
                ) from error
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _send(client: MlflowClient, folder: Path, state: _Shipped) -> None:
    """Send the events from `state.offset` on, moving it with every batch that arrived."""
    from mlflow.entities import Metric

    path = folder / EVENTS_NAME
    waiting: list[Metric] = []
    strange: dict[str, str] = {}

    def flush(offset: int) -> None:
        if waiting:
            client.log_batch(state.run_id, metrics=waiting)
            waiting.clear()
        for name, told in strange.items():
            client.set_tag(state.run_id, f"langmill.not_finite.{name}", told)
        strange.clear()
        if offset != state.offset:
            state.offset = offset
            _write_state(folder, state)

    offset = state.offset
    for line, end in _lines(path, offset):
        kind = line.get("kind")
        if kind == "metrics":
            if len(waiting) + len(line["values"]) > _BATCH_METRICS:
                flush(offset)
            for name, value in line["values"].items():
                if isinstance(value, str):
                    strange[name] = f"{value} at step {line['step']}"
                else:
                    waiting.append(Metric(name, value, line["time"], line["step"]))
        elif kind is not None:
            flush(offset)
            _send_other(client, folder, state.run_id, line)
        offset = end
    flush(offset)


def _lines(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines of a log from a byte on, each with the byte after it; an unreadable one as an empty event."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                event = {}
            yield (event if isinstance(event, dict) else {}), offset


def _send_other(client: MlflowClient, folder: Path, run_id: str, event: Mapping[str, Any]) -> None:
    """Send an event that is not a metric. Sending it twice changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    match event["kind"]:
        case "start":
            _send_params(client, run_id, event["params"])
            for key, value in event["tags"].items():
                client.set_tag(run_id, key, value)
        case "file":
            path = folder / _FILES_NAME / event["name"]
            parent = Path(event["name"]).parent.as_posix()
            if path.is_file():
                client.log_artifact(run_id, str(path), None if parent == "." else parent)
        case "dataset":
            source = canonical_json({"source": event["source"]})
            data = Dataset(name=event["name"], digest=event["digest"][:36], source_type="langmill", source=source)
            tags = [InputTag("mlflow.data.context", event["context"])]
            client.log_inputs(run_id, [DatasetInput(data, tags)])
        case "resume":
            client.update_run(run_id, "RUNNING")
        case "finish":
            if event.get("reason"):
                client.set_tag(run_id, "langmill.reason", event["reason"])
            client.set_terminated(run_id, event["status"], event["time"])


def _send_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Send settings; one that the run already has with another value becomes a tag, as MLflow refuses to change it."""
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params
    fresh = [Param(key, value) for key, value in params.items() if key not in known]
    changed = [
        RunTag(f"langmill.later.{key}", value) for key, value in params.items() if known.get(key, value) != value
    ]
    for start in range(0, len(fresh), 100):
        client.log_batch(run_id, params=fresh[start : start + 100])
    for start in range(0, len(changed), 100):
        client.log_batch(run_id, tags=changed[start : start + 100])


@contextlib.contextmanager
def shipping(folder: Path, tracking_uri: str | None) -> Iterator[None]:
    """Send what is logged in `folder` to MLflow while the block works, every few seconds.

    A process of its own does the sending, with low priority: MLflow's import and its database calls would else hold the
    interpreter lock against the training step. It ends when this process does, however that ends, and sends the rest
    first. Nothing that goes wrong there reaches the block; a line in the log says what is still to be sent.

    Args:
        folder: The run's folder, as given to `RunLog`.
        tracking_uri: Where to; None sends nothing.
    """
    if tracking_uri is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "shipping.log").open("w", encoding="utf-8") as log:
        sender = subprocess.Popen(
            [sys.executable, "-m", "langmill.tracking", str(folder)],
            env={**os.environ, _URI_VARIABLE: tracking_uri},  # a command line is there for everyone to see
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        assert sender.stdin is not None
        sender.stdin.close()  # which tells it to send the rest and end
        try:
            code = sender.wait(_LAST_SHIPMENT_SECONDS)
        except subprocess.TimeoutExpired:
            sender.kill()
            code = sender.wait()
        if code != 0:
            told = _first_line((folder / "shipping.log").read_text(encoding="utf-8", errors="replace"))
            _logger.warning("Not all of the run is in MLflow yet; the rest is kept in %s. %s", folder, told)


def end_killed_runs(runs: Path, *, but: Path | None = None) -> list[Path]:
    """Say of every run below `runs` whose process was killed that it was, and give their folders.

    It was if its log says no end and nobody holds the lock of `RunLog.told`. `but` is a folder to leave alone.
    """
    ended = []
    for path in sorted(runs.glob(f"*/{EVENTS_NAME}")):
        if path.parent == but or not path.with_name(_LOCK_NAME).exists():
            continue
        if _status(read_events(path, 0)[0]) != "RUNNING":
            continue
        with contextlib.suppress(BusyError), exclusive_lock(path.with_name(_LOCK_NAME), "Ending a killed run"):
            RunLog(path.parent).kill("Its process was killed, or the machine went down.")
            ended.append(path.parent)
    return ended


def _follow(folder: Path, tracking_uri: str) -> int:
    """The process of `shipping`: send until standard input ends or the parent is gone, and then once more.

    The runs whose processes were killed, this one or those beside it, are ended and sent too.
    """
    with contextlib.suppress(OSError):
        os.nice(10)
    parent = os.getppid()
    pause, told, ending = _SHIP_SECONDS, "", False
    waiting = end_killed_runs(folder.parent, but=folder)  # that one may be about to go on
    while True:
        began = time.monotonic()
        while not ending and time.monotonic() - began < pause:
            readable, _, _ = select.select([sys.stdin], [], [], 0.5)
            ending = bool(readable and not os.read(sys.stdin.fileno(), 1)) or os.getppid() != parent
        if ending:
            waiting = [*waiting, *end_killed_runs(folder.parent)]
        try:
            _ship(folder, tracking_uri)
            while waiting:
                _ship(waiting[-1], tracking_uri)
                waiting.pop()
            pause, failed = _SHIP_SECONDS, False
        except Exception as error:
            failed = True
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            if str(error) != told:
                told = str(error)
                sys.stderr.write(f"{error}\n")
                sys.stderr.flush()
        if ending:
            return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(_follow(Path(sys.argv[1]), os.environ[_URI_VARIABLE]))
