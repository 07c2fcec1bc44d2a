"""Two models that know other labels or select other documents, side by side.

They are judged on every test document that either can judge; what a model can't say counts as wrong
(docs/decisions/0520).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from langmill.data.document import Document
from langmill.evaluation.scoring import with_groups
from langmill.evaluation.significance import GROUP
from langmill.registry.evidence import Pair
from langmill.scoring.base import Scorer
from langmill.tasks.base import Task

_MOST_LABELS = 10  # named in a sentence


@dataclass(frozen=True)
class Union:
    """The test documents that a version's task or its champion's can judge."""

    documents: list[Document]
    both: list[bool]
    """Whether both can, for each of them."""
    surplus: list[Document]
    """Those that only the champion's can: the version was not scored on them."""

    @classmethod
    def of(cls, task: Task, old_task: Task, split: Sequence[Document]) -> Union:
        """Ask the version's task and the champion's about each document of the test split."""
        checked = [(each, task.check(each) is None, old_task.check(each) is None) for each in split]
        return cls(
            [each for each, mine, theirs in checked if mine or theirs],
            [mine and theirs for _, mine, theirs in checked if mine or theirs],
            [each for each, mine, theirs in checked if theirs and not mine],
        )

    def pair(
        self,
        scorer: Scorer,
        scores: pa.Table,
        old_task: Task,
        old_scores: pa.Table,
        *,
        surplus: pa.Table | None,
        group_by: str | None,
    ) -> Pair:
        """Both models' scores of these documents, in the labels of both.

        Args:
            scorer: What judged the version.
            scores: Its stored scores.
            old_task: The champion's.
            old_scores: The champion's scores of `self.documents`, judged as the version is.
            surplus: The version's scores of `self.surplus`, if there are any.
            group_by: The metadata field whose equal values make a group.
        """
        if surplus is not None:
            shared = [name for name in scores.column_names if name in surplus.column_names]
            scores = pa.concat_tables([scores.select(shared), surplus.select(shared)], promote_options="permissive")
        row = {name: index for index, name in enumerate(scores["id"].to_pylist())}
        scores = scores.take(pa.array([row[document.id] for document in self.documents]))
        if surplus is not None:
            scores = scorer.joined(scores, self.documents)
        if GROUP in scores.column_names:
            scores = scores.drop_columns([GROUP])
        scores = with_groups(scores, self.documents, group_by)
        joint = scorer.with_labels(sorted({*scorer.labels, *old_task.labels}))
        return Pair(
            joint,
            joint.relabelled(scores, scorer.labels),
            joint.relabelled(old_scores, old_task.labels),
            None if all(self.both) else pa.array(self.both),
            self._difference(scorer.task, old_task),
        )

    def _difference(self, task: Task, old_task: Task) -> str:
        """What the version can judge and the champion can't, and the other way round."""
        mine, theirs = set(task.labels), set(old_task.labels)
        changed = {"new": sorted(mine - theirs), "gone": sorted(theirs - mine)}
        parts = [f"the labels {_listed(labels)} are {how}" for how, labels in changed.items() if labels]
        only_new = self.both.count(False) - len(self.surplus)
        parts.append(f"{only_new:,} documents are the version's alone, {len(self.surplus):,} the champion's")
        return ", ".join(parts)


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_LABELS
    return ", ".join(labels[:_MOST_LABELS]) + (f" and {more:,} more" if more > 0 else "")
