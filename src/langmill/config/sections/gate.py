"""What a challenger must show: conf/gate/."""

from __future__ import annotations

from dataclasses import dataclass

from langmill.config.constraints import require


@dataclass
class Gate:
    """What a challenger must show to become champion."""

    metric: str
    """The metric that decides; one of the task's."""
    min_effect: float
    """How much better than the champion (first version: than the trivial baseline) the challenger must be, in the
    metric's unit, at the least: the whole interval of the paired difference must lie beyond it."""
    min_documents: int
    """Test documents that a judgement needs, at the least."""
    min_groups: int
    """Groups of test documents (those that split.by keeps together) that a judgement needs, at the least; where nothing
    is kept together each document is its own."""

    def __post_init__(self) -> None:
        require(self.min_effect >= 0, "gate.min_effect", self.min_effect, "0 or more")
        require(self.min_documents >= 1, "gate.min_documents", self.min_documents, "1 or more")
        require(self.min_groups >= 1, "gate.min_groups", self.min_groups, "1 or more")
