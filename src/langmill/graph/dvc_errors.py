"""DVC's errors as ours: exceptions, and errors that it only logs."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from langmill.errors import BusyError, GraphError, LangmillError, SpaceError
from langmill.files import causes, explained_os_errors, full_disk_sentence, is_full_disk

DVC_BUSY = 250
"""The exit code of `python -m langmill.graph` when another DVC process uses the stage's files."""
NOT_KEPT = 249
"""Its exit code when DVC could not store the stage's outputs in its cache, and itself counted that as a success."""
_STAGE_CODE = re.compile(r"exited with (\d+)$")


@contextlib.contextmanager
def explained_dvc_errors() -> Iterator[None]:
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
        sentence = "There is no Langmill workspace here (no .dvc folder); go to the folder of a clone."
        raise GraphError(sentence, "missing") from error
    except DvcConfigError as error:
        raise GraphError(f"DVC's settings in .dvc/config are refused: {one_line(error)}.", "unreadable") from error
    except (RWLockFileCorruptedError, RWLockFileFormatError) as error:
        raise BusyError(
            "DVC's lock file .dvc/tmp/rwlock can't be read; run the same command again, which puts it right."
        ) from error
    except LockError as error:
        raise BusyError("Another DVC process is at work in this workspace; wait for it to end, or stop it.") from error
    except SCMError as error:
        raise GraphError(f"DVC can't use Git here ({error}); a workspace is a Git clone.", "failed") from error
    except DvcException as error:
        if is_full_disk(error):
            raise SpaceError(full_disk_sentence(".dvc")) from error
        raise GraphError(f"dvc.yaml or dvc.lock is refused: {one_line(error)}.", "impossible") from error


def one_line(error: Exception) -> str:
    """The text of an error on one line, without the full stop."""
    return " ".join(str(error).split()).rstrip(".")


def silence_dvc_log() -> None:
    """Keep DVC's log off the terminal."""
    logger = logging.getLogger("dvc")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


class DvcLog(logging.Handler):
    """Records errors that DVC's exit code hides: some are only logged, and all others exit with 255."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.code = 0
        """The exit code to end with; 0 while no error was recorded."""
        self.full = False
        """Whether DVC met a full disk."""
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Record the kind of an error."""
        from dvc.lock import LockError
        from dvc.stage.exceptions import StageCmdFailedError

        error = record.exc_info[1] if record.exc_info else None
        if is_full_disk(error):
            self.code, self.full = SpaceError.exit_code, True
            return
        if record.name.partition(".")[0] != "dvc":  # the libraries that move files log what they could not move
            self.code, self.reason = self.code or NOT_KEPT, str(error or record.getMessage())
        for cause in causes(error):
            if isinstance(cause, StageCmdFailedError) and (found := _STAGE_CODE.search(str(cause))):
                self.code = int(found[1])
            elif isinstance(cause, LockError):
                self.code = DVC_BUSY


@contextlib.contextmanager
def watched_dvc_log() -> Iterator[DvcLog]:
    """Record DVC's log while the block works."""
    import dvc.logger  # noqa: F401 - sets up the loggers

    log = DvcLog()
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    for logger in loggers:
        logger.addHandler(log)
    try:
        yield log
    finally:
        for logger in loggers:
            logger.removeHandler(log)
