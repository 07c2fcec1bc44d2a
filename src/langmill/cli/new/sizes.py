"""How much text a corpus has, and what of a recipe's first values follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import click

from langmill.cli.new.documents import documents_available
from langmill.config.sections import Corpus, Training
from langmill.data.document import REPORT_NAME, Split
from langmill.data.report import FEW_DOCUMENTS, too_few_to_test
from langmill.files import read_json
from langmill.workspace import Workspace

_COUNTED = 20_000  # raw rows that are counted at most; a corpus of more is large enough for any template
_CHARACTERS_A_TOKEN = 3  # roughly, in the small vocabularies of small corpora
_CHARACTERS_AN_ENTRY = 500  # of training text, so that most entries of a vocabulary are seen often enough
_EPOCHS = 20
_FEW_EPOCHS = 3
_LEAST_STEPS = 50


@dataclass(frozen=True)
class Size:
    """The size of a corpus, as cleaned; or of its raw rows, where it has not been cleaned yet."""

    documents: int
    test: int
    """Documents of the test split."""
    characters: int
    estimated: bool

    @property
    def vocab_size(self) -> int:
        """Entries of a vocabulary to begin with."""
        return min(4096, max(512, self.characters // _CHARACTERS_AN_ENTRY // 64 * 64))

    def steps(self, training: Training, most: int, *, packed: bool, few: bool = False) -> int:
        """Optimizer steps to begin with: those of a few epochs, or `most`.

        Args:
            training: The file of conf/training/ that the recipe takes.
            most: The steps for a corpus that is not small.
            packed: Whether sequences are filled with several documents.
            few: Whether few epochs suffice, since what is learned begins with what others have learned.
        """
        epochs = _FEW_EPOCHS if few else _EPOCHS
        tokens = self.characters / _CHARACTERS_A_TOKEN
        sequences = tokens / training.block_length if packed else self.documents
        return min(most, max(_LEAST_STEPS, math.ceil(epochs * sequences / training.batch_size)))


def size_of(corpus: Corpus) -> Size | None:
    """The size of a corpus; None if it is not on this machine, or large."""
    report = Workspace().documents(corpus.name) / REPORT_NAME
    if report.is_file():
        splits = read_json(report)["splits"]
        documents, characters = (sum(split[key] for split in splits.values()) for key in ("documents", "characters"))
        return Size(documents, splits[Split.test]["documents"], characters, estimated=False)
    texts = [text for text, _ in documents_available(corpus, _COUNTED)]
    if not 0 < len(texts) < _COUNTED:
        return None
    return Size(len(texts), round(len(texts) * corpus.split.test), sum(map(len, texts)), estimated=True)


def warn_of_few(size: Size | None, corpus: str, least: int = FEW_DOCUMENTS) -> None:
    """Warn where the gate will refuse every model of a corpus, since it asks for more test documents."""
    words = too_few_to_test(corpus, size.test, size.documents, least, estimated=size.estimated) if size else ""
    if words:
        click.echo(f"Warning: {words}", err=True)
