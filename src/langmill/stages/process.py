"""The process of a stage.

It parses one name, sends the libraries' output to a log file, holds the stage's lock, ends with its parent, and turns
an error of the user, the data or the machine into one sentence and an exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from langmill.errors import LangmillError, SpaceError, without_passwords
from langmill.files import exclusive_lock, explained_os_errors, full_disk_sentence, is_full_disk, sweep
from langmill.imports import without_collecting
from langmill.lifetime import INTERRUPTED, PARENT_VARIABLE, end_with_parent
from langmill.progress import FILE_VARIABLE
from langmill.workspace import Workspace

STAGES = ("compose", "fetch", "clean", "contract", "tokenizer", "pretrained", "encode", "train", "evaluate")

# Settings that can only be set at the start of a process. By default glibc returns freed memory to the kernel and gets
# it again at every training step (without: 1.28 times the tokens per second, measured in benchmarks/); the rest keeps
# libraries off the network and the terminal.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_MMAP_THRESHOLD_": "2147483647",
    "MALLOC_TOP_PAD_": "268435456",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "true",
}


def run_stage() -> None:
    """Run the stage that the command line names: `python -m langmill.stages train reviews-lm`.

    The stage's module, and with it the large libraries, is imported only once the process has its environment. It is
    the file of the stage's name beside this one; its `main` gets the name of the corpus, tokenizer or recipe ("" for a
    stage without one).
    """
    _restart_with_environment()
    parser = argparse.ArgumentParser(prog="python -m langmill.stages", description="Run one stage of the graph.")
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=f"one of {', '.join(STAGES)}")
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="the corpus, tokenizer or recipe")
    arguments = parser.parse_args()
    stage, name = arguments.stage, arguments.name
    if bool(name) != (stage != "compose"):
        parser.error(f"{stage} needs a NAME" if not name else f"{stage} makes the settings of all names; give none")

    def work() -> None:
        with without_collecting():
            module = importlib.import_module(f"langmill.stages.{stage}")
        module.main(name)

    code = _run(f"{stage}@{name}" if name else stage, work)
    if code == INTERRUPTED:
        # After an interrupt in exec(), as in an import that makes dataclasses, Python would send itself SIGINT at its
        # end, and the exit code would be another one.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run(address: str, work: Callable[[], None]) -> int:
    rank = _rank()
    workspace = Workspace()
    log = workspace.log(f"{address}.{rank}" if rank else address)
    if rank:
        os.environ.pop(FILE_VARIABLE, None)
    interrupted = threading.Event()
    try:
        with explained_os_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        end_with_parent()
        _log_to(log)
        _interrupt_on_signals(interrupted)
        # A second process would write the same files.
        lock: contextlib.AbstractContextManager[None]
        lock = contextlib.nullcontext() if rank else exclusive_lock(workspace.lock(address), f"Stage {address}")
        with lock, explained_os_errors(workspace.state):
            if not rank:
                sweep_workspace()
            work()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or interrupted.is_set():
            # An interrupt inside a library may be raised as an error of its clean-up.
            logging.getLogger("langmill").info("Interrupted", exc_info=error)
            after = "the next run resumes from the last checkpoint, if there is one"
            sys.stderr.write(f"{address}: interrupted; {after}.\n")
            return INTERRUPTED
        if not isinstance(error, LangmillError) and is_full_disk(error):  # as a library's error
            error = SpaceError(full_disk_sentence(workspace.state))
        if isinstance(error, LangmillError):
            logging.getLogger("langmill").error("%s", error, exc_info=error)
            sys.stderr.write(f"{address}: {without_passwords(str(error))}\n")
            return error.exit_code
        logging.getLogger("langmill").exception("A bug: %s", error)
        sys.stderr.write(
            f"{address}: a bug in Langmill: {type(error).__name__}: {str(error).rstrip('.')}. "
            f"The trace is in {log}; please report it.\n"
        )
        if os.environ.get("LANGMILL_DEBUG"):
            traceback.print_exc()
        return 70  # EX_SOFTWARE
    return 0


def sweep_workspace() -> None:
    """Remove the temporary files of killed processes in the workspace; those in use stay."""
    workspace = Workspace()
    for folder in (
        workspace.build, *workspace.build.glob("*/"), workspace.state, *workspace.state.glob("*/"),
        *workspace.serving.glob("*/"), *workspace.runs.glob("*/**/"),
    ):  # fmt: skip
        sweep(folder)


def _rank() -> int:
    """Rank of this process in a training by torchrun, SLURM or Lightning; 0 for any other process.

    The first process holds the stage's lock for all of them: the others write nothing.
    """
    own = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
    if own is None:
        own = os.environ.get("LOCAL_RANK", "0") if os.environ.get("NODE_RANK", "0") == "0" else "1"
    return int(own)


def _interrupt_on_signals(interrupted: threading.Event) -> None:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM, and set the event."""

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the shell has it ignored, as nohup does
        signal.signal(signal.SIGINT, interrupt)


def _restart_with_environment() -> None:
    """Restart this process with `ENVIRONMENT`, which libraries and the C library read only at their start.

    The parent's process id is noted before any slow import.
    """
    os.environ.setdefault(PARENT_VARIABLE, str(os.getppid()))
    missing = {key: value for key, value in ENVIRONMENT.items() if key not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **missing})  # noqa: S606


class _WithoutPasswords(logging.Formatter):
    """Removes passwords from a log, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return without_passwords(super().format(record))


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(_WithoutPasswords("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("ignore")
