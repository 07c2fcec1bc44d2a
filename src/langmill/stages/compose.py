"""Resolve and check the settings of every name in `dvc.yaml`.

Each corpus, tokenizer, pretrained model and recipe becomes one file under build/config/, from which the other stages
read the sections they declare: a stage reruns when a value that it reads changes, and not when a comment does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from langmill.config.compose import (
    CONF,
    compose_corpus,
    compose_pretrained,
    compose_recipe,
    compose_tokenizer,
    plain,
)
from langmill.config.sections import (
    CheckpointKind,
    Corpus,
    Pretrained,
    Recipe,
    SourceKind,
    Tokenizer,
    TokenizerAlgorithm,
)
from langmill.config.typed import typed
from langmill.data.document import Document
from langmill.data.formats.base import ENTRY_POINTS as FORMATS
from langmill.data.formats.base import build_format
from langmill.errors import ConfigError
from langmill.files import atomic_folder, write_text
from langmill.models.base import ENTRY_POINTS as ARCHITECTURES
from langmill.models.base import find_architecture
from langmill.plugins import find_plugins
from langmill.tasks.base import ENTRY_POINTS as TASKS
from langmill.tasks.base import Task, build_task

GRAPH_FILE = Path("dvc.yaml")
OUT = Path("build/config")
FETCHING = "src/langmill/data/sources"
"""What `fetch` and `pretrained` watch where the source is no local file: the code that fetches it. What is pinned can't
change."""


@dataclass(frozen=True)
class Lines:
    """What dvc.yaml's `vars` say about each name."""

    corpora: dict[str, dict[str, str]]
    tokenizers: dict[str, dict[str, str]]
    pretrained: dict[str, dict[str, str]]
    from_scratch: dict[str, dict[str, str]]
    fine_tuned: dict[str, dict[str, str]]
    plugins: Path | None = None
    """The folder of other packages that bring architectures, tasks or formats, watched for changes."""

    @property
    def recipes(self) -> dict[str, dict[str, str]]:
        """Every recipe's line."""
        return {**self.from_scratch, **self.fine_tuned}


def read_lines(path: Path = GRAPH_FILE) -> Lines:
    """Read the names that the graph is made for.

    Raises:
        ConfigError: The file is missing, is not YAML, or a group of names is missing or malformed.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist here; go to the folder of a Langmill workspace.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    groups: dict[str, Any] = {}
    for entry in (values or {}).get("vars") or []:
        if isinstance(entry, dict):
            groups |= entry
    needed = {"corpora": {"source"}, "tokenizers": {"corpus"}, "pretrained": {"source"}}
    needed["from_scratch"] = {"corpus", "tokenizer"}
    needed["fine_tuned"] = needed["from_scratch"] | {"base"}
    for group, keys in needed.items():
        names = groups.get(group)
        if names is None and group in ("fine_tuned", "pretrained"):
            names = groups[group] = {}
        if not isinstance(names, dict):
            raise ConfigError(f"{path}: vars has no table of names called {group}.")
        for name, line in names.items():
            if not isinstance(line, dict) or set(line) != keys:
                raise ConfigError(
                    f"{path}: {group}.{name} is {line!r}; allowed is a line with {', '.join(sorted(keys))}."
                )
    plugins = groups.get("plugins")
    return Lines(**{group: groups[group] for group in needed}, plugins=Path(str(plugins)) if plugins else None)


def check_recipe(recipe: Recipe, where: str) -> Task:
    """Check what one recipe's sections say about each other, and that its task and network exist.

    Args:
        recipe: The typed settings.
        where: The file they come from, for the message.

    Returns:
        The task, whose labels are not known yet.

    Raises:
        ConfigError: Something does not fit; the message names the file and the field.
    """
    try:
        task = build_task(recipe.task.name, recipe.task.options, (), f"{where}: task.options")
        backbone = find_architecture(recipe.model.architecture)
        if backbone.needs_base and recipe.training.base is None:
            raise ConfigError(
                f"training.base is None, but the architecture {recipe.model.architecture} needs one to start from"
            )
    except ConfigError as error:
        raise ConfigError(str(error) if where in str(error) else f"{where}: {error}") from error
    kind = backbone.kind_of(typed(backbone.settings_class, recipe.model.options, f"{where}: model.options"))
    if kind not in task.kinds:
        fitting = ", ".join(sorted(kind.value for kind in task.kinds))
        raise ConfigError(
            f"{where}: model.architecture is {recipe.model.architecture!r}, which makes a network of the kind "
            f"{kind.value}; the task {recipe.task.name} can be learned by these kinds: {fitting}."
        )
    metrics = [metric.name for metric in task.metrics]
    if recipe.gate.metric not in metrics:
        raise ConfigError(
            f"{where}: gate.metric is {recipe.gate.metric!r}; allowed for the task {recipe.task.name} is one of "
            f"{', '.join(metrics)}."
        )
    fields = recipe.corpus.fields
    surplus = sorted(set(recipe.evaluation.slices) - set(fields.metadata))
    if surplus:
        raise ConfigError(
            f"{where}: evaluation.slices names {', '.join(surplus)}; allowed are the metadata fields of the corpus "
            f"{recipe.corpus.name}: {', '.join(fields.metadata) or 'none'}."
        )
    probe = Document("probe", "A text.", "label" if fields.label else None, "A target." if fields.target else None)
    reason = task.check(probe)
    if reason is not None and reason.startswith("missing_"):
        field = reason.removeprefix("missing_")
        raise ConfigError(
            f"{CONF / 'corpus' / recipe.corpus.name}.yaml: fields.{field} is null, but the task {recipe.task.name} of "
            f"{where} needs it; name the field of a row that holds it."
        )
    return task


def check_plugins(lines: Lines, corpora: dict[str, Corpus], recipes: dict[str, Recipe]) -> None:
    """Check that the stages watch the code of every plug-in that the settings use.

    Raises:
        ConfigError: A plug-in lies elsewhere; the message names it and the line to write.
    """
    names = {(FORMATS, corpus.format.name) for corpus in corpora.values()}
    for recipe in recipes.values():
        names |= {(ARCHITECTURES, recipe.model.architecture), (TASKS, recipe.task.name)}
    for plugin in find_plugins(sorted(names)):
        for path in plugin.packages:
            if lines.plugins is None or not path.resolve().is_relative_to(lines.plugins.resolve()):
                found = os.path.relpath(path.resolve().parent)
                raise ConfigError(
                    f"{GRAPH_FILE}: the code of the plug-in {plugin.name} lies in {found}, which no stage watches for "
                    f"changes; name the folder that holds all plug-ins under vars, as in `- plugins: {found}`."
                )


def check_lines(
    lines: Lines,
    corpora: dict[str, Corpus],
    tokenizers: dict[str, Tokenizer],
    pretrained: dict[str, Pretrained],
    recipes: dict[str, Recipe],
) -> None:
    """Check that dvc.yaml's lines say the same as the settings.

    Raises:
        ConfigError: A line differs; the message names the line, the file and the field.
    """
    for name, corpus in corpora.items():
        build_format(corpus.format, _file(f"corpus/{name}"))
        local = corpus.source.kind is SourceKind.files
        expected = str(corpus.source.path) if local else FETCHING
        _same(f"corpora.{name}.source", lines.corpora[name]["source"], expected, f"corpus/{name}", "source.path")
    for name, model in pretrained.items():
        local = model.source.kind is CheckpointKind.files
        expected = str(model.source.path) if local else FETCHING
        _same(
            f"pretrained.{name}.source", lines.pretrained[name]["source"], expected, f"pretrained/{name}", "source.path"
        )
        for group, others in (("tokenizers", lines.tokenizers), ("recipes", lines.recipes)):
            if name in others:
                raise ConfigError(
                    f"{GRAPH_FILE} lists {name} under pretrained and among the {group}; give one of them another name."
                )
    for name, tokenizer in tokenizers.items():
        if tokenizer.corpus is None:
            raise ConfigError(
                f"{GRAPH_FILE} lists the tokenizer {name} under tokenizers, but it comes with the pretrained model of "
                "its name; take the line out."
            )
        _same(f"tokenizers.{name}.corpus", lines.tokenizers[name]["corpus"], tokenizer.corpus, f"tokenizer/{name}")
        _known(f"tokenizers.{name}.corpus", tokenizer.corpus, lines.corpora)
    for name, recipe in recipes.items():
        _check_recipe_line(lines, name, recipe, recipes)
        _unchanged(recipe.corpus, corpora[recipe.corpus.name], _file(f"recipe/{name}"), "corpus")
        shared = tokenizers.get(recipe.tokenizer.name) or compose_tokenizer(recipe.tokenizer.name)
        _unchanged(recipe.tokenizer, shared, _file(f"recipe/{name}"), "tokenizer")


def _check_recipe_line(lines: Lines, name: str, recipe: Recipe, recipes: dict[str, Recipe]) -> None:
    group = "fine_tuned" if name in lines.fine_tuned else "from_scratch"
    line, file, base = lines.recipes[name], f"recipe/{name}", recipe.training.base
    _same(f"{group}.{name}.corpus", line["corpus"], recipe.corpus.name, file)
    _same(f"{group}.{name}.tokenizer", line["tokenizer"], recipe.tokenizer.name, file)
    _known(f"{group}.{name}.corpus", recipe.corpus.name, lines.corpora)
    own = recipe.tokenizer.algorithm is TokenizerAlgorithm.pretrained
    _known(f"{group}.{name}.tokenizer", recipe.tokenizer.name, lines.pretrained if own else lines.tokenizers)
    if name in lines.fine_tuned and name in lines.from_scratch:
        raise ConfigError(f"{GRAPH_FILE} lists the recipe {name} under from_scratch and under fine_tuned; keep one.")
    if group == "from_scratch" and base is not None:
        raise ConfigError(
            f"{GRAPH_FILE} lists the recipe {name} under from_scratch, but in {_file(file)} training.base is "
            f"{base!r}; move the line to fine_tuned or set training.base to null."
        )
    if group == "fine_tuned":
        if base is None:
            raise ConfigError(
                f"{GRAPH_FILE} lists the recipe {name} under fine_tuned, but in {_file(file)} training.base is "
                "null; move the line to from_scratch or name a base."
            )
        _same(f"fine_tuned.{name}.base", line["base"], base, file, "training.base")
        _known(f"fine_tuned.{name}.base", base, {**lines.recipes, **lines.pretrained})
        if base in lines.pretrained:
            _fits_pretrained(recipe, base, _file(file))
        else:
            _fits_base(recipe, recipes[base], _file(file))


def _file(name: str) -> str:
    return str(CONF / f"{name}.yaml")


def _same(line: str, given: str, expected: str, file: str, field: str | None = None) -> None:
    if given != expected:
        key = field or line.rsplit(".", maxsplit=1)[1]
        raise ConfigError(
            f"{GRAPH_FILE}: {line} is {given!r}, but {_file(file)} makes it {expected!r} ({key}); "
            "write the same in both."
        )


def _known(line: str, name: str, names: dict[str, dict[str, str]]) -> None:
    if name not in names:
        raise ConfigError(
            f"{GRAPH_FILE}: {line} is {name!r}, which has no line there; allowed is one of {', '.join(sorted(names))}."
        )


def _fits_base(recipe: Recipe, base: Recipe, where: str) -> None:
    for field, own, theirs in (
        ("tokenizer", recipe.tokenizer.name, base.tokenizer.name),
        ("model.architecture", recipe.model.architecture, base.model.architecture),
    ):
        if own != theirs:
            raise ConfigError(
                f"{where}: {field} is {own!r}, but its base {base.name} was made with {theirs!r}; "
                "a model can only be fine-tuned from one of the same kind."
            )


def _fits_pretrained(recipe: Recipe, base: str, where: str) -> None:
    if recipe.tokenizer.name != base:
        raise ConfigError(
            f"{where}: tokenizer is {recipe.tokenizer.name!r}, but the pretrained model {base} knows its own tokens "
            f"only; take the tokenizer {base} (conf/tokenizer/{base}.yaml)."
        )
    if not find_architecture(recipe.model.architecture).needs_base:
        raise ConfigError(
            f"{where}: model.architecture is {recipe.model.architecture!r}; a recipe that starts from the pretrained "
            f"model {base} has the architecture pretrained."
        )


def _unchanged(own: Any, shared: Any, where: str, group: str) -> None:
    if own != shared:
        changed = sorted(key for key, value in plain(own).items() if value != plain(shared)[key])
        raise ConfigError(
            f"{where}: {group}.{changed[0]} differs from {_file(f'{group}/{shared.name}')}, which is shared by all its "
            f"recipes; change it there, or add another {group} (`langmill new corpus`)."
        )


def main(name: str = "") -> None:
    """Write build/config/ from conf/ and dvc.yaml; `name` is not used."""
    del name
    lines = read_lines()
    corpora = {corpus: compose_corpus(corpus) for corpus in lines.corpora}
    tokenizers = {tokenizer: compose_tokenizer(tokenizer) for tokenizer in lines.tokenizers}
    pretrained = {model: compose_pretrained(model) for model in lines.pretrained}
    recipes = {recipe: compose_recipe(recipe) for recipe in lines.recipes}
    check_lines(lines, corpora, tokenizers, pretrained, recipes)
    for recipe in recipes.values():
        check_recipe(recipe, _file(f"recipe/{recipe.name}"))
    check_plugins(lines, corpora, recipes)
    with atomic_folder(OUT) as folder:
        groups: dict[str, Mapping[str, object]] = {
            "corpus": corpora,
            "tokenizer": tokenizers,
            "pretrained": pretrained,
            "recipe": recipes,
        }
        for group, sections in groups.items():
            for section_name, section in sections.items():
                text = yaml.safe_dump(plain(section), sort_keys=True, allow_unicode=True)
                write_text(folder / group / f"{section_name}.yaml", text)
