"""A named body of documents: conf/corpus/."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from langmill.config.constraints import require
from langmill.config.core_yaml import as_written
from langmill.config.sections.sources import Source
from langmill.config.typed import settings
from langmill.errors import FieldError


@settings
class FormatSection:
    """How raw files become rows."""

    name: str
    """A name that a file in src/langmill/data/formats/ registers; `auto` reads each file as its ending says."""
    options: dict[str, Any]
    """The format's own settings; the format types them."""


@settings
class Fields:
    """Which field of a raw row is what; null where the corpus has none. A .txt file is one document."""

    text: str
    """The field with the text (.txt files: always the whole file)."""
    label: str | None
    """The field with the label of a classification."""
    target: str | None
    """The field with the text to produce (translation, completion); a list of texts is joined by new lines."""
    metadata: list[str]
    """Further fields to keep with each document, as text: slices can be cut along them."""


@settings
class Labels:
    """What the labels of a classification are called."""

    map: dict[str, str | None]
    """The name of each label, for people and for models, by what stands in the label's field (`"0": negative`); null
    leaves its rows out, and a row with anything else is quarantined. Empty takes the labels as they stand there."""


@settings
class Cleaning:
    """What makes a raw row a document, and which documents are dropped."""

    steps: list[str]
    """What is done to each document, to its target as to its text, in this order: names that files in
    src/langmill/data/cleaning/ register. A document is dropped wherever nothing is left of its text."""
    options: dict[str, dict[str, Any] | None]
    """The options of each step, by its name; the step types them. A step without an entry gets none, and null leaves
    it out."""
    drop_duplicates: bool
    """Keep only one of documents whose text and target are equal once case and white space are folded, in any order."""
    workers: PositiveInt
    """Processes that clean side by side; has no influence on the result."""

    def __post_init__(self) -> None:
        require(len(set(self.steps)) == len(self.steps), "steps", self.steps, "each step once")
        told = [name for name, options in self.options.items() if options is not None]
        for name in sorted(set(told) - set(self.steps)):
            untold = [step for step in self.steps if step not in self.options]  # the defaults have options for theirs
            if close := difflib.get_close_matches(name, untold, n=1):
                raise FieldError(f"steps has {close[0]}; did you mean {name}, which has options?", "steps", "unknown")
            close = difflib.get_close_matches(name, self.steps, n=1)
            hint = f"did you mean {close[0]}?" if close else f"add {name} there, or set this to null"
            listed = as_written(self.steps)
            raise FieldError(
                f"options.{name} is of no step in cleaning.steps ({listed}); {hint}", f"options.{name}", "unknown"
            )
        # Only what is done: a step that is there to be turned on by some corpora is no change of the others' settings.
        steps = [name for name in self.steps if self.options.get(name, {}) is not None]
        object.__setattr__(self, "options", {name: self.options.get(name) or {} for name in steps})
        object.__setattr__(self, "steps", steps)

    @classmethod
    def migrated(cls, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Read the keys from before there were steps; they win over what a default file has.

        Returns:
            The values by the keys of today, and by each old key that was there the new one.
        """
        moved = {key: f"options.{new}" for key, new in _OLD_KEYS.items() if key in values}
        if not moved:
            return values, {}
        # Without steps the file is from before there were any, and says all of its own cleaning.
        off = {} if "steps" in values else {"markup": None, "copies": None}
        steps: dict[str, Any] = {**off, **(values.get("options") or {})}
        for key in moved:
            step, _, option = _OLD_KEYS[key].partition(".")
            if option:
                steps[step] = {**(steps.get(step) or {}), option: values[key]}
            else:
                value = values[key]
                steps[step] = {} if value is True else None if value is False else value
        new = {key: value for key, value in values.items() if key not in _OLD_KEYS}
        return {"steps": ["markup", "characters", "length", "copies"], **new, "options": steps}, moved


_OLD_KEYS = {
    "strip_markup": "markup",
    "keep_layout": "characters.preserve_whitespace",
    "min_characters": "length.min_characters",
    "max_characters": "length.max_characters",
    "drop_same": "copies",
}
"""Keys of earlier versions, each with the step's options, or the one option, that says the same."""


@settings
class Split:
    """How documents are shared out, by a hash: adding data moves no document."""

    validation: Annotated[float, Field(gt=0, le=0.5)]
    """Share of documents held out to watch training, above 0, to 0.5."""
    test: Annotated[float, Field(gt=0, le=0.5)]
    """Share of documents held out for evaluation, above 0, to 0.5."""
    salt: str
    """Mixed into the hash; another salt gives another split."""
    by: str | None
    """A metadata field whose equal values stay in one split (a work, a conversation, a module); null goes by the folded
    text alone. A text that would be in two splits by it stays in one: test before validation before train."""


@settings
class Corpus:
    """A named body of documents."""

    name: str
    """The corpus's name; the file's name in conf/corpus/."""
    description: str
    """One sentence on what it is."""
    licence: str
    """Under which terms the data may be used."""
    source: Source
    format: FormatSection
    fields: Fields
    labels: Labels
    cleaning: Cleaning
    split: Split

    def __post_init__(self) -> None:
        known = ", ".join(self.fields.metadata) or "none"
        require(
            self.split.by is None or self.split.by in self.fields.metadata,
            "split.by",
            self.split.by,
            f"null or one of fields.metadata ({known})",
        )

    @classmethod
    def migrated(cls, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Read `fields.label_names`, which is `labels.map` now; it wins over what a default file has.

        Returns:
            The values by the keys of today, and by each old key that was there the new one.
        """
        fields, labels = values.get("fields"), values.get("labels") or {}
        if not (isinstance(fields, Mapping) and "label_names" in fields and isinstance(labels, Mapping)):
            return values, {}
        names = fields["label_names"] or labels.get("map") or {}
        kept = {key: value for key, value in fields.items() if key != "label_names"}
        moved = {"fields.label_names": "labels.map"}
        return {**values, "fields": kept, "labels": {**labels, "map": names}}, moved
