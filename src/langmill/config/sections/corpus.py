"""A named body of documents: conf/corpus/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langmill.config.constraints import require
from langmill.config.sections.sources import Source


@dataclass
class FormatSection:
    """How raw files become rows."""

    name: str
    """A name that a file in src/langmill/data/formats/ registers; `auto` reads .csv, .json, .jsonl, .parquet, .tsv and
    .txt."""
    options: dict[str, Any]
    """The format's own settings; the format types them."""


@dataclass
class Fields:
    """Which field of a raw row is what; null where the corpus has none. A .txt file is one document."""

    text: str
    """The field with the text (.txt files: always the whole file)."""
    label: str | None
    """The field with the label of a classification."""
    label_names: dict[str, str]
    """The names of the labels, by what stands in the field (`"0": negative`); a row with anything else is quarantined.
    Empty takes the labels as they stand there."""
    target: str | None
    """The field with the text to produce (translation, completion); a list of texts is joined by new lines."""
    metadata: list[str]
    """Further fields to keep with each document, as text: slices can be cut along them."""


@dataclass
class Cleaning:
    """What makes a raw row a document, and which documents are dropped."""

    strip_markup: bool
    """Take HTML tags out and turn entities into characters; a block or line-break tag becomes a new line."""
    keep_layout: bool
    """Keep tabs, runs of spaces, indentation and blank lines, as code needs them; line ends, Unicode form and control
    characters are evened out all the same."""
    min_characters: int
    """Drop documents shorter than this, in characters after cleaning."""
    max_characters: int
    """Drop documents longer than this, in characters after cleaning."""
    drop_same: bool
    """Drop documents whose target reads like their text: what a translator left as it was."""
    drop_duplicates: bool
    """Keep only one of documents whose text and target are equal once case and white space are folded, in any order."""
    workers: int
    """Processes that clean side by side; has no influence on the result."""

    def __post_init__(self) -> None:
        require(self.min_characters >= 1, "cleaning.min_characters", self.min_characters, "1 or more")
        require(
            self.max_characters >= self.min_characters,
            "cleaning.max_characters",
            self.max_characters,
            f"min_characters ({self.min_characters}) or more",
        )
        require(self.workers >= 1, "cleaning.workers", self.workers, "1 or more")


@dataclass
class Split:
    """How documents are shared out, by a hash: adding data moves no document."""

    validation: float
    """Share of documents held out to watch training, 0 to 0.5."""
    test: float
    """Share of documents held out for evaluation, above 0, to 0.5."""
    salt: str
    """Mixed into the hash; another salt gives another split."""
    by: str | None
    """A metadata field whose equal values stay on one side (a work, a conversation, a module); null goes by the folded
    text alone. A text that stands on two sides by it is dropped from the second one."""

    def __post_init__(self) -> None:
        require(0 < self.validation <= 0.5, "split.validation", self.validation, "above 0, at most 0.5")
        require(0 < self.test <= 0.5, "split.test", self.test, "above 0, at most 0.5")


@dataclass
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
        require(
            not self.cleaning.drop_same or self.fields.target is not None,
            "cleaning.drop_same",
            self.cleaning.drop_same,
            "false where fields.target is null",
        )
