"""Tokens and settings to a trained model folder."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from langmill.config.compose import plain
from langmill.config.sections import Recipe
from langmill.files import digest_of
from langmill.imports import without_collecting, without_metrics_extras
from langmill.tracking.run_log import RunLog
from langmill.tracking.sender import shipping
from langmill.training.build import Data, initial_network
from langmill.training.checkpoints import CHECKPOINTS
from langmill.training.finished import FINISHED, is_finished, put_finished, sweep_finished
from langmill.training.hardware import prepared, rank
from langmill.training.provenance import Provenance, compute_provenance

_logger = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    *,
    shards: Path,
    tokenizer: Path,
    base: Path | None,
    runs: Path,
    out: Path,
    tracking_uri: str | None,
    is_committed: Callable[[Path], bool] = lambda _: True,
) -> None:
    """Train a recipe's model, resuming an interrupted run of the same provenance.

    A run that was finished before, but is not known to be committed, is not trained again. With several devices, this
    function runs in every process; only the first one writes.

    Args:
        recipe: The settings.
        shards: The folder of tokens.
        tokenizer: Its folder or file.
        base: The model folder to start from; None starts from random weights.
        runs: The parent of the run folders (log and checkpoints), each named by its provenance.
        out: The model folder to write, whole or not at all.
        tracking_uri: The MLflow server that gets the run's log in the background; None keeps it here only.
        is_committed: Whether a model folder is safe elsewhere, so that the run's own copy may go.

    Raises:
        TrainingError: The parts do not fit each other, the machine lacks what the settings ask for, or the loss stopped
            being a number.
        DataError: There is nothing to train on.
        IntegrityError: A folder is not a finished result, or is damaged.
        SpaceError: The disk is full.
        KeyboardInterrupt: The training was interrupted.
    """
    with prepared(recipe.training):
        data = Data.open(recipe, shards, tokenizer)
        provenance = compute_provenance(recipe, shards, data.tokenizer.file, base)
        run = runs / provenance.digest
        first = rank() == 0
        if first:
            sweep_finished(runs, run, recipe.name, is_committed)
        if is_finished(run) and not is_committed(run / FINISHED):  # every process comes to the same answer
            _logger.info("This run was finished before; its model is in %s.", run)
            if first:
                with tracked_run(recipe, provenance, run, tracking_uri):
                    # Some are left where it was killed right after the model was saved.
                    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
                    put_finished(run, out)
            return
        with without_collecting(), without_metrics_extras():
            from langmill.training.fitting import Fitting, quiet_lightning  # Lightning takes seconds to import

        with quiet_lightning():
            fitting = Fitting(recipe, data, initial_network(recipe, data, base), run)
            with fitting.reported(tracked_run(recipe, provenance, run, tracking_uri)):
                fitting.run()
                fitting.save(provenance, base)
                if fitting.trainer.is_global_zero:  # the trainer knows its node, the environment may not
                    put_finished(run, out)


@contextlib.contextmanager
def tracked_run(recipe: Recipe, provenance: Provenance, run: Path, tracking_uri: str | None) -> Iterator[RunLog]:
    """Open a run's log for the block, record how the block ends, and send the log to MLflow.

    Raises BusyError where another process is at work on the same run.
    """
    log = RunLog(run)
    with shipping(run, tracking_uri), log.recorded():
        log.start(
            experiment=recipe.name,
            name=f"{recipe.name}-{provenance.digest[:8]}",
            provenance=provenance.digest,
            params=plain(recipe),
            tags={"langmill.recipe": recipe.name, "langmill.code": digest_of(provenance.parts["code"])},
            description=recipe.description,
        )
        log.dataset(
            recipe.corpus.name, digest_of(provenance.parts["data"]), "the tokens of the training split", "training"
        )
        yield log
