"""How a model is judged: conf/evaluation/."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from langmill.config.constraints import require
from langmill.config.typed import settings


@settings
class Evaluation:
    """How a model is judged on the test split."""

    batch_tokens: PositiveInt
    """Tokens, padding counted, in one forward pass, but four texts at least; has no influence on what is found."""
    bootstrap_samples: Annotated[int, Field(ge=100)]
    """Resamples of the test documents' groups behind each interval, and swaps behind each test."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)]
    """Mass of the intervals, 0.5 to below 1."""
    seed: int
    """Seed of the resampling, and of which documents are drawn where there is a cap."""
    slices: list[str]
    """Metadata fields along which the metrics are given as well; beside the corpus's own `leaked` (the test documents
    that stand in training documents, and the clean part), `copies` (how many documents read alike) and `language`."""
    threads: PositiveInt
    """CPU threads."""
    max_documents: PositiveInt | None
    """Test documents that a model is judged on, at most, drawn by the seed in proportion from each label, slice and
    group; null judges all of them."""
    max_generated: PositiveInt | None
    """Of these, the documents that a model which writes an answer writes one for, at most; null writes all. Writing is
    what is slow: bits per byte is still measured on all of them."""

    def __post_init__(self) -> None:
        most = 1 - 2 / (self.bootstrap_samples + 1)  # the least p-value of so many draws
        require(
            self.confidence <= most,
            "confidence",
            self.confidence,
            f"at most {most:.6g} with {self.bootstrap_samples} evaluation.bootstrap_samples: no test is surer",
        )
