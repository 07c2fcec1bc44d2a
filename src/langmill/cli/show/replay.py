"""Raw rows taken through a corpus's steps again, one step at a time: nothing of this is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from langmill.config.compose import load_section
from langmill.config.sections import Cleaning, Fields, FormatSection, Labels
from langmill.data.cleaning.base import CleaningStep, Draft, Dropped, Steps, build_steps
from langmill.data.formats.base import build_format
from langmill.data.readers import read_rows
from langmill.data.rows import BadRow, Row
from langmill.errors import ConfigError, DataError
from langmill.progress import track
from langmill.workspace import Workspace

LOOKED_AT = 20_000
"""Rows that are taken through the steps for a sample of what one of them does."""


class Passed(NamedTuple):
    """What one step made of one document."""

    step: str
    before: Draft
    after: Draft | Dropped

    @property
    def changed(self) -> bool:
        """Whether the step changed the document or dropped it."""
        return isinstance(self.after, Dropped) or self.after[:3] != self.before[:3]


class Sample(NamedTuple):
    """What a step did to some documents."""

    passed: list[tuple[str, Passed]]
    """Some of those that it changed or dropped, with the places of their rows."""
    seen: int
    """Documents that came to the step."""
    changed: int
    dropped: int
    rows: int
    """Rows that were read."""
    complete: bool
    """Whether they are all there are."""


class Replay:
    """The raw rows of a corpus and its steps, by the settings that its documents were made with."""

    def __init__(self, corpus: str) -> None:
        """Read the settings and build the steps.

        Raises:
            ConfigError: The corpus is not composed, or a step can't be built.
            DataError: The raw files are not there.
        """
        workspace = Workspace()
        path = workspace.composed_file("corpus", corpus)
        self.file_format = build_format(load_section(FormatSection, path, "format"), str(path))
        self.fields = load_section(Fields, path, "fields")
        self.labels = load_section(Labels, path, "labels").map
        cleaning = load_section(Cleaning, path, "cleaning")
        self.max_characters = cleaning.longest
        self.steps: Steps = build_steps(cleaning, str(path))
        self.raw: Path = workspace.raw(corpus)
        if not self.raw.is_dir():
            raise DataError(f"{self.raw} does not exist; `dvc repro fetch@{corpus}` makes it.", "missing")

    def step(self, name: str) -> CleaningStep:
        """One of the steps. Raises ConfigError where the corpus has none of that name."""
        if name not in self.steps:
            raise ConfigError(
                f"The corpus has no step {name}; its steps are {', '.join(self.steps)}. Duplicates, near ones "
                "too, are looked for after all steps: --dropped duplicate, --dropped near_duplicate.",
                "unknown",
            )
        return self.steps[name]

    def through(self, row: Row) -> list[Passed]:
        """What each step makes of a row, until one drops it or nothing is left of its text."""
        passed: list[Passed] = []
        document = Draft(row.text, row.target, row.metadata)
        for name, step in self.steps.items():
            if not document.text or document.text.isspace():
                break
            after = step.clean(document)
            passed.append(Passed(name, document, after))
            if isinstance(after, Dropped):
                break
            document = Draft(*after[:3])
        return passed

    def row_at(self, where: str) -> Row | BadRow | None:
        """The row in a place; None if no file has it any more."""
        return next((row for row in self._rows() if row.where == where), None)

    def sample(self, name: str, count: int, seed: int, rows_there_are: int = LOOKED_AT) -> Sample:
        """Some of the documents that a step changes or drops, each as likely as any other of the rows that are read."""
        self.step(name)
        chosen: list[tuple[int, str, Passed]] = []
        rng = np.random.default_rng(seed)
        seen = changed = dropped = rows = 0
        complete = True
        with track(f"Looking at {name}", min(rows_there_are, LOOKED_AT), "rows") as progress:
            for row in self._rows():
                if rows == LOOKED_AT:
                    complete = False
                    break
                rows += 1
                progress.advance()
                passed = (
                    next((one for one in self.through(row) if one.step == name), None) if isinstance(row, Row) else None
                )
                if passed is None:
                    continue
                seen += 1
                if not passed.changed:
                    continue
                dropped += isinstance(passed.after, Dropped)
                changed += not isinstance(passed.after, Dropped)
                met = changed + dropped
                if len(chosen) < count:  # Vitter's algorithm R
                    chosen.append((rows, row.where, passed))
                elif (slot := int(rng.integers(met))) < count:
                    chosen[slot] = (rows, row.where, passed)
        shown = [(where, passed) for _, where, passed in sorted(chosen, key=lambda one: one[0])]
        return Sample(shown, seen, changed, dropped, rows, complete)

    def _rows(self) -> Iterator[Row | BadRow]:
        return read_rows(
            self.raw, self.file_format, self.fields, labels=self.labels, max_characters=self.max_characters
        )
