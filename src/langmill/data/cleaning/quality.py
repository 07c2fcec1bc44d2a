"""Texts that are unlike good ones, by a model of a person's own examples."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from langmill.config.sections import Fields, FormatSection
from langmill.config.sections.sources import Sha256
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft, Dropped
from langmill.data.cleaning.quality_models import Classifier, Perplexity, QualityModel
from langmill.data.cleaning.words import bare, split_words
from langmill.data.document import QUALITY_KEY
from langmill.data.formats.base import build_format
from langmill.data.readers import first_read
from langmill.data.rows import Row
from langmill.errors import DataError
from langmill.files import sha256_file

_PASSAGE = 2000  # characters of a passage of a .txt file
_MOST = 200_000  # examples that are read of a file
_LEAST = 100  # examples of which fewer say nothing of what is usual
_HELD_OUT = 5  # one of so many good examples is judged by what is learned from the others
_CLASSES = 4  # of lengths, each with a limit of its own: a short text's score says less, and good ones vary more
_LEAST_OF_A_CLASS = 50  # good examples that are judged


@settings
class Examples:
    """Texts of one kind in a file, pinned by its digest: another file is another setting."""

    path: str
    """A file that the format `auto` reads, by its path from the workspace's folder; a .txt file is passages of up to
    2,000 characters, cut at empty lines."""
    sha256: Sha256
    """SHA-256 of the file. The step refuses another one, and names its digest."""
    text: str = "text"
    """The field with the text, in rows."""


@settings
class QualityOptions:
    """What good texts are like, and how much unlike them a document may be."""

    good: Examples
    """Texts like those that the model is to learn from, 100 or more, better thousands."""
    bad: Examples | None = None
    """Texts like those that are to be dropped. With them a classifier tells the two apart; null measures the perplexity
    of a text under a model of the good ones, which needs no idea of what is bad."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of good examples that would stay: the limit is the score that so many of those reach that the model has not
    seen, a fifth of them. Texts of different lengths have different limits."""
    min_words: PositiveInt = 10
    """Documents of fewer words are not judged, and stay: their scores are chance."""


class LearnedQuality(NamedTuple):
    """What a person's examples say of texts."""

    model: QualityModel
    edges: npt.NDArray[np.float64]
    """Words at which one class of lengths ends and the next begins."""
    limits: list[float]
    """The worst score of a good text, of each class."""


@CLEANING_STEPS.register("quality")
class Quality(CleaningStep):
    """Drop documents whose score is worse than that of good ones; note the score in the metadata (`quality`).

    The text decides, not the target. The examples are read and learned from once, before the first document.

    Raises:
        DataError: A file of examples can't be read, is another one than `sha256` says, or has too few of them.
    """

    options_class = QualityOptions
    options: QualityOptions

    def __init__(self, options: QualityOptions, learned: LearnedQuality | None = None) -> None:
        super().__init__(options)
        self.model, self._edges, self._limits = learned or self.learn(options)

    @classmethod
    def learn(cls, options: QualityOptions) -> LearnedQuality:
        """Learn from the examples. Raises DataError as the step does."""
        return _learned(options)

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document with its score noted, or why it is dropped."""
        return self.clean_batch([document])[0]

    def clean_batch(self, documents: Sequence[Draft]) -> list[Draft | Dropped]:
        """What `clean` makes of each; many at once take less time."""
        made: list[Draft | Dropped] = list(documents)
        lengths = [_num_words(document.text) for document in documents]
        judged = [place for place, length in enumerate(lengths) if length >= self.options.min_words]
        if not judged:
            return made
        scores = self.model([documents[place].text for place in judged]).tolist()
        for place, score in zip(judged, scores, strict=True):
            document, limit = documents[place], self._limits[np.searchsorted(self._edges, lengths[place])]
            if self.model.reaches(score, limit):
                metadata = {**document.metadata, QUALITY_KEY: f"{score:.3f}"}
                made[place] = document._replace(metadata=metadata, changes=(self.model.bin(score),))
            else:
                made[place] = Dropped("low_quality", score)
        return made


@functools.lru_cache(maxsize=1)  # the clean stage asks again for the report's samples; the files are pinned
def _learned(options: QualityOptions) -> LearnedQuality:
    good = _read("good", options.good, options.min_words)
    bad = None if options.bad is None else _read("bad", options.bad, options.min_words)
    held_out = good[::_HELD_OUT]
    del good[::_HELD_OUT]
    model: QualityModel = Perplexity(good) if bad is None else Classifier(good, bad)
    lengths = np.array(list(map(_num_words, held_out)))
    classes = max(1, min(_CLASSES, len(held_out) // _LEAST_OF_A_CLASS))
    edges = np.quantile(lengths, np.arange(1, classes) / classes)
    scores, places = model(held_out), np.searchsorted(edges, lengths)
    limits = [model.limit(scores[places == place], options.keep) for place in range(classes)]
    return LearnedQuality(model, edges, limits)


def _read(name: str, examples: Examples, min_words: int) -> list[str]:
    path, key = Path(examples.path), f"cleaning.options.quality.{name}"
    if not path.is_file():
        raise DataError(f"{path}, which {key}.path names, is not there; paths begin at the workspace.", "missing")
    if (found := sha256_file(path)) != examples.sha256:
        raise DataError(
            f"{path} is not what {key}.sha256 says; its own is {found}. Put that there to take the file as it is.",
            "mismatch",
        )
    is_text = ".txt" in path.suffixes[-2:]
    section = FormatSection(*(("passages", {"max_characters": _PASSAGE}) if is_text else ("auto", {})))
    fields = Fields("text" if is_text else examples.text, None, None, [])
    rows = first_read(path, build_format(section, key), fields, _MOST)
    texts = [row.text for row in rows if isinstance(row, Row) and _num_words(row.text) >= min_words]
    if len(texts) < _LEAST:
        raise DataError(
            f"{path} has {len(texts)} texts of {min_words} words or more under {fields.text!r}; "
            f"{key} needs {_LEAST} or more, since fewer don't say what is usual.",
            "too_few",
        )
    return texts


def _num_words(text: str) -> int:
    return len(bare(split_words(text)))
