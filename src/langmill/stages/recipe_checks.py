"""What the sections of a recipe say about each other: they fit, or one sentence says what does not."""

from __future__ import annotations

from langmill.config.compose import available, compose_pretrained, compose_recipe
from langmill.config.sections import Recipe
from langmill.config.typed import Origin
from langmill.data.document import OWN_KEYS, Document
from langmill.errors import ConfigError
from langmill.models.base import ARCHITECTURES, Kind
from langmill.registry.rules.base import build_rules
from langmill.scoring.base import Scorer, build_scorer
from langmill.stages.lines import conf_file
from langmill.tasks.base import TASKS, build_task


def check_recipe(recipe: Recipe, where: str, origin: Origin | None = None) -> Scorer:
    """Check what one recipe's sections say about each other.

    Args:
        recipe: The typed settings.
        where: The file they come from, for the message.
        origin: What gave them, where old names of options are to be warned of; see `typed`.

    Returns:
        What will judge it, the labels not known yet.

    Raises:
        ConfigError: Something does not fit; the message names the file, `where`, and the field.
    """
    TASKS.options(recipe.task.name, recipe.task.options, where, origin=origin)
    task = build_task(recipe.task.name, recipe.task.options, (), where)
    architecture = recipe.model.architecture
    backbone = ARCHITECTURES.find(architecture, where)
    if backbone.needs_base and recipe.training.base is None:
        raise ConfigError(
            f"{where}: training.base is null, but the architecture {architecture} starts from one.", "missing"
        )
    if task.needs_base and recipe.training.base is None:
        raise ConfigError(
            f"{where}: training.base is null, but the task {recipe.task.name} goes on from a model that can answer "
            "already; name a recipe or a pretrained model.",
            "missing",
        )
    options = ARCHITECTURES.options(architecture, recipe.model.options, where, origin=origin)
    kind = backbone.kind_of(options) or base_kind(recipe.training.base)
    if kind is not None and kind not in task.kinds:
        fitting = ", ".join(sorted(kind.value for kind in task.kinds))
        raise ConfigError(
            f"{where}: model.architecture is {architecture!r}, which makes a network of the kind {kind.value}"
            f"{f' from {recipe.training.base}' if recipe.training.base else ''}; the task {recipe.task.name} can be "
            f"learned by these kinds: {fitting}.",
            "mismatch",
        )
    scorer = build_scorer(task, recipe.scoring.options, where)
    metrics = [metric.name for metric in scorer.metrics]
    if recipe.gate.metric not in metrics:
        allowed = ", ".join(metrics)
        raise ConfigError(f"{where}: gate.metric is {recipe.gate.metric!r}; allowed is one of {allowed}.", "unknown")
    build_rules(recipe.gate, where)
    fields = recipe.corpus.fields
    selected = getattr(task.options, "only", {})
    for setting, named in (("evaluation.slices", recipe.evaluation.slices), ("task.options.only", selected)):
        if surplus := sorted(set(named) - {*fields.metadata, *OWN_KEYS}):
            raise ConfigError(
                f"{where}: {setting} names {', '.join(surplus)}; allowed are {', '.join(OWN_KEYS)} and the metadata "
                f"fields of the corpus {recipe.corpus.name}: {', '.join(fields.metadata) or 'none'}.",
                "unknown",
            )
    label, target = "label" if fields.any_has("label") else None, "A target." if fields.any_has("target") else None
    # A document that lacks nothing: a list of no earlier turns, and one of the values that are selected.
    metadata = {name: next(iter(selected.get(name, ())), "[]") for name in fields.metadata}
    reason = task.check(Document("probe", "A text.", label, target, metadata))
    if reason is not None and reason.startswith("missing_"):
        field = reason.removeprefix("missing_")
        file = conf_file(f"corpus/{recipe.corpus.name}")
        lacks = f"fields.{field} is null" if hasattr(fields, field) else f"fields.metadata has no {field}"
        raise ConfigError(
            f"{file}: {lacks}, but the task {recipe.task.name} of {where} needs it; name the field of a row that holds "
            "it.",
            "missing",
        )
    return scorer


def base_kind(base: str | None) -> Kind | None:
    """The kind of network that a recipe gets from its base; None where conf/ does not say it.

    Raises ConfigError where there is no such base, or its settings are refused.
    """
    if base is None:
        return None
    if base in available("pretrained"):
        said = compose_pretrained(base).kind
        return None if said is None else Kind(said.value)
    recipe = compose_recipe(base)
    backbone = ARCHITECTURES.find(recipe.model.architecture, base)
    options = ARCHITECTURES.options(recipe.model.architecture, recipe.model.options, base)
    return backbone.kind_of(options) or base_kind(recipe.training.base)
