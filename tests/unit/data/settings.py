"""Settings for tests, shrunk from the shipped ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langmill.config.compose import compose_corpus
from langmill.config.sections import Cleaning, Engine, Fields, Folding, FormatSection, Package, Source
from langmill.data.corpus import CorpusSettings
from langmill.data.formats.base import Format, build_format

CONF = Path(__file__).parents[3] / "conf"


def fields(text: str = "text", label: str | None = None, target: str | None = None, *metadata: str) -> Fields:
    return Fields(text, label, target, list(metadata))


def settings(
    own_fields: Fields | None = None, split: dict[str, Any] | None = None, **own_cleaning: Any
) -> CorpusSettings:
    shipped = compose_corpus("reviews", CONF)
    return CorpusSettings(
        "tiny",
        file_format(),
        own_fields or fields(),
        cleaning(**own_cleaning),
        replace(shipped.split, **({"validation": 0.25, "test": 0.25} | (split or {}))),
    )


def cleaning(
    steps: Sequence[str] = ("markup", "characters", "length"),
    *,
    drop_duplicates: bool = True,
    fold: Folding = Folding.text,
    workers: int = 1,
    engine: Engine = Engine.processes,
    near: dict[str, Any] | None = None,
    leakage: bool = True,
    **options: dict[str, Any],
) -> Cleaning:
    """The shipped steps with some options changed, and further steps at their end; `near={}` for no near duplicates."""
    shipped = compose_corpus("reviews", CONF).cleaning
    known: dict[str, Any] = dict(shipped.options)
    known["length"] = {**known["length"], "min_characters": 1}
    known |= {name: {**known.get(name, {}), **changed} for name, changed in options.items()}
    listed = [*steps, *(name for name in options if name not in steps)]
    assert shipped.near_duplicates is not None
    return Cleaning(
        listed,
        {name: known.get(name, {}) for name in listed},
        drop_duplicates,
        fold,
        None if near == {} else replace(shipped.near_duplicates, **(near or {})),
        shipped.leakage if leakage else None,
        engine,
        workers,
    )


def file_format(name: str = "auto", **options: Any) -> Format:
    return build_format(FormatSection(name, options), "tiny.yaml")


def local(path: Path) -> Source:
    return Source("files", [], str(path))


def package(sha256: str, *members: str, name: str = "films", version: str = "1.0", kind: str = "pypi") -> Source:
    return Source(kind, [Package(name, version, sha256, list(members))], None)
