"""The background process that sends a run to MLflow: `python -m langmill.tracking.sender FOLDER`."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from langmill.tracking.explained import first_line
from langmill.tracking.run_log import end_killed_runs
from langmill.tracking.shipping import ship_if_begun

_URI_VARIABLE = "LANGMILL_TRACKING_URI"
_SHIP_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
_LAST_SHIPMENT_SECONDS = 60.0

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def shipping(folder: Path, tracking_uri: str | None) -> Iterator[None]:
    """Send the log in `folder` to MLflow every few seconds while the block works.

    A process of its own sends, with low priority: MLflow's import and its database calls would otherwise hold the
    interpreter lock against the training step. It ends when this process does, however that ends, and sends the rest
    first. Its errors never reach the block; a line in the log reports what is still to be sent. Without an address
    nothing is sent.
    """
    if tracking_uri is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "shipping.log").open("w", encoding="utf-8") as log:
        sender = subprocess.Popen(
            [sys.executable, "-m", "langmill.tracking.sender", str(folder)],
            env={**os.environ, _URI_VARIABLE: tracking_uri},  # everyone on the machine can read a command line
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        assert sender.stdin is not None
        sender.stdin.close()  # so it sends the rest and ends
        try:
            code = sender.wait(_LAST_SHIPMENT_SECONDS)
        except subprocess.TimeoutExpired:
            sender.kill()
            code = sender.wait()
        if code != 0:
            reason = first_line((folder / "shipping.log").read_text(encoding="utf-8", errors="replace"))
            _logger.warning("Not all of the run is in MLflow yet; the rest is kept in %s. %s", folder, reason)


def _follow(folder: Path, tracking_uri: str) -> int:
    """Be the process of `shipping`: send until standard input ends or the parent dies, and then once more.

    Runs whose processes were killed, this one or others beside it, are ended and sent too.
    """
    with contextlib.suppress(OSError):
        os.nice(10)
    parent = os.getppid()
    pause, reported, ending = _SHIP_SECONDS, "", False
    waiting = end_killed_runs(folder.parent, but=folder)  # that one may be about to resume
    while True:
        began = time.monotonic()
        while not ending and time.monotonic() - began < pause:
            readable, _, _ = select.select([sys.stdin], [], [], 0.5)
            ending = bool(readable and not os.read(sys.stdin.fileno(), 1)) or os.getppid() != parent
        if ending:
            waiting = [*waiting, *end_killed_runs(folder.parent)]
        try:
            ship_if_begun(folder, tracking_uri)
            while waiting:
                ship_if_begun(waiting[-1], tracking_uri)
                waiting.pop()
            pause, failed = _SHIP_SECONDS, False
        except Exception as error:
            failed = True
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            if str(error) != reported:
                reported = str(error)
                sys.stderr.write(f"{error}\n")
                sys.stderr.flush()
        if ending:
            return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(_follow(Path(sys.argv[1]), os.environ[_URI_VARIABLE]))
