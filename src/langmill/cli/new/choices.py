"""What fits a task: its network, its training, its special tokens, prompts to try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from langmill.config.core_yaml import read_yaml
from langmill.config.moved import split_options
from langmill.errors import LangmillError
from langmill.models.base import ARCHITECTURES
from langmill.tasks.base import Task, build_task
from langmill.tasks.conditional_generation import AfterPrompt
from langmill.workspace import Workspace

_MODELS = ("decoder-small", "encoder-small", "encoder-decoder-small")
"""Networks to begin with, the first whose kind the task can be learned by."""
_TRAINING = {"chat": "pairs", "classification": "classifier", "completion": "pairs", "text_to_text": "translation"}
"""What to begin training from scratch with, by task; `from-scratch` for any other."""
_TUNING = {"preferences": "preferences"}
"""What to begin tuning every weight of a pretrained model with, by task; `pretrained` for any other."""

LENGTH = 256
"""Tokens of a sequence, unless its task wants more."""
_ANSWER_LENGTH = 128
"""Tokens that an answer has room for after the longest prompt."""


def task_of(file: str) -> tuple[str, Task]:
    """The task of a file in conf/task/, and its name: several files can be of one task."""
    path = Workspace().settings("task", file)
    # A task may take its length from the training, whose own is not known yet.
    given = OmegaConf.create({"training": {"block_length": LENGTH}, **read_yaml(path)})
    values: Any = OmegaConf.to_container(given, resolve=True)
    values = values.get("task", values)  # in files of before they stand alone
    options, _ = split_options(values.get("options") or {})
    return str(values["name"]), build_task(str(values["name"]), options, (), str(path))


def fitting_model(task: Task) -> str:
    """A network that the task can be learned by. Raises LangmillError where none of those to begin with is one."""
    for name in _MODELS:
        path = Workspace().settings("model", name)
        if path.is_file():
            values = read_yaml(path)
            options = ARCHITECTURES.options(values["architecture"], values["options"], str(path))
            if ARCHITECTURES.find(values["architecture"]).kind_of(options) in task.kinds:
                return name
    kinds = ", ".join(sorted(kind.value for kind in task.kinds))
    raise LangmillError(
        f"None of {', '.join(_MODELS)} in {Workspace().conf / 'model'} makes a network that the task can be learned by "
        f"(kinds: {kinds}); write such a file there and a recipe by hand.",
        "unsupported",
    )


def fitting_training(task_name: str) -> str:
    """The settings of training from scratch that fit the task."""
    return _TRAINING.get(task_name, "from-scratch")


def fitting_tuning(task_name: str, *, adapter: bool) -> str:
    """The settings of tuning a pretrained model that fit the task."""
    if not adapter:
        return _TUNING.get(task_name, "pretrained")
    return "chat-lora" if Workspace().settings("training", "chat-lora").is_file() else "pretrained-lora"


def chosen_in(recipe: str, group: str) -> str | None:
    """The file that a recipe's defaults list names for a group of conf/."""
    for entry in read_yaml(Workspace().settings("recipe", recipe)).get("defaults", []):
        if isinstance(entry, dict) and f"/{group}" in entry:
            return str(entry[f"/{group}"])
    return None


def fitting_length(task: Task) -> int | None:
    """Tokens of a sequence, where a prompt and what follows it are one; None for tasks that learn something else."""
    if not isinstance(task, AfterPrompt):
        return None
    return max(LENGTH, int(getattr(task.options, "prompt_length", 0)) + _ANSWER_LENGTH)


def special_tokens(task: Task) -> list[str]:
    """The special tokens that a tokenizer made for the task gets."""
    return list(task.special_tokens)


def sample_prompts(documents: Sequence[tuple[str, object]], task_name: str, task: Task) -> list[str]:
    """Prompts of the corpus's own for a model to go on from."""
    texts = list(dict.fromkeys(" ".join(text.split()[:30]) for text, _ in documents))[:2]
    if task.needs_special_tokens:
        special = special_tokens(task)
        words = [text.split()[:12] for text in texts]
        return [" ".join([*each[:2], special[0], *each[3:]]) for each in words if len(each) > 3]
    if task_name == "language_modelling":
        texts = [" ".join(text.split()[:3]) for text in texts]
    return [text[:200] for text in texts]
