"""A named body of documents: conf/corpus/."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from langmill.config.constraints import require
from langmill.config.core_yaml import as_written
from langmill.config.names import nearest
from langmill.config.sections.contract import Contract
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
class FileFields:
    """Which field is what in the rows of some of a corpus's files; null where they have none."""

    text: str
    """The field with the text."""
    label: str | None = None
    """The field with the label."""
    target: str | None = None
    """The field with the text to produce."""


@settings
class Fields:
    """Which field of a raw row is what; null where the corpus has none. A .txt or .md file is one document."""

    text: str
    """The field with the text (.txt and .md files: always the whole file)."""
    label: str | None
    """The field with the label of a classification."""
    target: str | None
    """The field with the text to produce (translation, completion); a list of texts is joined by new lines."""
    metadata: list[str]
    """Further fields to keep with each document, as text: slices can be cut along them. Rows may lack them."""
    files: dict[str, FileFields] = dataclasses.field(default_factory=dict)
    """What `text`, `label` and `target` are in files that call them otherwise, by a pattern of their paths below the
    source (`"*.tmx"`, `"letters/*"`; `*` stands for anything, case makes no difference). A member of an archive has the
    archive's path before its own. Of several patterns that fit, the longest (asterisks aside) says it, all three."""

    def pattern_of(self, path: str) -> str | None:
        """The pattern in `files` that says what the fields of a file are; None for one that none fits."""
        fitting = [pattern for pattern in self.files if fits(pattern, path)]
        return max(fitting, key=lambda pattern: (len(pattern.replace("*", "")), pattern), default=None)

    def of(self, pattern: str | None) -> Fields:
        """The fields of the files that a pattern of `files` is for; None gives those of all others."""
        if pattern is None:
            return self
        said = self.files[pattern]
        return Fields(said.text, said.label, said.target, self.metadata)

    def any_has(self, role: str) -> bool:
        """Whether rows of any file have a `label`, or a `target`."""
        return any(getattr(each, role) is not None for each in (self, *self.files.values()))


def fits(pattern: str, path: str) -> bool:
    """Whether a pattern of `fields.files` is for a file of this path."""
    return fnmatch.fnmatchcase(path.lower(), pattern.lower())


class Folding(StrEnum):
    """What makes no difference between two texts: to duplicates, to splits, to every key of a document."""

    text = "text"
    """Case, white space and Unicode form, as people read: `Return A` and `return  a` are one text."""
    code = "code"
    """Unicode form, line ends and white space at the end of lines; `return A` and `return a` are two texts."""


class Engine(StrEnum):
    """What runs the cleaning steps side by side; has no influence on the result."""

    processes = "processes"
    """Processes on this machine."""
    ray = "ray"
    """Ray Data: the cluster that `RAY_ADDRESS` names, else this machine (`pip install "langmill[ray]"`)."""


COPIES = {"1": 1, "2-3": 2, "4-9": 4, "10+": 10}
"""The classes of a document's `copies`, each with the least number of documents that read alike, itself included."""


@settings
class NearDuplicates:
    """Which documents say nearly the same. MinHash proposes pairs; what they share, word by word, decides."""

    threshold: Annotated[float, Field(ge=0.5, le=1)]
    """Share of the shorter document's n-grams of words that stand in the longer one too, from which on they are near
    duplicates, 0.5 to 1. Nothing is dropped by transitivity: only for a near duplicate that is kept."""
    ngrams: Annotated[int, Field(ge=1, le=20)]
    """Words in an n-gram; characters where a script has no spaces between words."""
    min_words: PositiveInt
    """A document of fewer words is no near duplicate of any: one word changes what it says."""
    common: Annotated[int, Field(ge=1, le=200)]
    """An n-gram that stands in more documents than this is a licence's or a template's: documents that have something
    of their own beside it are compared by that."""
    repeat: dict[str, PositiveInt]
    """How often a training document is written, by how many documents read like it (`2-3: 2`; the classes of the
    metadata field `copies`): FineWeb-2's re-hydration. Classes that are not named, and {}: once."""

    def __post_init__(self) -> None:
        require(self.min_words >= self.ngrams, "min_words", self.min_words, f"ngrams ({self.ngrams}) or more")
        for name in self.repeat:
            require(name in COPIES, "repeat", name, f"one of {', '.join(COPIES)}")


@settings
class Leakage:
    """Which test documents stand in the training documents, wholly or in part; they stay, and are counted apart."""

    ngrams: Annotated[int, Field(ge=2, le=100)]
    """Words in an n-gram; one that a test document shares with up to ten training documents has leaked. 13 as for GPT-3
    (Brown et al., 2020, appendix C)."""
    short_ngrams: Annotated[int, Field(ge=2, le=100)]
    """Words in an n-gram for documents that have fewer words than `ngrams`; shorter ones still are not looked at."""
    share: Annotated[float, Field(ge=0, lt=1)]
    """Share of its n-grams above which a test document counts as leaked; 0 takes any."""

    def __post_init__(self) -> None:
        require(self.short_ngrams <= self.ngrams, "short_ngrams", self.short_ngrams, f"at most ngrams ({self.ngrams})")


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
    """Keep only one of documents whose text and target are equal once they are folded, in any order."""
    fold: Folding
    """What makes no difference when documents are compared and dealt to splits: `text` or `code`."""
    near_duplicates: NearDuplicates | None
    """Which documents say nearly the same: the longest is kept where `drop_duplicates` is true, and all are in one
    split; null does not look for them."""
    leakage: Leakage | None
    """Which test documents have leaked into training: their metadata field `leaked` is `yes`; null does not look."""
    engine: Engine
    """What runs the steps side by side: `processes` or `ray`; has no influence on the result."""
    workers: PositiveInt
    """Processes that clean side by side; has no influence on the result."""

    def __post_init__(self) -> None:
        require(len(set(self.steps)) == len(self.steps), "steps", self.steps, "each step once")
        told = [name for name, options in self.options.items() if options is not None]
        for name in sorted(set(told) - set(self.steps)):
            untold = [step for step in self.steps if step not in self.options]  # the defaults have options for theirs
            if close := difflib.get_close_matches(name, untold, n=1):
                raise FieldError(f"steps has {close[0]}; did you mean {name}, which has options?", "steps", "unknown")
            hint = nearest(name, self.steps, f"add {name} there, or set this to null")
            listed = as_written(self.steps)
            raise FieldError(
                f"options.{name} is of no step in cleaning.steps ({listed}); {hint}", f"options.{name}", "unknown"
            )
        # Only what is done: a step that is there to be turned on by some corpora is no change of the others' settings.
        steps = [name for name in self.steps if self.options.get(name, {}) is not None]
        object.__setattr__(self, "options", {name: self.options.get(name) or {} for name in steps})
        object.__setattr__(self, "steps", steps)

    @property
    def longest(self) -> int | None:
        """The characters that the step `length` keeps of a text at most; None where it does not say."""
        return (self.options.get("length") or {}).get("max_characters")

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
    contract: Contract = dataclasses.field(default_factory=lambda: Contract({}, None))
    """What is checked between cleaning and training; a folder of settings that is older has none."""

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
