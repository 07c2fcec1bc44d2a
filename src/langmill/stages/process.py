"""What every stage's process does around its work.

Parse one name, silence the libraries (their words go to a log file), hold the stage's fence, die with the parent, and
turn an error of the user's, the data's or the machine's into one sentence and an exit code.
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

STAGES = ("compose", "fetch", "clean", "tokenizer", "pretrained", "encode", "train", "evaluate")

# Settings that only the start of a process can set. glibc hands freed memory back to the kernel and fetches it again at
# every training step unless told otherwise (1.28 times the tokens per second, measured in benchmarks/); the rest keeps
# libraries from talking to the world and to the terminal.
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
    """Be the process of the stage that the command line names: `python -m langmill.stages train reviews-lm`.

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
        # Where an interrupt passed through exec() of a text, as in an import that makes dataclasses, Python would send
        # itself SIGINT at its end, caught or not, and the exit code would be another one.
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
        with _fence(address) if not rank else contextlib.nullcontext(), explained_os_errors(workspace.state):
            if not rank:
                sweep_workspace()
            work()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or interrupted.is_set():
            # An interrupt amid a library's work may come out as an error of that library's, whose clean-up meets what
            # was left half done.
            logging.getLogger("langmill").info("Interrupted", exc_info=error)
            sys.stderr.write(f"{address}: interrupted; the next run goes on from here.\n")
            return INTERRUPTED
        if not isinstance(error, LangmillError) and is_full_disk(error):  # in a library's words
            error = SpaceError(full_disk_sentence(workspace.state))
        if isinstance(error, LangmillError):
            logging.getLogger("langmill").error("%s", error, exc_info=error)
            sys.stderr.write(f"{address}: {without_passwords(str(error))}\n")
            return error.exit_code
        logging.getLogger("langmill").exception("A bug: %s", error)
        sys.stderr.write(
            f"{address}: a bug in Langmill: {type(error).__name__}: {error}. The trace is in {log}; please report it.\n"
        )
        if os.environ.get("LANGMILL_DEBUG"):
            traceback.print_exc()
        return 70  # EX_SOFTWARE
    return 0


def _fence(address: str) -> contextlib.AbstractContextManager[None]:
    """Hold the stage for this process: a second one would write beside it."""
    return exclusive_lock(Workspace().lock(address), f"Stage {address}")


def sweep_workspace() -> None:
    """Remove what killed processes left half written in the workspace; what others are writing stays."""
    workspace = Workspace()
    for folder in (
        workspace.build, *workspace.build.glob("*/"), workspace.state, *workspace.state.glob("*/"),
        *workspace.serving.glob("*/"), *workspace.runs.glob("*/**/"),
    ):  # fmt: skip
        sweep(folder)


def _rank() -> int:
    """Which of the processes of a training this one is, as torchrun, SLURM or Lightning tell it; 0 for any other.

    The first one holds the fence for all of them: the others are its helpers and write nothing.
    """
    own = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
    if own is None:
        own = os.environ.get("LOCAL_RANK", "0") if os.environ.get("NODE_RANK", "0") == "0" else "1"
    return int(own)


def _interrupt_on_signals(interrupted: threading.Event) -> None:
    """Raise KeyboardInterrupt in this process when it is asked to end, and note that it was."""

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the shell has it ignored, as nohup does
        signal.signal(signal.SIGINT, interrupt)


def _restart_with_environment() -> None:
    """Start this process anew with `ENVIRONMENT`, which libraries and the C library read only at their start.

    Who started it is noted before anything is imported that takes time.
    """
    os.environ.setdefault(PARENT_VARIABLE, str(os.getppid()))
    missing = {key: value for key, value in ENVIRONMENT.items() if key not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **missing})  # noqa: S606


class _Discreet(logging.Formatter):
    """Leaves passwords out of a log, traces included."""

    def format(self, record: logging.LogRecord) -> str:
        return without_passwords(super().format(record))


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("ignore")
