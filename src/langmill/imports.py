"""Import large libraries in less time."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Suspend the garbage collector for a block of imports, and keep what they made out of its later rounds.

    Modules stay until the process ends; the collector would look through them dozens of times while they come in.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def defer_torchmetrics() -> None:
    """Let Lightning have the two classes of torchmetrics that it asks for, without all the metrics.

    Those import SciPy and transformers, for 3 s of every training, and nothing here uses them. Whoever asks torchmetrics
    for anything else gets it: the package is executed then.
    """
    spec = None if "torchmetrics" in sys.modules else importlib.util.find_spec("torchmetrics")
    if spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def execute(name: str) -> Any:
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, name)

    version, logger = importlib.metadata.version("torchmetrics"), logging.getLogger("torchmetrics")
    vars(package).update(__getattr__=execute, __version__=version, _logger=logger)
    sys.modules["torchmetrics"] = package
    importlib.import_module("torchmetrics.utilities")  # it and metric import each other, and only this order works
    for module, name in (("metric", "Metric"), ("collections", "MetricCollection")):
        setattr(package, name, getattr(importlib.import_module(f"torchmetrics.{module}"), name))
