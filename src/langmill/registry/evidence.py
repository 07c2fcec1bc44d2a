"""What a version is judged by: its scores beside the champion's or the trivial baseline's, on the same documents.

The two are compared under one protocol (`langmill.evaluation.protocol`). Where the champion's stored scores are of
another one, the champion is scored again, as the version was. Where the two know other labels or select other
documents, they are judged on the union: what a model can't say counts as wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from langmill.config.sections import Evaluation, Gate
from langmill.data.document import Document, Split, documents_path, read_documents
from langmill.errors import EvaluationError, IntegrityError, RegistryError
from langmill.evaluation.evaluate import EvaluationFolder
from langmill.evaluation.protocol import require_comparable
from langmill.evaluation.scoring import reproducible, usable, with_groups
from langmill.evaluation.significance import GROUP, find_metric, metric_of
from langmill.files import temporary_folder
from langmill.models.folder import tokenizer_digest
from langmill.progress import track
from langmill.registry.store import Registry
from langmill.registry.versions import ModelVersion, Tag
from langmill.scoring.base import Scorer
from langmill.tasks.base import Task
from langmill.tasks.loading import LoadedModel, load_model

_MOST_LABELS = 10  # named in a sentence
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """The scores of the version and of what it is compared with, on the same documents, in one scorer's labels."""

    scorer: Scorer
    challenger: pa.Table
    other: pa.Table
    common: np.ndarray | None = None
    """Which documents both can judge, `(N,)`; None where both can judge the same ones."""
    difference: str = ""
    """In what they differ, for a person."""


@dataclass(frozen=True)
class Evidence:
    """A version, what it is compared with, and what there is to judge by."""

    registry: Registry
    version: ModelVersion
    champion: ModelVersion | None
    challenger: EvaluationFolder
    """The version's evaluation."""
    gate: Gate
    evaluation: Evaluation
    """Resamples, seed and confidence; and how a champion that was judged by another protocol is scored."""
    documents: Path
    """The corpus's folder of documents, for such a champion."""
    device: str
    """Where such a champion is scored, in torch's word."""

    @property
    def against(self) -> str:
        """What the version is compared with: `version 2`, or `the baseline unigram`."""
        if self.champion is not None:
            return f"version {self.champion.version}"
        return f"the baseline {self.challenger.trivial_baseline}"

    @cached_property
    def pair(self) -> Pair:
        """The scores to compare.

        Raises:
            EvaluationError: The two can't be compared.
            IntegrityError: The champion's files are damaged.
            RegistryError: The champion's files are gone.
        """
        return self.against_baseline() if self.champion is None else self.against_champion(self.champion)

    def against_baseline(self) -> Pair:
        """The version beside the trivial baseline."""
        challenger = self.challenger
        return Pair(challenger.scorer, challenger.scores(), challenger.baseline(challenger.trivial_baseline))

    def against_champion(self, champion: ModelVersion) -> Pair:
        """The version beside the champion: its stored scores under the same protocol, or new ones."""
        challenger = self.challenger
        with temporary_folder() as temporary:
            if challenger.protocol is not None and champion.tags.get(Tag.protocol) == challenger.protocol:
                stored = _stored(self.registry, champion, temporary / "evaluation")
                if stored is not None and stored.protocol == challenger.protocol:
                    self._require_comparable(champion, stored.tokenizer)
                    mine, theirs = challenger.scores(), stored.scores()
                    if metric_of(challenger.scorer, mine, self.gate.metric) == metric_of(
                        challenger.scorer, theirs, self.gate.metric
                    ):  # else the stored ones are of a figure that was computed otherwise
                        return Pair(challenger.scorer, mine, theirs)
            old = self.load(champion, temporary / "champion")
            if type(old.task) is not type(challenger.task):
                raise EvaluationError(
                    f"{champion.title} was made for another task, {old.config['langmill']['task']['name']}; "
                    "give the recipe another name, or promote by hand with `langmill promote --force`."
                )
            self._require_comparable(champion, tokenizer_digest(old.manifest))
            return self.scored_again(champion, old, temporary / "challenger")

    def scored_again(self, champion: ModelVersion, old: LoadedModel, temporary: Path) -> Pair:
        """Both on every test document that either can judge."""
        challenger, scorer = self.challenger, self.challenger.scorer
        task = scorer.task
        split = list(read_documents(documents_path(self.documents, Split.test)))
        if usable(task, split).digest != challenger.test_set:
            raise EvaluationError(
                f"The test documents in {self.documents} are not those that {self.version.title} was judged on; "
                "run `dvc repro`."
            )
        mine = np.array([task.check(document) is None for document in split], dtype=bool)
        theirs = np.array([old.task.check(document) is None for document in split], dtype=bool)
        union = [document for document, judged in zip(split, mine | theirs, strict=True) if judged]
        surplus = [document for document, judged in zip(split, theirs & ~mine, strict=True) if judged]
        table = challenger.scores()
        if surplus:
            more = self.score(self.version, self.load(self.version, temporary), scorer, surplus)
            shared = [name for name in table.column_names if name in more.column_names]
            table = pa.concat_tables([table.select(shared), more.select(shared)], promote_options="permissive")
        row = {name: index for index, name in enumerate(table["id"].to_pylist())}
        table = table.take(pa.array([row[document.id] for document in union]))
        if surplus:
            table = scorer.joined(table, union)
        if GROUP in table.column_names:
            table = table.drop_columns([GROUP])
        table = with_groups(table, union, challenger.group_by)
        other = self.score(champion, old, scorer.with_task(old.task), union)
        joint = scorer.with_labels(sorted({*task.labels, *old.task.labels}))
        return Pair(
            joint,
            joint.relabelled(table, task.labels),
            joint.relabelled(other, old.task.labels),
            None if (mine == theirs).all() else (mine & theirs)[mine | theirs],
            _difference(task, old.task, int((mine & ~theirs).sum()), len(surplus)),
        )

    def _require_comparable(self, champion: ModelVersion, tokenizer: str | None) -> None:
        metric = find_metric(self.challenger.scorer, self.gate.metric)
        require_comparable(metric, (self.challenger.tokenizer, tokenizer), f"version {champion.version}")

    def load(self, version: ModelVersion, into: Path) -> LoadedModel:
        """A version's model, downloaded into a folder."""
        return load_model(self.registry.download(version.name, version.version, into), verify=False, device=self.device)

    def score(
        self, version: ModelVersion, model: LoadedModel, scorer: Scorer, documents: Sequence[Document]
    ) -> pa.Table:
        """A model's scores as the stage `evaluate` makes them."""
        with (
            track(f"Scoring {version.title} on the test set", len(documents), "documents") as progress,
            reproducible(self.evaluation.threads),
        ):
            return scorer.score(model.network, model.tokenizer, documents, self.evaluation, progress.advance)


def _stored(registry: Registry, champion: ModelVersion, into: Path) -> EvaluationFolder | None:
    """The evaluation that the champion was registered with; None where it is damaged or gone."""
    try:
        return EvaluationFolder.open(registry.download_evaluation(champion.name, champion.version, into), verify=False)
    except (IntegrityError, RegistryError) as error:
        _logger.warning("%s is scored again, for its stored evaluation can't be read. %s", champion.title, error)
        return None


def _difference(new: Task, old: Task, only_new: int, only_old: int) -> str:
    """What the version can judge and the champion can't, and the other way round."""
    parts = []
    added, lost = sorted(set(new.labels) - set(old.labels)), sorted(set(old.labels) - set(new.labels))
    if added:
        parts.append(f"the labels {_listed(added)} are new")
    if lost:
        parts.append(f"the labels {_listed(lost)} are gone")
    parts.append(f"{only_new:,} documents are the version's alone, {only_old:,} the champion's")
    return ", ".join(parts)


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_LABELS
    return ", ".join(labels[:_MOST_LABELS]) + (f" and {more:,} more" if more > 0 else "")
