"""A model and documents in, a score table out."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import torch

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.data.folding import key_of
from langmill.evaluation.protocol import documents_digest
from langmill.evaluation.significance import GROUP
from langmill.evaluation.slices import with_slices
from langmill.scoring.base import Scorer
from langmill.scoring.drawing import draw
from langmill.tasks.base import UNSEEN_LABEL, Task
from langmill.tasks.loading import LoadedModel


@dataclass(frozen=True)
class EvaluationSet:
    """The documents that a model is judged on."""

    documents: list[Document]
    left_out: dict[str, int]
    """How many were left out, by reason: a model can't be asked for a label that it never saw."""
    unseen_labels: dict[str, int] = field(default_factory=dict)
    """The labels that the test split has and training has not: how many documents were left out for each."""
    undrawn: int = 0
    """How many could be judged and are not, for `evaluation.max_documents`."""

    @property
    def usable(self) -> int:
        """Documents that could be judged."""
        return len(self.documents) + self.undrawn

    def capped(self, evaluation: Evaluation, group_by: str | None) -> EvaluationSet:
        """What is left of it under `evaluation.max_documents`: the same documents in every process."""
        drawn = draw(self.documents, evaluation.max_documents, evaluation.seed, _strata(evaluation, group_by))
        return replace(self, documents=drawn, undrawn=self.usable - len(drawn))

    @property
    def digest(self) -> str:
        """Digest of the documents, in any order."""
        return documents_digest(self.documents)


def usable(task: Task, documents: Iterable[Document]) -> EvaluationSet:
    """The documents that the task can judge, and how many others there are."""
    kept: list[Document] = []
    left_out: Counter[str] = Counter()
    unseen: Counter[str] = Counter()
    for document in documents:
        reason = task.check(document)
        if reason is None:
            kept.append(document)
        else:
            left_out[reason] += 1
            if reason == UNSEEN_LABEL:
                unseen[str(document.label)] += 1
    return EvaluationSet(kept, dict(sorted(left_out.items())), dict(sorted(unseen.items())))


def judged_part(task: Task, split: Sequence[Document], evaluation: Evaluation, group_by: str | None) -> list[Document]:
    """What a comparison may look at of a test split: what a task's models are judged on, and of the rest its share.

    Another task may judge the rest. Without `evaluation.max_documents` it is the whole split.
    """
    mine = usable(task, split)
    judged = mine.capped(evaluation, group_by)
    if not judged.undrawn:
        return list(split)
    can_be = {document.id for document in mine.documents}
    rest = [document for document in split if document.id not in can_be]
    share = round(len(rest) * len(judged.documents) / judged.usable)
    chosen = [*judged.documents, *draw(rest, share, evaluation.seed, _strata(evaluation, group_by))]
    kept = {document.id for document in chosen}
    return [document for document in split if document.id in kept]


def _strata(evaluation: Evaluation, group_by: str | None) -> list[str]:
    """The metadata fields that a draw keeps the proportions of, the coarsest first."""
    return [*evaluation.slices, *([group_by] if group_by is not None and group_by not in evaluation.slices else [])]


def with_groups(scores: pa.Table, documents: Sequence[Document], group_by: str | None) -> pa.Table:
    """A score table with one more column: the group that the split kept together; null for a document on its own.

    `group_by` is the metadata field that `split.by` names; values that fold to the same text are one group, as there.
    """
    values = [document.metadata.get(group_by, "") if group_by else "" for document in documents]
    names: dict[bytes, str] = {}
    groups = [names.setdefault(key_of(value), value) if value else None for value in values]
    return scores.append_column(GROUP, pa.array(groups, pa.string()))


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Score as the stage `evaluate` does, so that the same model gets the same scores to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def score_model(
    model: LoadedModel,
    documents: Sequence[Document],
    evaluation: Evaluation,
    progress: Callable[[int], None] | None = None,
    group_by: str | None = None,
    *,
    scorer: Scorer,
) -> pa.Table:
    """One row a document: its id, what the metrics need (`Scorer.score`), its group, and one column a slice field."""
    scores = scorer.score(model.network, model.tokenizer, documents, evaluation, progress)
    return with_slices(with_groups(scores, documents, group_by), documents, evaluation.slices)
