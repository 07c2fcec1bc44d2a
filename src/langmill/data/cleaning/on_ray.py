"""Cleaning on Ray Data: the same function over the same batches, on every node of a cluster."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from langmill.config.sections import Cleaning
from langmill.data.cleaning.base import Learned
from langmill.data.cleaning.batches import BatchCleaner, CleanedBatch, sent
from langmill.data.rows import Row
from langmill.errors import ConfigError, DataError, LangmillError

if TYPE_CHECKING:
    import numpy.typing as npt

_WINDOW = 32
"""Batches, of a megabyte each, that are under way at once: what is read ahead, and held in Ray's object store."""
_COLUMN = "batch"


class _Cleaner:
    """A `BatchCleaner` over Ray's blocks, each of which holds one pickled batch."""

    def __init__(self, cleaning: Cleaning, where: str, learned: Learned) -> None:
        self._clean = BatchCleaner(cleaning, where, learned)

    def __call__(self, block: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        done: list[bytes] = []
        for batch in block[_COLUMN]:
            try:
                result: CleanedBatch | LangmillError = self._clean(pickle.loads(batch))  # noqa: S301 - our own, from `clean_on_ray`
            except LangmillError as error:  # carried over as it is: Ray would wrap it into an error of its own
                result = error
            done.append(pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
        return {_COLUMN: np.array(done, object)}


def clean_on_ray(
    batches: Iterable[list[Row]], cleaning: Cleaning, where: str, learned: Learned
) -> Iterator[tuple[list[Row], CleanedBatch]]:
    """Clean batches in their order on the cluster that `RAY_ADDRESS` names, else on a cluster of this machine.

    What the nodes run is this package as it is installed there; its steps must be too.

    Args:
        batches: The rows.
        cleaning: The settings; `workers` is the number of actors.
        where: What they come from, for messages.
        learned: What the steps have learned.

    Raises:
        ConfigError: Ray is not installed.
        DataError: A step fails, or the cluster does.
    """
    try:
        import ray
        from ray.data import DataContext
        from ray.exceptions import RayError
    except ImportError as error:
        raise ConfigError(
            'cleaning.engine is ray, which is not installed; run: pip install "langmill[ray]"', "missing"
        ) from error
    started = not ray.is_initialized()
    if started:
        own: dict[str, Any] = {"num_cpus": cleaning.workers, "include_dashboard": False}
        local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else own
        ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **local)
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False  # the corpus has its own
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    waiting = iter(batches)
    try:
        while window := list(itertools.islice(waiting, _WINDOW)):
            packed = [{_COLUMN: pickle.dumps(sent(batch), pickle.HIGHEST_PROTOCOL)} for batch in window]
            cleaned = ray.data.from_items(packed, override_num_blocks=len(packed)).map_batches(
                _Cleaner,
                fn_constructor_args=(cleaning, where, learned),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=cleaning.workers),
            )
            for batch, row in zip(window, cleaned.iter_rows(), strict=True):
                result = pickle.loads(row[_COLUMN])  # noqa: S301 - of `_Cleaner`
                if isinstance(result, LangmillError):
                    raise result
                yield batch, result
    except RayError as error:
        raise DataError(
            f"Ray could not clean the corpus ({type(error).__name__}: {str(error).splitlines()[-1]}); look at the "
            "cluster, or set cleaning.engine to processes.",
            "failed",
        ) from error
    finally:
        if started:
            ray.shutdown()
