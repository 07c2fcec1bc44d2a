"""Train a recipe's model: from random weights, or from its base's."""

from __future__ import annotations

from pathlib import Path

from langmill.config.compose import compose_operation, load_section
from langmill.config.sections import Recipe
from langmill.stages.process import WORKSPACE
from langmill.training.fit import fit

BUILD = Path("build")


def main(name: str) -> None:
    """Turn build/shards/NAME into build/models/NAME."""
    recipe = load_section(Recipe, BUILD / "config" / "recipe" / f"{name}.yaml")
    base = recipe.training.base
    fit(
        recipe,
        shards=BUILD / "shards" / name,
        tokenizer=BUILD / "tokenizers" / recipe.tokenizer.name,
        base=BUILD / "models" / base if base is not None else None,
        runs=WORKSPACE / "runs",
        out=BUILD / "models" / name,
        tracking_uri=compose_operation().tracking_uri,
    )
