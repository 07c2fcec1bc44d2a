"""Metrics and samples in the run's log, and the progress of a training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil
import pytorch_lightning as pl
import torch

from langmill.config.sections import Training
from langmill.progress import Progress, track
from langmill.tracking.run_log import RunLog
from langmill.training.guard import StepMetrics
from langmill.training.module import TrainingModule


class Stopwatch:
    """Measures seconds of training, pauses excluded."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = self._clock()
        seconds, self._since = now - self._since, now
        return seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block."""
        began = self._clock()
        try:
            yield
        finally:
            self._since += self._clock() - began


class Reporter(pl.Callback):
    """Logs metrics every `log_every` steps, on the first process only.

    Metrics: `train/loss` (nats, mean over the steps since the last line), `learning_rate`, `gradient_norm` (before
    clipping, mean over the steps), `tokens_per_second` (over all processes, without padding and validation),
    `training_minutes` (spent on steps so far), `memory_rss_mb` of the first process, `memory_gpu_mb` at the peak so far
    on its GPU, and `model_flops_utilisation` (Chowdhery et al., 2022) where the device's peak is known, else
    `model_gflops_per_second`.
    """

    def __init__(
        self,
        name: str,
        training: Training,
        step_metrics: StepMetrics,
        *,
        flops_per_token: Callable[[int], float] | None,
        peak_flops: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Set up.

        Args:
            name: The recipe's name.
            training: The settings.
            step_metrics: What is logged.
            flops_per_token: Of a forward pass, by the sequence's length; None leaves the metric out.
            peak_flops: Of all devices together, per second, if known.
            clock: Seconds from any starting point.
        """
        self.name = name
        self.training = training
        self.step_metrics = step_metrics
        self.stopwatch = Stopwatch(clock)
        self.run_log: RunLog | None = None
        self.progress: Progress | None = None
        self.closing = contextlib.ExitStack()
        self._flops_per_token = flops_per_token
        self._peak_flops = peak_flops
        self._note: str | None = None
        self._untimed_tokens = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        assert isinstance(pl_module, TrainingModule)
        self.stopwatch.lap()
        self._untimed_tokens = self.step_metrics.tokens  # of steps before the checkpoint that this process started from
        if trainer.is_global_zero:
            bar = track(f"Training {self.name}", self.training.steps, "steps", initial=pl_module.step)
            self.progress = self.closing.enter_context(bar)
            pl_module.after_step = self._advance

    def _advance(self) -> None:
        assert self.progress is not None
        self.progress.advance(1, self._note)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Log every `log_every` steps and after the last one."""
        assert isinstance(pl_module, TrainingModule)
        step = pl_module.step
        if step % self.training.log_every and step != self.training.steps:
            return
        losses, norms, tokens = self.step_metrics.take()
        if not losses:  # all steps were made and logged before
            return
        loss = sum(losses) / len(losses)
        values = {
            "train/loss": loss,
            "learning_rate": pl_module.optimizer.learning_rate,
            "gradient_norm": sum(norms) / len(norms),
            "memory_rss_mb": psutil.Process().memory_info().rss / 2**20,
        }
        if pl_module.device.type == "cuda":
            values["memory_gpu_mb"] = torch.cuda.max_memory_allocated(pl_module.device) / 2**20
        values |= self.speed(tokens - self._untimed_tokens, tokens / (len(losses) * self.training.batch_size))
        values["training_minutes"] = self.step_metrics.seconds / 60
        self._untimed_tokens = 0
        self._note = f"loss {loss:.2f}  {values['tokens_per_second']:,.0f} tokens/s"
        self.write(values, step)

    def speed(self, tokens: int, mean_length: float) -> dict[str, float]:
        """Metrics of speed since the stopwatch's last lap, for tokens without padding and a sequence's mean length."""
        seconds = self.stopwatch.lap()
        self.step_metrics.seconds += seconds
        per_second = tokens / seconds
        speed = {"tokens_per_second": per_second}
        if self._flops_per_token is not None:
            flops = 3 * self._flops_per_token(round(mean_length)) * per_second  # a backward pass costs two forward ones
            if self._peak_flops is not None:
                speed["model_flops_utilisation"] = flops / self._peak_flops
            else:
                speed["model_gflops_per_second"] = flops / 1e9
        return speed

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics of a step."""
        if self.run_log is not None:
            self.run_log.metrics(values, step)

    def samples(self, prompts: Sequence[str], texts: Sequence[str], step: int) -> None:
        """Log the texts generated for some prompts."""
        if self.run_log is not None:
            sections = [f"## {prompt}\n\n{text}\n" for prompt, text in zip(prompts, texts, strict=True)]
            self.run_log.text(f"# Step {step}\n\n" + "\n".join(sections), f"samples/step-{step:08}.md")
