"""What fits a base that a recipe is fine-tuned from: its network, its training, and a size that two cores can do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from langmill.cli.new import choices
from langmill.config.compose import available, compose_pretrained, compose_recipe, compose_training
from langmill.config.names import did_you_mean
from langmill.config.sections import Training
from langmill.errors import LangmillError
from langmill.models.base import Kind
from langmill.models.huggingface.loading import kind_of_model
from langmill.models.huggingface.settings import Tuning
from langmill.stages.recipe_checks import base_kind
from langmill.tasks.base import Generates, Task
from langmill.workspace import Workspace

LARGE = 50_000_000
"""Weights from which on an adapter is the first choice, and a step is made of fewer tokens."""
_LARGE_STEP = {"batch_size": 8, "micro_batch_size": 8}
_WORK = 1e14  # operations of a first training from a large base, with two cores in mind: 6 a weight and token
_MOST_STEPS, _LEAST_STEPS = 300, 50


@dataclass(frozen=True)
class BaseChoice:
    """What a recipe says that is fine-tuned from a base."""

    tokenizer: str
    model: str
    """A file of conf/model/."""
    training: str
    """A file of conf/training/."""
    most: int
    """Steps at most."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Values of `training` other than that file's."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the network other than that file's."""
    is_pretrained: bool = False
    """Whether the base is a model of other authors, or began as one."""

    def fitted(self) -> Training:
        """The settings of training with the changes."""
        return dataclasses.replace(compose_training(self.training), **self.changes)


def choose(base: str, task_file: str, task_name: str, task: Task, tuning: str | None) -> BaseChoice:
    """What fits a base, a recipe's or a pretrained model.

    Args:
        base: Its name.
        task_file: The file of conf/task/.
        task_name: The task that it is of.
        task: What is to be learned.
        tuning: The weights to train, by a name of `Tuning`; None chooses.

    Raises:
        LangmillError: There is no such base, or the task can't be learned by its kind of network.
        ConfigError: Its settings are refused.
    """
    pretrained, recipes = available("pretrained"), available("recipe")
    if base not in pretrained and base not in recipes:
        raise LangmillError(
            f"There is no base {base}: neither a pretrained model ({', '.join(pretrained)}) nor a recipe is called so."
            f"{did_you_mean(base, [*pretrained, *recipes])} `langmill new pretrained` brings another one.",
            "unknown",
        )
    _require_kind(base, task_file, task)
    root = _began_as(base)
    if root is None:
        if tuning is not None:
            raise LangmillError(
                f"--tuning {tuning}: {base} is no pretrained model, nor made from one, so every weight of it is "
                "trained.",
                "unsupported",
            )
        model = choices.chosen_in(base, "model") or choices.fitting_model(task)
        return BaseChoice(compose_recipe(base).tokenizer.name, model, "fine-tuning", _MOST_STEPS)
    size = compose_pretrained(root).parameters
    large = size is not None and size >= LARGE
    tuned = Tuning.lora if large else Tuning.full
    if tuning is not None:
        tuned = Tuning(tuning)
        if tuned is Tuning.head and isinstance(task, Generates):
            raise LangmillError(
                f"--tuning head: what the task {task_file} writes with is {base}'s own, so nothing would be trained; "
                "take lora or full.",
                "impossible",
            )
    elif root != base:
        tuned = Tuning(compose_recipe(base).model.options["tuning"])
    own = root if root in available("model") else "pretrained"
    models = {Tuning.lora: f"{own}-lora" if f"{own}-lora" in available("model") else "pretrained-lora"}
    training = choices.fitting_tuning(task_name, adapter=tuned is Tuning.lora)
    if not large and tuned is Tuning.lora:
        training = "pretrained-lora"  # whose steps are those of its base
    given = compose_training(training)
    step = {"block_length": choices.fitting_length(task) or choices.LENGTH, **_LARGE_STEP} if large else {}
    changes: dict[str, Any] = {key: value for key, value in step.items() if getattr(given, key) != value}
    fitted = dataclasses.replace(given, **changes)
    most = _MOST_STEPS
    if size is not None and large:
        steps = int(_WORK / (6 * size) / (fitted.batch_size * fitted.block_length))
        most = min(_MOST_STEPS, max(_LEAST_STEPS, steps // 10 * 10))
    options = {"tuning": tuned.value} if tuned is Tuning.head else {}
    return BaseChoice(root, models.get(tuned, own), training, most, changes, options, is_pretrained=True)


def _began_as(base: str) -> str | None:
    """The pretrained model that a base is or was made from; None for one that was trained from scratch."""
    known = available("pretrained")
    found: str | None = base
    while found is not None and found not in known:
        found = compose_recipe(found).training.base
    return found


def _require_kind(base: str, task_file: str, task: Task) -> None:
    """Refuse a task that the base's network can't learn, as far as its kind is known here."""
    kind = base_kind(base)
    folder = Workspace().model(base)
    if kind is None and (folder / "config.json").is_file():
        kind = kind_of_model(folder)
    own_tokenizer = _began_as(base) is not None  # which no special token can be added to

    def learns(other: Task) -> bool:
        return kind in other.kinds and not (own_tokenizer and other.needs_special_tokens)

    if kind is None or learns(task):
        return
    others = [file for file in available("task") if learns(choices.task_of(file)[1])]
    raise LangmillError(
        f"{base} {_DOES[kind]}, which the task {task_file} can't be learned by; it can learn: {', '.join(others)}.",
        "mismatch",
    )


_DOES = {
    Kind.causal: "is a network that goes on with a text (causal)",
    Kind.bidirectional: "is a network that reads a text both ways (bidirectional)",
    Kind.encoder_decoder: "is a network that turns one text into another (encoder_decoder)",
}
