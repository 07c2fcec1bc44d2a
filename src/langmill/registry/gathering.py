"""Gather the evidence about a version: from its evaluation folder, the registry and the test documents.

The champion's stored scores are taken where they are of the version's protocol. Where they are not, they are taken from
the folder that `langmill.registry.rescore` fills in a process of its own; nothing is scored here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from langmill.config.sections import Evaluation, Gate
from langmill.data.document import Document, Split, documents_path, read_documents
from langmill.errors import IntegrityError, LangmillError, RegistryError, TransientError
from langmill.evaluation.estimates import BASE
from langmill.evaluation.folder import EvaluationFolder
from langmill.evaluation.protocol import require_comparable
from langmill.evaluation.scoring import judged_part
from langmill.evaluation.significance import find_metric, groups_of, metric_of
from langmill.files import digest_of, sha256_file, temporary_folder
from langmill.plugins import find_plugins
from langmill.registry.evidence import Evidence, Missing, Pair, Scored, Unscored, reason_of
from langmill.registry.rules.base import RULES
from langmill.registry.store import ModelRegistry
from langmill.registry.union import Union
from langmill.registry.verdict import Outcome, Verdict
from langmill.registry.versions import ModelVersion, Tag
from langmill.workspace import Workspace

_UNSCORED = "the champion's scores are of another protocol, and it was not scored again."
_Found = TypeVar("_Found")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """A version to be judged, and where the evidence about it lies."""

    registry: ModelRegistry
    version: ModelVersion
    gate: Gate
    evaluation: Evaluation
    """Resamples, seed and confidence; and how a champion that was judged by another protocol is scored."""
    scores: Path
    """The version's evaluation folder."""
    documents: Path
    """The corpus's folder of documents, for such a champion."""

    @cached_property
    def champion(self) -> ModelVersion | None:
        """The champion now. Raises as `ModelRegistry.champion`."""
        return self.registry.champion(self.version.name)

    @cached_property
    def challenger(self) -> EvaluationFolder:
        """The version's evaluation. Raises as `EvaluationFolder.open`."""
        return EvaluationFolder.open(self.scores, verify=True)

    @cached_property
    def judged(self) -> list[Document]:
        """The test split, or what `evaluation.max_documents` leaves of it. Raises as `read_documents`."""
        split = list(read_documents(documents_path(self.documents, Split.test)))
        return judged_part(self.challenger.task, split, self.evaluation, self.challenger.group_by)

    def noted_verdict(self) -> Verdict | None:
        """The verdict that is noted on the version, if it follows from the same evidence; None else."""
        noted = Verdict.of(self.version)
        try:
            stands = noted is not None and noted.comparison_key == self._comparison_key()
        except TransientError:
            raise
        except Exception:  # `gather` says what is wrong
            return None
        return noted if noted is not None and stands and noted.outcome is not Outcome.cannot_tell else None

    def gather(self, unscored: str = "") -> Evidence:
        """Gather what the rules may look at; `unscored` is why the champion could not be scored again, if it was tried.

        Raises TrackingUnreachableError where the registry can't be reached. What else can't be had is `Missing`.
        """
        version, nothing = self.version, Missing("there was nothing to compare.")
        try:
            champion, doubt = self.champion, ""
        except TransientError:
            raise
        except RegistryError as error:
            champion, doubt = None, str(error)
        facts = version, champion, self.gate.metric, self.evaluation
        if doubt or (champion is not None and champion.version == version.version):
            return Evidence(*facts, nothing, nothing, doubt=doubt)
        scored = self._had(self._scored)
        key = self._had(self._comparison_key)
        pair = self._had(lambda: self._pair(unscored or _UNSCORED)) if isinstance(scored, Scored) else scored
        name = self._had(lambda: self.challenger.base) if isinstance(scored, Scored) else None
        base = self._had(self._beside_base) if name is not None else None
        key = key if isinstance(key, str) else ""
        return Evidence(*facts, scored, pair, key, base=base, base_name=name if isinstance(name, str) else "")

    def _had(self, gather: Callable[[], _Found]) -> _Found | Missing:
        """A piece of evidence; whatever is wrong with the files must not end every later run."""
        try:
            return gather()
        except TransientError:
            raise
        except Exception as error:
            _logger.warning(
                "Evidence about %s is missing: %s",
                self.version.title, error, exc_info=not isinstance(error, LangmillError),
            )  # fmt: skip
            return Missing(reason_of(error))

    def _comparison_key(self) -> str:
        """Digest of all that the verdict follows from, the code of rules from other distributions included."""
        files, champion = self.challenger.manifest["files"], self.champion
        plugins = find_plugins((RULES.group, name) for name in self.gate.rules)
        return digest_of(
            {
                "gate": asdict(self.gate),
                "evaluation": asdict(self.evaluation),
                "protocol": self.challenger.protocol,
                "test_set": self.challenger.test_set,
                "scores": {name: digest for name, digest in files.items() if name.endswith(".parquet")},
                "version": _facts(self.version),
                "champion": None if champion is None else [champion.version, _facts(champion)],
                "plugins": {plugin.name: plugin.digest for plugin in plugins},
            }
        )

    def _scored(self) -> Scored:
        challenger, table = self.challenger, self.challenger.scores()
        measured = challenger.scorer.measured(table, self.gate.metric)
        table = table if measured is None else table.filter(measured)
        return Scored(
            table.num_rows,
            groups_of(table)[1],
            challenger.group_by,
            challenger.unseen_labels,
            challenger.trivial_baseline if self.champion is None else "",
        )

    def _pair(self, unscored: str) -> Pair | Unscored:
        """The scores to compare; LangmillError where they can't be, or the champion's files are damaged or gone."""
        challenger, scorer = self.challenger, self.challenger.scorer
        if self.champion is None:
            return Pair(scorer, challenger.scores(), challenger.baseline(challenger.trivial_baseline))
        stored = self._stored_pair(self.champion)
        if stored is not None:
            return stored
        try:
            found = EvaluationFolder.open(self.rescored, verify=True)
        except LangmillError:  # not made yet, or damaged
            return Unscored(unscored)
        self._require_comparable(found)
        union = Union.of(scorer.task, found.task, self.judged)
        surplus = EvaluationFolder.open(self.rescored_surplus, verify=True).scores() if union.surplus else None
        return union.pair(
            scorer, challenger.scores(), found.task, found.scores(), surplus=surplus, group_by=challenger.group_by
        )

    def _beside_base(self) -> Pair:
        challenger = self.challenger
        return Pair(challenger.scorer, challenger.scores(), challenger.baseline(BASE))

    def _stored_pair(self, champion: ModelVersion) -> Pair | None:
        """The version beside the champion's stored scores; None where those are of another protocol, or not whole."""
        challenger, metric = self.challenger, self.gate.metric
        if challenger.protocol is None or champion.tags.get(Tag.protocol) != challenger.protocol:
            return None
        with temporary_folder() as temporary:
            try:
                folder = self.registry.download_evaluation(champion.name, champion.version, temporary / "evaluation")
                stored = EvaluationFolder.open(folder, verify=False)
            except (IntegrityError, RegistryError) as error:
                _logger.warning("%s is scored again, for its evaluation can't be read. %s", champion.title, error)
                return None
            if stored.protocol != challenger.protocol:
                return None
            self._require_comparable(stored)
            scorer, mine, theirs = challenger.scorer, challenger.scores(), stored.scores()
        # The stored ones may be of a metric that was computed otherwise.
        same = metric_of(scorer, mine, metric) == metric_of(scorer, theirs, metric)
        return Pair(scorer, mine, theirs) if same else None

    def _require_comparable(self, other: EvaluationFolder) -> None:
        assert self.champion is not None
        metric = find_metric(self.challenger.scorer, self.gate.metric)
        require_comparable(metric, (self.challenger.tokenizer, other.tokenizer), f"version {self.champion.version}")

    # What is scored again --------------------------------------------------------------------------------------------

    @cached_property
    def rescored(self) -> Path:
        """The folder of the champion's scores under the version's protocol, whoever the version is."""
        return Workspace().rescored(self.version.name) / self._rescoring_digest({})

    @cached_property
    def rescored_surplus(self) -> Path:
        """The folder of the version's own scores of the documents that only the champion could be scored on."""
        digest = self._rescoring_digest({"surplus_of": self.version.tags.get(Tag.weights)})
        return Workspace().rescored(self.version.name) / digest

    def _rescoring_digest(self, more: dict[str, str | None]) -> str:
        assert self.champion is not None
        return digest_of(
            {
                "weights": self.champion.tags.get(Tag.weights),
                "provenance": self.champion.provenance,
                "protocol": self.challenger.protocol,
                "task": self.challenger.manifest["task"],
                "scoring": self.challenger.manifest.get("scoring"),
                "documents": sha256_file(documents_path(self.documents, Split.test)),
                **more,
            }
        )[:32]


def _facts(version: ModelVersion) -> dict[str, str]:
    """What is noted on a version, but for what the gate itself noted."""
    return {name: value for name, value in version.tags.items() if name != Tag.verdict}
