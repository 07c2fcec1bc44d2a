"""How a network is fitted: conf/training/."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from langmill.config.constraints import Allowed, Seed, Share, require
from langmill.config.typed import settings

LearningRate = Annotated[float, Field(gt=0, lt=10)]


class Accelerator(StrEnum):
    """The kind of device."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


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


class WeightFormat(StrEnum):
    """The number format in which weights are held."""

    fp32 = "fp32"
    bf16 = "bf16"


@settings
class Optimizer:
    """How weights are moved."""

    name: OptimizerName
    """What moves the matrices inside the network: `adamw`, or `muon` (Jordan et al., 2024). AdamW moves the embedding,
    the norm weights and the head in both cases."""
    learning_rate: LearningRate
    """Peak learning rate of the embedding and the norm weights."""
    matrix_learning_rate: LearningRate
    """Peak learning rate of the matrices inside the network."""
    head_learning_rate: LearningRate
    """Peak learning rate of a task's own head (a classifier's last layer)."""
    matrix_momentum: Share
    """`muon` only: decay of the matrices' running mean of gradients, 0 to below 1."""
    betas: Annotated[list[Share], Allowed("two numbers from 0 to below 1", lambda betas: len(betas) == 2)]
    """AdamW's two decay rates."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay of the matrices inside the network and in the head; embedding and norm weights have
    none."""
    warmup_steps: NonNegativeInt
    """Optimizer steps in which the learning rate grows from 0 to its peak."""
    final_fraction: Annotated[float, Field(ge=0, le=1)]
    """What is left of the peak learning rate at the last step, after a cosine decay; 0 to 1."""
    gradient_clip: NonNegativeFloat
    """Gradients are scaled down to this global L2 norm; 0 switches it off."""


@settings
class Training:
    """How a network is fitted."""

    renamed_fields: ClassVar[Mapping[str, str]] = {"patience": "early_stopping_patience", "machines": "nodes"}
    base: str | None
    """The recipe or the pretrained model that training starts from; null trains from scratch."""
    seed: Seed
    """Seed of initialisation, data order and dropout."""
    steps: PositiveInt
    """Optimizer steps."""
    batch_size: PositiveInt
    """Sequences in one optimizer step, over all devices and accumulated micro-batches."""
    micro_batch_size: PositiveInt
    """Sequences that one device works on at once; batch_size is a multiple of devices times this."""
    block_length: PositiveInt
    """Tokens in a sequence; longer documents are truncated (padded batches) or continue in the next one (packed
    batches)."""
    optimizer: Optimizer
    validate_every: PositiveInt
    """Optimizer steps between two validations."""
    validation_batches: PositiveInt
    """Micro-batches in one validation, at most."""
    early_stopping_patience: NonNegativeInt
    """Stop after this many validations without a better loss; 0 never stops early."""
    checkpoint_every: PositiveInt
    """Optimizer steps between two checkpoints, from which an interrupted run resumes."""
    log_every: PositiveInt
    """Optimizer steps between two logged values."""
    samples: list[str]
    """Prompts that the model continues at each validation, to be read in the tracking UI; may be empty."""
    threads: PositiveInt
    """CPU threads of each process; part of the result, since sums are made in another order with another number."""
    devices: PositiveInt
    """Processes (CPU) or GPUs on each node."""
    nodes: PositiveInt
    """Computers that train together (started by torchrun or SLURM)."""
    accelerator: Accelerator
    strategy: Strategy
    precision: Precision
    """`fp32`: 24 bits of precision; `tf32`: 11 bits, on recent GPUs only; `bf16`: 8 bits; `auto`: bf16 where the
    processor multiplies it natively, else fp32. With `bf16` on a GPU, products outside the network are made in tf32."""
    weights: WeightFormat
    """The number format of weights in memory. `fp32`; or `bf16`, where the products are in bf16 too, which halves their
    memory and that of their gradients: trained weights are rounded at random, so that small steps are not lost, and an
    adapter or a head beside frozen weights stays in fp32."""
    compile: bool
    """Fuse the network's operations with torch.compile: a Transformer's block once for all of them, another network as
    a whole. Needs a C++ compiler (CPU) or a recent GPU."""
    activation_checkpointing: bool
    """Keep the input of each of a Transformer's blocks alone, and compute the rest again in the backward pass: less
    memory for about a third more time, with the same gradients."""
    deterministic: bool
    """Take only operations that give the same bytes each time; false lets a GPU take faster ones, and the same settings
    then give other weights each time."""

    def __post_init__(self) -> None:
        share = self.devices * self.nodes * self.micro_batch_size
        require(
            self.batch_size % share == 0,
            "batch_size",
            self.batch_size,
            f"a multiple of devices x nodes x micro_batch_size = {share}",
        )
        require(
            self.optimizer.warmup_steps < self.steps,
            "optimizer.warmup_steps",
            self.optimizer.warmup_steps,
            f"less than training.steps ({self.steps})",
        )

    @property
    def accumulation(self) -> int:
        """Micro-batches that one device adds up for an optimizer step."""
        return self.batch_size // (self.devices * self.nodes * self.micro_batch_size)
