"""How a network is fitted: conf/training/."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from langmill.config.sections.device import Accelerator
from langmill.config.sections.requirement import require


class OptimizerName(StrEnum):
    """How weights are moved."""

    adamw = "adamw"
    muon = "muon"


class Precision(StrEnum):
    """The number format of the matrix products."""

    auto = "auto"
    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"


class Strategy(StrEnum):
    """How several devices share the work."""

    auto = "auto"
    ddp = "ddp"
    fsdp = "fsdp"


@dataclass
class Optimizer:
    """How weights are moved."""

    name: OptimizerName
    """What moves the matrices inside the network: `adamw`, or `muon` (Jordan et al., 2024). AdamW moves the embedding,
    the gains and the head in both cases."""
    learning_rate: float
    """Peak learning rate of the embedding and the gains."""
    matrix_learning_rate: float
    """Peak learning rate of the matrices inside the network."""
    head_learning_rate: float
    """Peak learning rate of a task's own head (a classifier's last layer)."""
    matrix_momentum: float
    """`muon` only: decay of the matrices' running mean of gradients, 0 to below 1."""
    betas: list[float]
    """AdamW's two decay rates."""
    weight_decay: float
    """Decoupled weight decay of the matrices inside the network and in the head; embedding and gains have none."""
    warmup_steps: int
    """Optimizer steps in which the learning rate grows from 0 to its peak."""
    final_fraction: float
    """What is left of the peak learning rate at the last step, after a cosine decay; 0 to 1."""
    gradient_clip: float
    """Gradients are scaled down to this global L2 norm; 0 switches it off."""

    def __post_init__(self) -> None:
        for field in ("learning_rate", "matrix_learning_rate", "head_learning_rate"):
            value = getattr(self, field)
            require(0 < value < 10, f"optimizer.{field}", value, "above 0 and below 10")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "optimizer.betas",
            self.betas,
            "two numbers from 0 to below 1",
        )
        require(0 <= self.matrix_momentum < 1, "optimizer.matrix_momentum", self.matrix_momentum, "0 to below 1")
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        require(self.warmup_steps >= 0, "optimizer.warmup_steps", self.warmup_steps, "0 or more")
        require(0 <= self.final_fraction <= 1, "optimizer.final_fraction", self.final_fraction, "0 to 1")
        require(self.gradient_clip >= 0, "optimizer.gradient_clip", self.gradient_clip, "0 or more")


@dataclass
class Training:
    """How a network is fitted."""

    base: str | None
    """The recipe or the pretrained model that training starts from; null trains from scratch."""
    seed: int
    """Seed of initialisation, data order and dropout."""
    steps: int
    """Optimizer steps."""
    batch_size: int
    """Sequences in one optimizer step, over all devices and accumulated micro-batches."""
    micro_batch_size: int
    """Sequences that one device works on at once; batch_size is a multiple of devices times this."""
    block_length: int
    """Tokens in a sequence; longer documents are cut (padded batches) or go on in the next (packed batches)."""
    optimizer: Optimizer
    validate_every: int
    """Optimizer steps between two validations."""
    validation_batches: int
    """Micro-batches in one validation, at most."""
    patience: int
    """Stop after this many validations without a better loss; 0 never stops early."""
    checkpoint_every: int
    """Optimizer steps between two checkpoints, from which an interrupted run goes on."""
    log_every: int
    """Optimizer steps between two logged values."""
    samples: list[str]
    """Prompts that the model goes on from at each validation, to be read in the tracking UI; may be empty."""
    threads: int
    """CPU threads of each process; part of the result, since sums are made in another order with another number."""
    devices: int
    """Processes (CPU) or cards (GPU) on each machine."""
    machines: int
    """Machines that train together (started by torchrun or SLURM)."""
    accelerator: Accelerator
    strategy: Strategy
    precision: Precision
    """`fp32`: 24 bits of precision; `tf32`: 11 bits, on recent GPUs only; `bf16`: 8 bits; `auto`: bf16 where the
    processor multiplies it natively, else fp32. With `bf16` on a GPU, products outside the network are made in tf32."""
    compile: bool
    """Fuse the network's operations with torch.compile; needs a C++ compiler (CPU) or a recent GPU."""

    def __post_init__(self) -> None:
        for field in (
            "steps",
            "batch_size",
            "micro_batch_size",
            "block_length",
            "validate_every",
            "validation_batches",
            "checkpoint_every",
            "log_every",
            "threads",
            "devices",
            "machines",
        ):
            value = getattr(self, field)
            require(value >= 1, f"training.{field}", value, "1 or more")
        require(self.patience >= 0, "training.patience", self.patience, "0 or more")
        require(0 <= self.seed < 2**32, "training.seed", self.seed, "0 to 4294967295")
        share = self.devices * self.machines * self.micro_batch_size
        require(
            self.batch_size % share == 0,
            "training.batch_size",
            self.batch_size,
            f"a multiple of devices x machines x micro_batch_size = {share}",
        )
        require(
            self.optimizer.name is not OptimizerName.muon or self.strategy is not Strategy.fsdp,
            "training.strategy",
            self.strategy.value,
            "auto or ddp with the optimizer muon, which needs whole matrices",
        )
        require(
            self.optimizer.warmup_steps < self.steps,
            "training.optimizer.warmup_steps",
            self.optimizer.warmup_steps,
            f"less than training.steps ({self.steps})",
        )

    @property
    def accumulation(self) -> int:
        """Micro-batches that one device adds up for an optimizer step."""
        return self.batch_size // (self.devices * self.machines * self.micro_batch_size)
