"""Leave a training at once on Ctrl-C and SIGTERM, instead of Lightning's own handling.

Lightning answers SIGTERM with a collective call from within the signal handler, which can hang several processes, and
Ctrl-C with `sys.exit`. Nothing is saved in either case: the next run resumes from the last checkpoint, and without
one it begins again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytorch_lightning as pl


class OwnSignals(pl.Callback):
    """Restores the process's own SIGTERM handler, which Lightning replaces."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handler; Lightning registers its own just before."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


@contextlib.contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Raise a Ctrl-C during `trainer.fit` as KeyboardInterrupt.

    Raises KeyboardInterrupt where the training was interrupted.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
