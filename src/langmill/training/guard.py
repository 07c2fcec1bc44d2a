"""The metrics of each step, and the guard against NaN and infinity."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch

from langmill.errors import TrainingError
from langmill.training import processes
from langmill.training.module import TrainingModule


class StepMetrics(pl.Callback):
    """Moves each step's loss and gradient norm off the device after every loop, and raises if one is not finite.

    First in the list of callbacks: nothing is logged, validated or saved after a step that went wrong. Synchronising
    once a loop instead of once a step lets a GPU run ahead.

    Attributes:
        losses: Each step's loss, mean over the processes, since `take` was last called.
        norms: Likewise the gradients' norm.
        tokens: Tokens since then, over all processes, padding left out.
        tokens_seen: Tokens since the start of training.
        seconds: Time spent on steps since the start of training, over all resumptions.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.tokens = 0
        self.tokens_seen = 0
        self.seconds = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Collect the metrics of a loop's steps.

        Raises TrainingError where one of them is not a finite number; every process raises it.
        """
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.losses:  # all steps were made before
            return
        first = pl_module.step - len(pl_module.losses) + 1
        losses = processes.mean(torch.stack(pl_module.losses).float()).tolist()
        norms = torch.stack(pl_module.norms).tolist()
        tokens = int(processes.all_reduce(torch.tensor(pl_module.tokens, device=pl_module.device)))
        pl_module.losses, pl_module.norms, pl_module.tokens = [], [], 0
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), start=first):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                name, value = ("gradient norm", norm) if math.isfinite(loss) else ("loss", loss)
                rate = pl_module.training_settings.optimizer.learning_rate
                raise TrainingError(
                    f"The {name} became {value} at step {step}, so training stopped and saved nothing from there on. "
                    f"Lower training.optimizer.learning_rate (it is {rate:g}) or raise "
                    "training.optimizer.warmup_steps; if that does not help, look for damaged documents in the data.",
                    code="diverged",
                )
        self.losses += losses
        self.norms += norms
        self.tokens += tokens
        self.tokens_seen += tokens

    def take(self) -> tuple[list[float], list[float], int]:
        """Return the losses, norms and number of tokens since the last call."""
        taken = self.losses, self.norms, self.tokens
        self.losses, self.norms, self.tokens = [], [], 0
        return taken

    def state_dict(self) -> dict[str, object]:
        """The state that an exact resume needs."""
        return {key: getattr(self, key) for key in ("losses", "norms", "tokens", "tokens_seen", "seconds")}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Restore the state that `state_dict` returned."""
        for key, value in state_dict.items():
            setattr(self, key, value)
