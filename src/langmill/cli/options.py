"""The tables of a recipe's settings that plug-ins type."""

from __future__ import annotations

import inspect
from typing import Any

from langmill.config.explained import PlugInTable
from langmill.config.sections import PRETRAINED, Recipe
from langmill.data.cleaning.base import CLEANING_STEPS
from langmill.data.formats.base import FORMATS
from langmill.data.sources.base import SOURCES
from langmill.models.base import ARCHITECTURES
from langmill.plugins import Registry
from langmill.registry.rules.base import RULES
from langmill.scoring.base import SCORERS
from langmill.tasks.base import TASKS
from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS


def plugin_tables(recipe: Recipe) -> dict[str, PlugInTable]:
    """What each plug-in of a recipe means and makes of its options, by the options' dotted key.

    Raises ConfigError where a plug-in is unknown, or its options are refused.
    """
    corpus = recipe.corpus
    named: list[tuple[str, Registry[Any], str, dict[str, Any] | None]] = [
        ("corpus.source.options", SOURCES, corpus.source.kind, corpus.source.options),
        ("corpus.format.options", FORMATS, corpus.format.name, corpus.format.options),
        ("task.options", TASKS, recipe.task.name, recipe.task.options),
        ("scoring.options", SCORERS, TASKS.find(recipe.task.name).scorer, recipe.scoring.options),
        ("model.options", ARCHITECTURES, recipe.model.architecture, recipe.model.options),
    ]
    if recipe.tokenizer.algorithm != PRETRAINED:
        learned = recipe.tokenizer
        named.append(("tokenizer.options", TOKENIZER_ALGORITHMS, learned.algorithm, learned.options))
    cleaning = corpus.cleaning.options.items()
    named += [(f"corpus.cleaning.options.{name}", CLEANING_STEPS, name, options) for name, options in cleaning]
    named += [(f"gate.rules.{name}", RULES, name, options) for name, options in recipe.gate.rules.items()]
    return {
        key: PlugInTable(inspect.getdoc(registry.find(name)) or "", registry.options(name, options, "", key))
        for key, registry, name, options in named
        if options is not None
    }
