"""How a model is judged: conf/evaluation/."""

from __future__ import annotations

from dataclasses import dataclass

from langmill.config.sections.requirement import require


@dataclass
class Evaluation:
    """How a model is judged on the test split."""

    batch_tokens: int
    """Tokens, padding counted, in one forward pass, but four texts at least; has no influence on what is found."""
    bootstrap_samples: int
    """Resamples of the test documents' groups behind each interval, and swaps behind each test."""
    confidence: float
    """Mass of the intervals, 0.5 to below 1."""
    seed: int
    """Seed of the resampling."""
    slices: list[str]
    """Metadata fields along which the figures are given as well."""
    threads: int
    """CPU threads."""

    def __post_init__(self) -> None:
        require(self.batch_tokens >= 1, "evaluation.batch_tokens", self.batch_tokens, "1 or more")
        require(self.bootstrap_samples >= 100, "evaluation.bootstrap_samples", self.bootstrap_samples, "100 or more")
        require(0.5 <= self.confidence < 1, "evaluation.confidence", self.confidence, "0.5 to below 1")
        most = 1 - 2 / (self.bootstrap_samples + 1)  # the least p-value of so many draws
        require(
            self.confidence <= most,
            "evaluation.confidence",
            self.confidence,
            f"at most {most:.6g} with {self.bootstrap_samples} evaluation.bootstrap_samples: no test is surer",
        )
        require(self.threads >= 1, "evaluation.threads", self.threads, "1 or more")
