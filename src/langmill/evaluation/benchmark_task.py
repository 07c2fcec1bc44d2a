"""Tasks in the file format of EleutherAI's lm-eval: a YAML file that says how questions become texts, and questions.

Read is what means the same here as there; whatever else a file asks for is refused in a sentence, so that no number
stands under a name that it has not earned. Templates are Jinja in its sandbox. Nothing in a file is run (`!function`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from langmill.errors import EvaluationError


class Kind(StrEnum):
    """How an answer is got, the field `output_type`."""

    multiple_choice = "multiple_choice"
    """The most likely of given answers."""
    loglikelihood = "loglikelihood"
    """Whether the one right answer is what the model would write."""
    generate_until = "generate_until"
    """What the model writes."""


_METRICS = {
    Kind.multiple_choice: ("acc", "acc_norm", "acc_bytes", "exact_match"),
    Kind.loglikelihood: ("acc", "perplexity"),
    Kind.generate_until: ("exact_match",),
}
"""The metrics that a kind may be asked for."""
_DEFAULTS = {
    Kind.multiple_choice: ("acc", "acc_norm"),
    Kind.loglikelihood: ("perplexity", "acc"),
    Kind.generate_until: ("exact_match",),
}
"""Those that it has without `metric_list`, as in lm-eval's registry."""
_READ = frozenset(
    {
        "task", "dataset_path", "dataset_kwargs", "test_split", "validation_split", "fewshot_split", "doc_to_text",
        "doc_to_target", "doc_to_choice", "description", "target_delimiter", "fewshot_delimiter", "fewshot_config",
        "num_fewshot", "metric_list", "output_type", "generation_kwargs", "repeats",
    }
)  # fmt: skip
_WITHOUT_EFFECT = frozenset(
    {"task_alias", "tag", "group", "metadata", "dataset_name", "training_split", "should_decontaminate"}
    | {"doc_to_decontamination_query", "unsafe_code"}
)
_MATCHING = frozenset({"ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"})
_MAX_TOKENS = 256  # lm-eval's default for what is written


@dataclass(frozen=True)
class Question:
    """One question as texts."""

    context: str
    """What the model reads before the answer: description, examples and question."""
    choices: tuple[str, ...]
    """The given answers; empty where the model writes its own."""
    gold: tuple[int, ...]
    """The numbers of the right ones among `choices`; empty where there are none."""
    wanted: str
    """The right answer as a text."""


@dataclass(frozen=True)
class BenchmarkTask:
    """A task of questions, ready to be asked."""

    name: str
    kind: Kind
    questions: list[Question]
    metrics: tuple[str, ...]
    delimiter: str
    """What stands between a context and a choice."""
    until: tuple[str, ...]
    """Texts before which a written answer ends."""
    max_tokens: int
    """Tokens of a written answer, at most."""
    matching: Mapping[str, Any] = field(default_factory=dict)
    """Options of `exact_match`."""


def read_task(file: Path) -> BenchmarkTask:
    """Read a task and its questions.

    Raises EvaluationError where the file is missing, or asks for what is not read here; the sentence names the field.
    """
    config = _read_config(file)
    kind, name = _kind(config, file), str(config.get("task") or file.stem)
    _refuse_others(config, file)
    metrics, matching = _metrics(config, kind, file)
    splits = _read_splits(config, file)
    asked = next((config[key] for key in ("test_split", "validation_split") if config.get(key)), None)
    if asked is None:
        raise _refused(file, "test_split", None, "the name of a split of data_files (train, for a single file)")
    documents = _split(splits, str(asked), file)
    template = _Template(config, file)
    shown = _examples(config, splits, file)
    generation = config.get("generation_kwargs") or {}
    until = generation.get("until", config.get("fewshot_delimiter", "\n\n"))
    return BenchmarkTask(
        name,
        kind,
        [template.question(document, kind, shown) for document in documents],
        metrics,
        template.delimiter,
        (until,) if isinstance(until, str) else tuple(until),
        int(next((generation[key] for key in ("max_gen_toks", "max_new_tokens") if key in generation), _MAX_TOKENS)),
        matching,
    )


# The file ------------------------------------------------------------------------------------------------------------


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{file} can't be read: {error.strerror}.", "missing") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        more = " It runs Python (!function), which is not done here." if "!function" in str(error) else ""
        raise EvaluationError(
            f"{file} is no task of lm-eval that can be read here: {str(error).rstrip('.')}.{more}", "unreadable"
        ) from error
    if not isinstance(config, dict):
        raise EvaluationError(f"{file} holds no task of lm-eval: it is no table of fields.", "unreadable")
    return config


def _refused(file: Path, name: str, given: object, allowed: str) -> EvaluationError:
    return EvaluationError(f"{file}: {name} is {given!r}; allowed is {allowed}.", "unsupported")


def _kind(config: Mapping[str, Any], file: Path) -> Kind:
    given = config.get("output_type", Kind.generate_until.value)
    if given not in list(Kind):
        raise _refused(file, "output_type", given, f"one of {', '.join(Kind)}")
    return Kind(given)


def _refuse_others(config: Mapping[str, Any], file: Path) -> None:
    for name in sorted(config.keys() - _READ - _WITHOUT_EFFECT):
        if config[name] not in (None, "", [], {}):
            raise EvaluationError(
                f"{file}: {name} is not read here, and the numbers would be others without it; run it with lm-eval on "
                "what `langmill export` writes.",
                "unsupported",
            )
    if config.get("dataset_path") != "json":
        raise _refused(file, "dataset_path", config.get("dataset_path"), "json, with dataset_kwargs.data_files")
    if config.get("repeats", 1) != 1:
        raise _refused(file, "repeats", config["repeats"], "1")
    generation = config.get("generation_kwargs") or {}
    surplus = sorted(generation.keys() - {"until", "max_gen_toks", "max_new_tokens", "do_sample", "temperature"})
    if surplus:
        raise _refused(file, f"generation_kwargs.{surplus[0]}", generation[surplus[0]], "until and max_gen_toks")
    if generation.get("do_sample") or float(generation.get("temperature") or 0) > 0:
        raise _refused(file, "generation_kwargs.do_sample", True, "false: what is judged is not drawn")


def _metrics(config: Mapping[str, Any], kind: Kind, file: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of the metrics, and the options of `exact_match`."""
    listed = config.get("metric_list")
    if not listed:
        return _DEFAULTS[kind], {}
    names: list[str] = []
    matching: dict[str, Any] = {}
    for each in listed:
        name = each.get("metric")
        if name not in _METRICS[kind]:
            raise _refused(file, "metric_list", name, f"{', '.join(_METRICS[kind])} with output_type {kind}")
        if each.get("aggregation", "mean") not in ("mean", "perplexity"):
            raise _refused(file, f"metric_list.{name}.aggregation", each["aggregation"], "mean")
        options = {key: value for key, value in each.items() if key in _MATCHING}
        surplus = sorted(each.keys() - options.keys() - {"metric", "aggregation", "higher_is_better"})
        if surplus or (options and name != "exact_match"):
            raise _refused(file, f"metric_list.{name}", (surplus or sorted(options))[0], "the metric without it")
        matching |= options
        names.append(name)
    return tuple(names), matching


# The questions -------------------------------------------------------------------------------------------------------


def _read_splits(config: Mapping[str, Any], file: Path) -> dict[str, list[Path]]:
    """The files of each split; a single file is `train`, as in `datasets`."""
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    surplus = sorted((config.get("dataset_kwargs") or {}).keys() - {"data_files"})
    if surplus or not files:
        raise _refused(file, f"dataset_kwargs.{(surplus or ['data_files'])[0]}", files, "data_files, and nothing else")
    named = files if isinstance(files, dict) else {"train": files}
    return {
        split: [_found(Path(name), file) for name in ([some] if isinstance(some, str) else some)]
        for split, some in named.items()
    }


def _found(path: Path, file: Path) -> Path:
    """A file of questions: beside the task's file, or from the current folder as lm-eval looks for it."""
    for each in (file.parent / path, path):
        if each.is_file():
            return each
    raise EvaluationError(f"{file}: {path}, which data_files names, is neither beside it nor here.", "missing")


def _split(splits: Mapping[str, Sequence[Path]], name: str, file: Path) -> list[dict[str, Any]]:
    if name not in splits:
        raise _refused(file, "test_split", name, f"one of {', '.join(splits)}")
    rows: list[dict[str, Any]] = []
    for path in splits[name]:
        text = path.read_text(encoding="utf-8")
        try:
            whole = json.loads(text) if text.lstrip().startswith("[") else None
            found = [json.loads(line) for line in text.splitlines() if line.strip()] if whole is None else whole
        except ValueError as error:
            raise EvaluationError(
                f"{path} is not JSON, one question a line or one list: {str(error).rstrip('.')}.", "unreadable"
            ) from error
        if not all(isinstance(row, dict) for row in found):
            raise EvaluationError(f"{path} holds something else than questions with named fields.", "unreadable")
        rows += found
    if not rows:
        raise EvaluationError(f"{file} has no questions in the split {name}.", "too_few")
    return rows


def _examples(config: Mapping[str, Any], splits: Mapping[str, Sequence[Path]], file: Path) -> list[dict[str, Any]]:
    """The solved questions that stand before each one."""
    count = int(config.get("num_fewshot") or 0)
    if not count:
        return []
    settings = config.get("fewshot_config") or {}
    if settings.get("sampler") != "first_n" or settings.keys() - {"sampler", "split"}:
        raise _refused(file, "fewshot_config", settings, "{sampler: first_n}: drawn ones differ from run to run")
    split = config.get("fewshot_split") or settings.get("split")
    if not split or split in (config.get("test_split"), config.get("validation_split")):
        raise _refused(file, "fewshot_split", split, "another split than the one that is asked")
    return _split(splits, str(split), file)[:count]


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    return re.sub(pattern, replacement, text, count=count)


class _Template:
    """How a row becomes a question."""

    def __init__(self, config: Mapping[str, Any], file: Path) -> None:
        self.config = config
        self.file = file
        self.delimiter = str(config.get("target_delimiter", " "))
        self.between = str(config.get("fewshot_delimiter", "\n\n"))
        self.environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        self.environment.filters["regex_replace"] = _regex_replace

    def question(self, row: Mapping[str, Any], kind: Kind, shown: Sequence[Mapping[str, Any]]) -> Question:
        """A row's question after the solved ones."""
        description = str(self._value("description", row) or "")
        solved = "".join(self._text(each) + self.delimiter + self._answer(each) + self.between for each in shown)
        context = description + solved + self._text(row)
        if kind is not Kind.multiple_choice:
            wanted = self._answer(row)
            given = kind is Kind.loglikelihood
            return Question(context, (wanted,) if given else (), (0,) if given else (), wanted)
        choices = self._choices(row)
        gold = self._gold(row, choices)
        return Question(context, choices, gold, choices[gold[0]])

    def _text(self, row: Mapping[str, Any]) -> str:
        text = self._value("doc_to_text", row)
        if not isinstance(text, str) or (text.isdigit() and self.config.get("doc_to_choice") is not None):
            raise _refused(self.file, "doc_to_text", text, "a text: contexts of their own for each choice are not read")
        return text

    def _answer(self, row: Mapping[str, Any]) -> str:
        target = self._target(row)
        if isinstance(target, int) and self.config.get("doc_to_choice") is not None:
            return self._choices(row)[target]
        if isinstance(target, list):
            raise _refused(self.file, "doc_to_target", target, "one answer")
        return str(target)

    def _target(self, row: Mapping[str, Any]) -> Any:
        target = self._value("doc_to_target", row)
        if isinstance(target, str) and self.config["doc_to_target"] not in row:
            if target.isdigit() and self.config.get("doc_to_choice") is not None:
                return int(target)
            if len(target) >= 2 and target[0] == "[" and target[-1] == "]":
                try:
                    return ast.literal_eval(target)
                except (SyntaxError, ValueError):
                    return target
        return target

    def _choices(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        given = self.config.get("doc_to_choice")
        if isinstance(given, dict):
            given = list(given.values())
        if isinstance(given, str):
            found = self._value("doc_to_choice", row)
            try:
                given = found if given in row else ast.literal_eval(str(found))
            except (SyntaxError, ValueError) as error:
                raise _refused(self.file, "doc_to_choice", found, "a list of texts") from error
        if not isinstance(given, list) or not given or not all(isinstance(each, str) and each for each in given):
            raise _refused(self.file, "doc_to_choice", given, "a list of texts")
        return tuple(given)

    def _gold(self, row: Mapping[str, Any], choices: Sequence[str]) -> tuple[int, ...]:
        target = self._target(row)
        listed = target if isinstance(target, list) else [target]
        gold = [choices.index(each) if isinstance(each, str) and each in choices else each for each in listed]
        if not gold or not all(isinstance(each, int) and 0 <= each < len(choices) for each in gold):
            raise _refused(self.file, "doc_to_target", target, f"a choice or its number, 0 to {len(choices) - 1}")
        return tuple(gold)

    def _value(self, name: str, row: Mapping[str, Any]) -> Any:
        """A field of the file for a row: the row's own field of that name, or the template filled with the row."""
        given = self.config.get(name, "" if name == "description" else None)
        if given is None:
            raise _refused(self.file, name, None, "a field of the questions, or a template")
        if not isinstance(given, str):
            return given
        if given in row:
            return row[given]
        try:
            return self.environment.from_string(given).render(**row)
        except TemplateError as error:
            raise EvaluationError(
                f"{self.file}: {name} can't be filled with {row}: {str(error).rstrip('.')}.", "impossible"
            ) from error
