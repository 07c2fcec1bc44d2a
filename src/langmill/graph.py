"""The graph of stages: which there are, which are out of date and why, and how one is run.

This is the only module that speaks to DVC. `dvc.yaml` says which stage follows which; nothing here or above repeats it.
A stage runs as `dvc repro --single-item` in a process group of its own (`python -m langmill.graph ADDRESS`), so that it
can be stopped as a whole and dies with the process that started it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from langmill.errors import (
    BusyError,
    ConfigError,
    GraphError,
    LangmillError,
    SpaceError,
    TransientError,
    of_exit_code,
)
from langmill.files import explained_os_errors, full_disk_sentence, is_full_disk, write_text
from langmill.lifetime import PARENT_VARIABLE, end_with_parent
from langmill.progress import FILE_VARIABLE

MODELS = "build/models"
EVALUATION = "build/evaluation"
PredictParams = Callable[[str], Mapping[str, Any] | None]
"""What a params file will hold once the stage that writes it has run; None for a file it knows nothing of."""

_WATCH_SECONDS = 1.0
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_BUSY_ATTEMPTS = 20
_DVC_BUSY = 250
"""The exit code of `main` when another DVC process uses the stage's files."""
_NOT_KEPT = 249
"""The exit code of `main` when DVC could not keep what the stage made, and itself took that for a success."""
_STAGE_CODE = re.compile(r"exited with (\d+)$")


class Outcome(StrEnum):
    """What running a stage came to."""

    made = "made"
    """It ran."""
    restored = "restored"
    """Its outputs for the same inputs were in DVC's cache."""
    unchanged = "unchanged"
    """It was up to date."""


class Cancelled(GraphError):
    """The stage was stopped because someone asked for it."""

    exit_code = 130


@dataclass(frozen=True)
class Stage:
    """One step of the graph."""

    address: str
    """DVC's name of it: `train@reviews-lm`."""
    description: str
    outs: tuple[str, ...]
    """The paths it makes, relative to the workspace."""
    upstream: tuple[str, ...]
    """The addresses of the stages whose outputs it reads."""
    by_params_only: frozenset[str] = frozenset()
    """Those of them from which it reads single settings alone, not whole files."""

    @property
    def kind(self) -> str:
        """`train` of `train@reviews-lm`."""
        return self.address.split("@")[0]

    @property
    def file_name(self) -> str:
        """The address as a file's name."""
        return self.address.replace("/", "_").replace(":", "_")


@dataclass(frozen=True)
class Freshness:
    """Whether a stage is up to date."""

    reasons: tuple[str, ...] = ()
    """What changed for the stage itself, in words; empty if nothing did."""
    follows: tuple[str, ...] = ()
    """Upstream stages that are out of date, after which this one may have to run."""
    busy: bool = False
    """Another process is making it right now."""

    @property
    def fresh(self) -> bool:
        """Nothing has to be made."""
        return not (self.reasons or self.follows or self.busy)


@dataclass(frozen=True)
class Pulled:
    """What came of bringing outputs from a remote."""

    here: tuple[str, ...]
    """The stages whose outputs are now here as dvc.lock names them."""
    missing: tuple[str, ...]
    """Those of dvc.lock whose outputs the remote does not have, or not whole."""


@dataclass
class Graph:
    """Stages in an order in which they can run, each after those it reads from."""

    stages: dict[str, Stage]
    root: Path
    _nodes: dict[str, Any] = field(repr=False, default_factory=dict)
    _repo: Any = field(repr=False, default=None)

    def stage(self, address: str) -> Stage:
        """The stage of an address.

        Raises:
            GraphError: dvc.yaml has none.
        """
        if address not in self.stages:
            raise GraphError(f"dvc.yaml has no stage {address!r}; there are: {', '.join(self.stages)}.")
        return self.stages[address]

    def names(self, folder: str) -> list[str]:
        """The names that some stage makes a folder for, below `folder` (`build/evaluation` gives the recipes)."""
        prefix = folder + "/"
        return [
            out.removeprefix(prefix) for stage in self.stages.values() for out in stage.outs if out.startswith(prefix)
        ]

    def maker(self, folder: str, name: str) -> Stage:
        """The stage that makes `folder`/`name`.

        Raises:
            GraphError: There is none; the message lists the known names.
        """
        for stage in self.stages.values():
            if f"{folder}/{name}" in stage.outs:
                return stage
        known = ", ".join(self.names(folder)) or "none"
        raise GraphError(
            f"dvc.yaml makes no {folder}/{name}; it knows {known}. A recipe needs a line there: `langmill new recipe` "
            "writes one, and the line of an optional recipe stands there as a comment."
        )

    def ancestors(self, address: str) -> set[str]:
        """The stages that must be done before this one."""
        found: set[str] = set()
        waiting = [address]
        while waiting:
            for upstream in self.stage(waiting.pop()).upstream:
                if upstream not in found:
                    found.add(upstream)
                    waiting.append(upstream)
        return found

    def restricted_to(self, addresses: Iterable[str]) -> Graph:
        """The part of the graph that these stages need, themselves included."""
        wanted = set(addresses)
        for address in list(wanted):
            wanted |= self.ancestors(address)
        stages = {address: stage for address, stage in self.stages.items() if address in wanted}
        return Graph(stages, self.root, self._nodes, self._repo)

    def for_recipes(self, recipes: Sequence[str]) -> Graph:
        """The part of the graph that ends with the evaluation of these recipes.

        Raises:
            GraphError: A recipe has no line in dvc.yaml.
        """
        return self.restricted_to(self.maker(EVALUATION, recipe).address for recipe in recipes)

    def freshness(self, predict: PredictParams | None = None) -> dict[str, Freshness]:
        """Which stages are out of date, and why.

        Args:
            predict: Tells what a params file will hold, so that an edit of conf/ shows before `compose` has run.
                Without it, a stage that only reads settings counts as following the one that writes them.

        Raises:
            BusyError: Another DVC process holds the workspace's lock.
            GraphError: DVC can't read the workspace.
        """
        from dvc.lock import LockError
        from dvc.repo import lock_repo

        remembered = functools.cache(predict) if predict is not None else None
        result: dict[str, Freshness] = {}
        with _explained(), lock_repo(self._repo):
            for address, stage in self.stages.items():
                stale = {upstream for upstream in stage.upstream if not result[upstream].fresh}
                # What the files hold now is right, and costs less, unless the stage that writes them has to run.
                foresight = remembered if stale & stage.by_params_only else None
                try:
                    reasons, busy = tuple(_reasons(self._nodes[address], foresight)), False
                except LockError:
                    reasons, busy = (), True
                except ConfigError as error:  # of this stage's settings alone; the others can be judged
                    reasons, busy = (f"its settings are refused: {error}",), False
                if foresight is not None:
                    stale -= stage.by_params_only
                result[address] = Freshness(reasons, tuple(sorted(stale)), busy)
        return result

    def pull(self) -> Pulled:
        """Bring the outputs that dvc.lock names from DVC's default remote; a stage that never ran has none to bring.

        Raises:
            BusyError: Another DVC process holds the workspace's lock.
            GraphError: There is no remote.
            SpaceError: The disk is full.
            TransientError: The remote did not bring what it has.
        """
        from dvc.exceptions import DownloadError

        if not self._repo.config["core"].get("remote"):
            raise GraphError(
                "DVC has no remote here to bring results from; name the one that they were pushed to: "
                "`dvc remote add --default NAME ADDRESS`."
            )

        recorded = [
            address
            for address in self.stages
            if all(out.hash_info for out in self._nodes[address].outs if out.use_cache)
        ]
        if not recorded:
            return Pulled((), ())
        with _explained(), _witness() as witness:
            try:
                self._repo.pull(targets=recorded, allow_missing=True)
            except DownloadError as error:
                if witness.full:
                    raise SpaceError(full_disk_sentence("DVC's cache")) from error
                raise TransientError(f"DVC's remote did not bring {_one_line(error)}: {witness.reason}.") from error
            missing = tuple(address for address in recorded if any(out.changed() for out in self._nodes[address].outs))
        return Pulled(tuple(address for address in recorded if address not in missing), missing)


def read_graph(root: Path = Path()) -> Graph:
    """Read dvc.yaml with DVC, and take what killed DVC processes left behind out of its way.

    Raises:
        GraphError: There is no workspace here, or dvc.yaml is refused (a cycle, two stages with one output, a typo).
    """
    _quieten()
    heal_locks(root)
    with _explained():
        from dvc.dependency.param import ParamsDependency
        from dvc.repo import Repo

        repo = Repo(str(root))
        edges = repo.index.graph
        nodes = {node.addressing: node for node in edges}
        stages: dict[str, Stage] = {}
        for address in _ordered({node.addressing: [up.addressing for up in edges.successors(node)] for node in edges}):
            node = nodes[address]
            upstream = sorted(up.addressing for up in edges.successors(node))
            files = [dep.fs_path for dep in node.deps if not isinstance(dep, ParamsDependency)]
            by_params = frozenset(
                name
                for name in upstream
                if not any(_overlap(out.fs_path, path) for out in nodes[name].outs for path in files)
            )
            outs = tuple(os.path.relpath(out.fs_path, repo.root_dir) for out in node.outs)
            stages[address] = Stage(address, node.desc or address, outs, tuple(upstream), by_params)
    return Graph(stages, Path(repo.root_dir), nodes, repo)


def run(address: str, *, root: Path, log: Path, progress: Path, cancel: threading.Event) -> Outcome:
    """Bring one stage up to date, its upstream being so already.

    Args:
        address: The stage.
        root: The workspace.
        log: The file that all its process says is written to, in place of what stood there.
        progress: The file in which the stage keeps how far it is.
        cancel: Once set, the stage's processes are interrupted and, after a few seconds, killed.

    Raises:
        Cancelled: `cancel` was set.
        BusyError: Another process went on using the stage's files.
        SpaceError: The disk of the workspace, or of DVC's cache, is full.
        TransientError: The stage failed for what may pass by itself.
        GraphError: The stage failed otherwise; the message is its own sentence.
    """
    for attempt in range(_BUSY_ATTEMPTS):
        with explained_os_errors(log):
            code, output = _run_once(address, root, log, progress, cancel)
        if cancel.is_set():
            raise Cancelled(f"{address} was stopped; the next run goes on from there.")
        if code == 0:
            if "didn't change, skipping" in output:
                return Outcome.unchanged
            return Outcome.restored if "skipping run" in output else Outcome.made
        if code != _DVC_BUSY:
            if code != SpaceError.exit_code and shutil.disk_usage(log.parent).free == 0:
                raise SpaceError(full_disk_sentence(log))  # the process could not even say so
            raise (of_exit_code(code) or GraphError)(failure_sentence(address, output, code, root))
        if attempt + 1 < _BUSY_ATTEMPTS:  # someone's `dvc status` or `dvc repro`: it ends soon or it is real
            cancel.wait(1.0)
    raise BusyError(f"{address}: another DVC process is using its files; wait for it to end, or stop it.")


def failure_sentence(address: str, output: str, code: int, root: Path) -> str:
    """The sentence to show for a stage that failed, out of all that its process said.

    A stage of ours says `ADDRESS: sentence` itself; for anything else DVC's own error has to do.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(f"{address}: "):
            following = [line for line in lines[index + 1 :] if not line.startswith(("ERROR", "WARNING"))]
            return " ".join([lines[index], *following])
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    prefix = f"failed to reproduce '{address}': "
    said = " ".join(error.removeprefix(prefix) for error in errors[-1:]) or (
        lines[-1] if lines else f"exit code {code}"
    )
    missing = re.search(r"missing data 'source': (.+)|No such file or directory: '(.+)'", said)
    if missing is not None:
        path = (missing[1] or missing[2]).removeprefix(f"{root.absolute()}/")
        return f"{address}: {path} does not exist, but the stage reads it; check the path in conf/ and in dvc.yaml."
    traced = [line for line in lines if ": " in line and line.split(":")[0].endswith(("Error", "Exception"))]
    return f"{address} failed: {(traced or [said])[-1].rstrip('.')}."


def heal_locks(root: Path) -> None:
    """Take what killed DVC processes left behind out of DVC's lock file.

    DVC drops entries of dead processes itself, but not a half-written file, nor a number that the system has since
    given to a process of another kind. The file is only written under DVC's own guard, as DVC itself does.

    Raises:
        BusyError: Another DVC process holds the guard.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists() or ((healed := _healed(path)) is not None and healed == _holders(path)):
        return
    with _explained():
        from dvc.config import Config
        from dvc.lock import make_lock
        from dvc.rwlock import RWLOCK_LOCK

        guard = make_lock(
            str(path.with_name(RWLOCK_LOCK)),
            tmp_dir=str(path.parent),
            hardlink_lock=Config(str(root / ".dvc"))["core"].get("hardlink_lock", False),
        )
        with guard, explained_os_errors(path):
            healed = _healed(path)  # what was half written a moment ago may be whole now
            if healed is None:
                path.unlink(missing_ok=True)
            elif healed != _holders(path):
                write_text(path, json.dumps(healed))


def _holders(path: Path) -> Any:
    """What DVC's lock file holds; None if it is missing or was cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _healed(path: Path) -> dict[str, Any] | None:
    """What DVC's lock file should hold: the entries of living DVC processes; None if it can't be read."""
    import psutil

    def alive(holder: Mapping[str, Any]) -> bool:
        try:
            command = " ".join(psutil.Process(int(holder["pid"])).cmdline())
        except psutil.Error:
            return False
        return "dvc" in command or "langmill" in command

    try:
        content = _holders(path)
        healed: dict[str, Any] = {}
        for mode, places in content.items():
            kept = {
                place: [one for one in holders if alive(one)] if mode == "read" else holders
                for place, holders in places.items()
                if mode == "read" or alive(holders)
            }
            healed[mode] = {place: holders for place, holders in kept.items() if holders}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return healed


def _run_once(address: str, root: Path, log: Path, progress: Path, cancel: threading.Event) -> tuple[int, str]:
    log.parent.mkdir(parents=True, exist_ok=True)
    progress.parent.mkdir(parents=True, exist_ok=True)
    progress.unlink(missing_ok=True)
    environment = {
        **os.environ,
        FILE_VARIABLE: str(progress.absolute()),
        PARENT_VARIABLE: str(os.getpid()),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "SHELL": "/bin/sh",  # DVC runs commands with the user's own shell, whichever that is
        "DVC_NO_ANALYTICS": "true",
    }
    with log.open("w+b") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "langmill.graph", address],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not cancel.wait(_POLL_SECONDS):
                pass
        finally:
            _end(process)
            progress.unlink(missing_ok=True)
        output.seek(0)
        return process.returncode, output.read().decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt what is left of a process group, and kill it if it does not end."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what outlived its leader
        os.killpg(process.pid, signal.SIGKILL)


def _reasons(node: Any, predict: PredictParams | None) -> Iterator[str]:
    """What changed for one stage since it last ran, in words; `node` is DVC's stage."""
    from dvc.dependency.param import ParamsDependency

    if not any(item.hash_info for item in (*node.deps, *node.outs)):
        yield "it has not run yet"
        return
    changes = node.status().get(node.addressing, [])
    tables = [change for change in changes if isinstance(change, dict)]
    files = {path: how for table in tables for path, how in table.get("changed deps", {}).items()}
    for dep in node.deps:
        if isinstance(dep, ParamsDependency):
            yield from _param_reasons(dep, predict)
        elif str(dep) in files:
            yield {"deleted": f"{dep} is missing", "new": f"{dep} is read for the first time"}.get(
                files[str(dep)], f"{dep} changed"
            )
    for table in tables:
        for path, how in table.get("changed outs", {}).items():
            yield {
                "deleted": f"its output {path} is missing",
                "not in cache": f"its output {path} is not in DVC's cache",
                "new": f"its output {path} is new",
            }.get(how, f"its output {path} was changed by hand")
    if {"changed checksum", "changed command"} & {change for change in changes if isinstance(change, str)}:
        yield "its command or its list of inputs in dvc.yaml changed"
    if "always changed" in changes:
        yield "it runs every time"


def _param_reasons(dep: Any, predict: PredictParams | None) -> Iterator[str]:
    path = os.path.relpath(dep.fs_path, dep.repo.root_dir)
    before = (dep.hash_info.value if dep.hash_info else None) or {}
    values = predict(path) if predict is not None else None
    if values is None:
        if not dep.exists:
            yield f"{path} is missing"
            return
        now: Mapping[str, Any] = dep.read_params()
    else:
        now = {key: values[key] for key in dep.params if key in values}
    for key in sorted({*before, *now}):
        if key in dep.params or key in now:
            yield from (f"{where}: {change}" for where, change in _differences(key, before.get(key), now.get(key)))


def _differences(key: str, before: Any, now: Any) -> Iterator[tuple[str, str]]:
    """Each leaf that differs between two nested values: its dotted name, and `old → new`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}, key=str):
            yield from _differences(f"{key}.{name}", before.get(name), now.get(name))
    elif before != now:
        yield key, f"{_shown(before)} → {_shown(now)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _ordered(upstream: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Every address after those it depends on, by name where there is a choice."""
    done: set[str] = set()
    while len(done) < len(upstream):
        for address in sorted(address for address in upstream if address not in done):
            if done.issuperset(upstream[address]):
                done.add(address)
                yield address


def _overlap(one: str, other: str) -> bool:
    """Whether two absolute paths are equal or one lies in the other."""
    first, second = Path(one), Path(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _quieten() -> None:
    logger = logging.getLogger("dvc")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn DVC's errors into ours."""
    from dvc.config import ConfigError as DvcConfigError
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError
    from dvc.scm import SCMError

    try:
        with explained_os_errors(Path(".dvc")):
            yield
    except LangmillError:
        raise
    except NotDvcRepoError as error:
        raise GraphError(
            "There is no Langmill workspace here (no .dvc folder); go to the folder of a clone."
        ) from error
    except DvcConfigError as error:
        raise GraphError(f"DVC's settings in .dvc/config are refused: {_one_line(error)}.") from error
    except (RWLockFileCorruptedError, RWLockFileFormatError) as error:
        raise BusyError(
            "DVC's lock file .dvc/tmp/rwlock can't be read; run the same command again, which puts it right."
        ) from error
    except LockError as error:
        raise BusyError("Another DVC process is at work in this workspace; wait for it to end, or stop it.") from error
    except SCMError as error:
        raise GraphError(f"DVC can't use Git here ({error}); a workspace is a Git clone.") from error
    except DvcException as error:
        if is_full_disk(error):
            raise SpaceError(full_disk_sentence(".dvc")) from error
        raise GraphError(f"dvc.yaml or dvc.lock is refused: {_one_line(error)}.") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


class _Witness(logging.Handler):
    """Notes what DVC's own exit code does not tell: it logs some errors and goes on, and gives 255 for all others."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.code = 0
        """The exit code to end with; 0 while nothing was noted."""
        self.full = False
        """DVC itself met a full disk."""
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Note the kind of an error."""
        from dvc.lock import LockError
        from dvc.stage.exceptions import StageCmdFailedError

        error = record.exc_info[1] if record.exc_info else None
        if is_full_disk(error):
            self.code, self.full = SpaceError.exit_code, True
            return
        if record.name.partition(".")[0] != "dvc":  # the libraries that move files log what they could not move
            self.code, self.reason = self.code or _NOT_KEPT, str(error or record.getMessage())
        while error is not None:
            if isinstance(error, StageCmdFailedError) and (found := _STAGE_CODE.search(str(error))):
                self.code = int(found[1])
            elif isinstance(error, LockError):
                self.code = _DVC_BUSY
            error = error.__cause__ or error.__context__


@contextlib.contextmanager
def _witness() -> Iterator[_Witness]:
    """Watch what DVC logs while the block works."""
    import dvc.logger  # noqa: F401 - sets up the loggers

    witness = _Witness()
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    for logger in loggers:
        logger.addHandler(witness)
    try:
        yield witness
    finally:
        for logger in loggers:
            logger.removeHandler(witness)


def main(arguments: Sequence[str]) -> int:
    """Be the process of `dvc repro --single-item ADDRESS`.

    Returns:
        The exit code: the stage's own if it failed; that of `SpaceError` where DVC met a full disk, its cache's
        included; `_DVC_BUSY`, `_NOT_KEPT`; DVC's own for anything else.
    """
    from dvc.cli import main as dvc

    end_with_parent()
    (address,) = arguments
    try:
        heal_locks(Path())
        with _witness() as witness:
            code = dvc(["--wait-for-lock", "repro", "--single-item", address])
    except LangmillError as error:
        sys.stderr.write(f"{address}: {error}\n")
        return _DVC_BUSY if isinstance(error, BusyError) else error.exit_code
    with contextlib.suppress(OSError):  # where the log's disk is full too, the exit code has to do
        if witness.full:
            sys.stderr.write(f"{address}: {full_disk_sentence(f'DVC and its cache ({_cache_folder()})')}\n")
        elif witness.code == _NOT_KEPT:
            sys.stderr.write(f"{address}: DVC could not keep in its cache what the stage made: {witness.reason}.\n")
        sys.stderr.flush()
    assert isinstance(code, int)
    return witness.code or code


def _cache_folder() -> str:
    """Where DVC's cache lies, as its settings say, from the workspace on if it lies in it."""
    from dvc.repo import Repo

    path = Path(Repo().cache.local.path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
