"""Resolve and check the settings of every name in `dvc.yaml`.

Each corpus, tokenizer, pretrained model and recipe becomes one file under build/config/, from which the other stages
read the sections they declare: a stage reruns when a value that it reads changes, and not when a comment does. Where a
name's settings are refused, its file holds the sentence that says why: its own stages stop with it, the others go on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langmill.checkpoints.base import MODEL_SOURCES, build_model_source
from langmill.config.compose import (
    COMPOSERS,
    REFUSED,
    compose_recipe,
    located,
    origin_in,
    plain,
)
from langmill.config.core_yaml import dump_yaml
from langmill.config.sections import PRETRAINED, Corpus, Pretrained, Recipe, Tokenizer
from langmill.config.typed import Origin
from langmill.data.cleaning.base import CLEANING_STEPS, check_steps
from langmill.data.contract.base import EXPECTATIONS, build_expectations
from langmill.data.formats.base import FORMATS, build_format
from langmill.data.sources.base import FETCHING, SOURCES, CorpusSource, build_source, watched
from langmill.errors import ConfigError, FieldError
from langmill.files import atomic_folder, write_text
from langmill.models.base import ARCHITECTURES
from langmill.plugins import find_plugins
from langmill.stages.lines import GRAPH_FILE, Lines, conf_file, read_lines, require_line, require_same
from langmill.stages.recipe_checks import check_recipe
from langmill.tasks.base import TASKS
from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS, check_tokenizer
from langmill.workspace import Workspace

OUT = Workspace().composed


class Composed:
    """What conf/ makes of the names in dvc.yaml.

    Attributes:
        lines: dvc.yaml's lines.
        sections: The settings of each name, by group and name.
        refused: What refuses a name's settings, by group and name.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.sections: dict[str, dict[str, Any]] = {group: {} for group in COMPOSERS}
        self.refused: dict[str, dict[str, ConfigError]] = {group: {} for group in COMPOSERS}
        self._unchecked: dict[tuple[str, str], Any] = {}
        self._watched: set[tuple[str, str]] = set()  # looking plug-ins up takes as long as there are packages installed

    def get(self, group: str, name: str) -> Any:
        """A name's settings, composed and checked once. Raises ConfigError where they are refused."""
        if name in self.refused[group]:
            raise self.refused[group][name]
        if name not in self.sections[group]:
            try:
                section = self.compose(group, name)
                if name in self.lines.groups[group]:
                    _CHECKS[group](self, name, section)
            except ConfigError as error:
                if isinstance(error, FieldError):
                    located(error, _origin(group, name))
                self.refused[group][name] = error
                raise
            self.sections[group][name] = section
        return self.sections[group][name]

    def compose(self, group: str, name: str) -> Any:
        """A name's settings, composed once and not checked: a base is also a recipe. Raises ConfigError as `get`."""
        key = (group, name)
        if key not in self._unchecked:
            self._unchecked[key] = COMPOSERS[group](name)
        return self._unchecked[key]

    def check_plugins(self, *names: tuple[str, str], only_judge: bool = False) -> None:
        """Check that the stages watch the code of every plug-in among some names, as `find_plugins` takes them.

        Raises ConfigError where a plug-in lies elsewhere; the message names it and the line to write.
        """
        key, folders = "plugins", [self.lines.plugins]
        if only_judge:
            key, folders = "judging", [self.lines.plugins, self.lines.judging]
        watched = [folder.resolve() for folder in folders if folder is not None]
        for plugin in find_plugins(sorted(set(names) - self._watched)):
            for path in map(Path.resolve, plugin.packages):
                if not any(path.is_relative_to(folder) for folder in watched):
                    found = os.path.relpath(path.parent)
                    raise ConfigError(
                        f"{GRAPH_FILE}: the code of the plug-in {plugin.name} lies in {found}, which no stage watches "
                        f"for changes; name the folder that holds all such plug-ins under vars, as in `- {key}: "
                        f"{found}`.",
                        "missing",
                    )
        self._watched |= set(names)


def compose_all(lines: Lines) -> Composed:
    """Compose every name in dvc.yaml, and check that its lines say the same as the settings."""
    composed = Composed(lines)
    for group, names in lines.groups.items():
        for name in names:
            with contextlib.suppress(ConfigError):
                composed.get(group, name)
    return composed


def require_composed(recipes: Sequence[str] = (), corpora: Sequence[str] = (), pretrained: Sequence[str] = ()) -> None:
    """Raise ConfigError where the stages of one of these, or of what it starts from, would stop at their settings."""
    composed = Composed(read_lines())
    for name in corpora:
        composed.get("corpus", name)
    for name in pretrained:
        composed.get("pretrained", name)
    waiting, seen = list(recipes), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            base = composed.get("recipe", name).training.base
            waiting += [base] if base in composed.lines.recipes else []


def check_corpus(corpus: Corpus) -> CorpusSource:
    """Check that a corpus's source, format and cleaning steps exist and take its options.

    Raises ConfigError where they don't; the message names the file and the field.
    """
    where = conf_file(f"corpus/{corpus.name}")
    origin = _origin("corpus", corpus.name)
    FORMATS.options(corpus.format.name, corpus.format.options, where, origin=origin)
    build_format(corpus.format, where)
    check_steps(corpus.cleaning, where, has_target=corpus.fields.any_has("target"))
    build_expectations(corpus.contract, where)
    return build_source(corpus.source, where)


def checked_recipe(name: str, overrides: Sequence[str] = (), composed: Recipe | None = None) -> Recipe:
    """A recipe's settings with overrides, as far as they can be checked without dvc.yaml.

    `composed` is what `compose_recipe` makes of them, where the caller has that already. Raises ConfigError where they
    are refused.
    """
    recipe = compose_recipe(name, overrides) if composed is None else composed
    origin = origin_in(f"recipe/{name}", overrides)
    try:
        check_corpus(recipe.corpus)
        check_tokenizer(recipe.tokenizer, conf_file(f"tokenizer/{recipe.tokenizer.name}"))
        check_recipe(recipe, conf_file(f"recipe/{name}"), origin)
    except FieldError as error:
        raise located(error, origin) from error
    return recipe


def _origin(group: str, name: str) -> Origin:
    """What gave a name's settings, by the keys that its own file has."""
    origin = origin_in(f"{group}/{name}")
    return origin if group == "recipe" else lambda key: origin(f"{group}.{key}")


def _check_corpus(composed: Composed, name: str, corpus: Corpus) -> None:
    expected = watched(check_corpus(corpus), name)
    named = [(CLEANING_STEPS.group, step) for step in corpus.cleaning.steps]
    for step, options in corpus.cleaning.options.items():
        named += CLEANING_STEPS.find(step).plugins(CLEANING_STEPS.options(step, options or {}, name))
    named += [(EXPECTATIONS.group, expectation) for expectation in corpus.contract.expectations]
    composed.check_plugins((FORMATS.group, corpus.format.name), (SOURCES.group, corpus.source.kind), *named)
    field = "source.path" if corpus.source.kind == "files" else "source.kind"
    require_same(f"corpora.{name}.source", composed.lines.corpora[name]["source"], expected, f"corpus/{name}", field)
    if expected == str(record := Workspace().fingerprint(name)) and not record.is_file():
        raise ConfigError(
            f"{conf_file(f'corpus/{name}')}: its source can change, and nobody has said yet what is there; "
            f"`langmill refresh {name}` looks, and notes it in {record}.",
            "missing",
        )


def _check_pretrained(composed: Composed, name: str, model: Pretrained) -> None:
    lines = composed.lines
    source = build_model_source(model.source, conf_file(f"pretrained/{name}"))
    composed.check_plugins((MODEL_SOURCES.group, model.source.kind))
    expected = source.local or FETCHING
    require_same(
        f"pretrained.{name}.source", lines.pretrained[name]["source"], expected, f"pretrained/{name}", "source.path"
    )
    for group, others in (("tokenizers", lines.tokenizers), ("recipes", lines.recipes)):
        if name in others:
            raise ConfigError(f"{GRAPH_FILE} lists {name} under pretrained and under {group}; rename one.", "duplicate")


def _check_tokenizer(composed: Composed, name: str, tokenizer: Tokenizer) -> None:
    lines = composed.lines
    if tokenizer.corpus is None:
        raise ConfigError(
            f"{GRAPH_FILE}: tokenizers.{name} comes with the pretrained model of its name; take the line out.",
            "mismatch",
        )
    check_tokenizer(tokenizer, conf_file(f"tokenizer/{name}"))
    composed.check_plugins((TOKENIZER_ALGORITHMS.group, tokenizer.algorithm))
    require_same(f"tokenizers.{name}.corpus", lines.tokenizers[name]["corpus"], tokenizer.corpus, f"tokenizer/{name}")
    require_line(f"tokenizers.{name}.corpus", tokenizer.corpus, lines.corpora)
    composed.get("corpus", tokenizer.corpus)


def _check_recipe(composed: Composed, name: str, recipe: Recipe) -> None:
    _check_recipe_line(composed, name, recipe)
    _unchanged(recipe.corpus, composed.get("corpus", recipe.corpus.name), conf_file(f"recipe/{name}"), "corpus")
    shared = composed.get("tokenizer", recipe.tokenizer.name)
    _unchanged(recipe.tokenizer, shared, conf_file(f"recipe/{name}"), "tokenizer")
    if recipe.training.base in composed.lines.pretrained:
        composed.get("pretrained", recipe.training.base)
    scorer = check_recipe(recipe, conf_file(f"recipe/{name}"), _origin("recipe", name))
    composed.check_plugins((ARCHITECTURES.group, recipe.model.architecture), (TASKS.group, recipe.task.name))
    composed.check_plugins(*scorer.plugins, only_judge=True)


_CHECKS: dict[str, Callable[[Composed, str, Any], None]] = {
    "corpus": _check_corpus,
    "tokenizer": _check_tokenizer,
    "pretrained": _check_pretrained,
    "recipe": _check_recipe,
}


def _check_recipe_line(composed: Composed, name: str, recipe: Recipe) -> None:
    lines = composed.lines
    group = "fine_tuned" if name in lines.fine_tuned else "from_scratch"
    line, file, base = lines.recipes[name], f"recipe/{name}", recipe.training.base
    require_same(f"{group}.{name}.corpus", line["corpus"], recipe.corpus.name, file)
    require_same(f"{group}.{name}.tokenizer", line["tokenizer"], recipe.tokenizer.name, file)
    require_line(f"{group}.{name}.corpus", recipe.corpus.name, lines.corpora)
    own = recipe.tokenizer.algorithm == PRETRAINED
    require_line(f"{group}.{name}.tokenizer", recipe.tokenizer.name, lines.pretrained if own else lines.tokenizers)
    if name in lines.fine_tuned and name in lines.from_scratch:
        raise ConfigError(f"{GRAPH_FILE} lists {name} under from_scratch and under fine_tuned; keep one.", "duplicate")
    right = "from_scratch" if base is None else "fine_tuned"
    if group != right:
        raise ConfigError(
            f"{GRAPH_FILE} lists {name} under {group}, but in {conf_file(file)} training.base is {base or 'null'}; "
            f"move the line to {right}, or change that.",
            "mismatch",
        )
    if base is not None:
        require_same(f"fine_tuned.{name}.base", line["base"], base, file, "training.base")
        require_line(f"fine_tuned.{name}.base", base, {**lines.recipes, **lines.pretrained})
        if base in lines.pretrained:
            _fits_pretrained(recipe, base, conf_file(file))
        else:
            _fits_base(recipe, composed.compose("recipe", base), conf_file(file))


def _fits_base(recipe: Recipe, base: Recipe, where: str) -> None:
    for field, own, theirs in (
        ("tokenizer", recipe.tokenizer.name, base.tokenizer.name),
        ("model.architecture", recipe.model.architecture, base.model.architecture),
    ):
        if own != theirs:
            raise ConfigError(
                f"{where}: {field} is {own!r}, but its base {base.name} was made with {theirs!r}; "
                "a model can only be fine-tuned from one of the same kind.",
                "mismatch",
            )


def _fits_pretrained(recipe: Recipe, base: str, where: str) -> None:
    if recipe.tokenizer.name != base:
        raise ConfigError(
            f"{where}: tokenizer is {recipe.tokenizer.name!r}, but the pretrained model {base} knows its own tokens "
            f"only; take the tokenizer {base} (conf/tokenizer/{base}.yaml).",
            "mismatch",
        )
    if not ARCHITECTURES.find(recipe.model.architecture).needs_base:
        raise ConfigError(
            f"{where}: model.architecture is {recipe.model.architecture!r}; a recipe that starts from the pretrained "
            f"model {base} has the architecture pretrained.",
            "mismatch",
        )


def _unchanged(own: Any, shared: Any, where: str, group: str) -> None:
    if own != shared:
        changed = sorted(key for key, value in plain(own).items() if value != plain(shared)[key])
        raise ConfigError(
            f"{where}: {group}.{changed[0]} differs from {conf_file(f'{group}/{shared.name}')}, which is shared by all "
            f"its recipes; change it there, or add another {group} (`langmill new corpus`).",
            "mismatch",
        )


def main(name: str = "") -> None:
    """Write build/config/ from conf/ and dvc.yaml; `name` is not used.

    Raises ConfigError where dvc.yaml can't be read, or no recipe's settings are accepted.
    """
    del name
    composed = compose_all(read_lines())
    refused = [error for group in composed.refused.values() for error in group.values()]
    if refused and not composed.sections["recipe"]:
        raise refused[0]
    for sentence in dict.fromkeys(map(str, refused)):
        sys.stderr.write(f"Left out: {sentence}\n")
    with atomic_folder(OUT) as folder:
        for group, names in composed.lines.groups.items():
            for each in names:
                refusal = composed.refused[group].get(each)
                values = {REFUSED: str(refusal)} if refusal else plain(composed.sections[group][each])
                write_text(folder / group / f"{each}.yaml", dump_yaml(values))
