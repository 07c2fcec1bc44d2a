"""A model and documents in, a score table out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.evaluation.slices import with_slices
from langmill.files import canonical_json
from langmill.tasks.base import Task
from langmill.tasks.loading import LoadedModel


@dataclass(frozen=True)
class EvaluationSet:
    """The documents that a model is judged on."""

    documents: list[Document]
    left_out: dict[str, int]
    """How many were left out, by reason: a model can't be asked for a label that it never saw."""

    @property
    def digest(self) -> str:
        """What ties two evaluations to the same test set: SHA-256 over ids, texts, labels and targets, in any order."""
        digest = hashlib.sha256()
        for document in sorted(self.documents, key=lambda document: document.id):
            fields = [document.id, document.text, document.label, document.target]
            digest.update(canonical_json(fields).encode() + b"\n")
        return digest.hexdigest()


def usable(task: Task, documents: Iterable[Document]) -> EvaluationSet:
    """The documents that the task can judge, and how many others there are."""
    kept: list[Document] = []
    left_out: Counter[str] = Counter()
    for document in documents:
        reason = task.check(document)
        if reason is None:
            kept.append(document)
        else:
            left_out[reason] += 1
    return EvaluationSet(kept, dict(sorted(left_out.items())))


def score_model(
    model: LoadedModel,
    documents: Sequence[Document],
    evaluation: Evaluation,
    progress: Callable[[int], None] | None = None,
) -> pa.Table:
    """One row a document: its id, what the task's metrics need, and one column a slice field.

    Args:
        model: The model to judge.
        documents: What to judge it on.
        evaluation: How.
        progress: Called with the number of documents done since the last call.
    """
    scores = model.task.score(model.network, model.tokenizer, documents, evaluation, progress)
    return with_slices(scores, documents, evaluation.slices)
