"""What two evaluations must share for their scores to stand side by side.

The *protocol* is one digest of everything that decides what a metric measures: the documents with all their fields, the
options of the task and of its scorer, the labels, the metrics and their signatures, the code of other distributions
that bring any of these, the settings that reach the scores, the groups that are resampled, and what of a text the
tokenizer loses, where a metric is one of bytes. What only decides how
fast scoring is, or how luck is told from skill, has no part in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.errors import EvaluationError
from langmill.files import canonical_json, digest_of
from langmill.plugins import find_plugins
from langmill.scoring.base import Metric, Scorer
from langmill.tasks.base import TASKS

PROTOCOL = 1
"""Raised when our own code measures something else than before under the same settings."""
NOT_SCORING = frozenset({"batch_tokens", "bootstrap_samples", "confidence", "max_documents", "seed", "threads"})
"""Fields of `evaluation` that no document's scores depend on; which documents are scored, their digest says."""
_FIELDS = tuple(field.name for field in fields(Document))


def documents_digest(documents: Iterable[Document]) -> str:
    """Digest of the documents, every field of them, in any order."""
    digest = hashlib.sha256()
    for document in sorted(documents, key=lambda document: document.id):
        digest.update(canonical_json([getattr(document, name) for name in _FIELDS]).encode() + b"\n")
    return digest.hexdigest()


def protocol_digest(
    task_name: str,
    scorer: Scorer,
    test_set: str,
    evaluation: Evaluation,
    group_by: str | None,
    *,
    losses: Sequence[str] = (),
) -> str:
    """Digest of what decides a score.

    Args:
        task_name: The task.
        scorer: Who scores.
        test_set: The digest of the documents.
        evaluation: The settings.
        group_by: The field that makes groups.
        losses: What the model's tokenizer loses of a text (`Tokenizer.losses`).
    """
    judged = {name: value for name, value in asdict(evaluation).items() if name not in NOT_SCORING}
    if judged["max_generated"] is None:  # so that the digests of before stay
        del judged["max_generated"]
    else:
        judged["seed"] = evaluation.seed  # it draws which answers are written
    plugins = {plugin.name: plugin.digest for plugin in find_plugins([(TASKS.group, task_name), *scorer.plugins])}
    return digest_of(
        {
            "protocol": PROTOCOL,
            "task": task_name,
            "options": asdict(scorer.task.options),
            "scoring": asdict(scorer.options),
            "labels": scorer.labels,
            "metrics": {metric.name: metric.signature for metric in scorer.metrics},
            "test_set": test_set,
            "evaluation": judged,
            "group_by": group_by,
            # So that the digests of before stay where there are none.
            **({"plugins": plugins} if plugins else {}),
            **({"lost": sorted(losses)} if losses and any(metric.per_byte for metric in scorer.metrics) else {}),
        }
    )


def require_comparable(metric: Metric, tokenizers: tuple[str | None, str | None], other: str) -> None:
    """Refuse to compare a metric that counts tokens between tokenizers; metrics over bytes or whole texts may be.

    Tokenizers are SHA-256 of both `tokenizer.json`, None where it is not known, which is not the same. `other` is what
    the model is compared with, for the message of the EvaluationError.
    """
    mine, others = tokenizers
    if metric.per_token and (mine is None or mine != others):
        raise EvaluationError(
            f"{metric.title} counts tokens, and {other} has another tokenizer, so the two do not compare; "
            "set gate.metric to a metric that counts bytes or texts, or keep the tokenizer.",
            "mismatch",
        )
