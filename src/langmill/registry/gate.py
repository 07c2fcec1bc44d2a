"""May a version become champion? The rules, each with its figure, and what they said.

There are three outcomes, and an exception is none of them: *passed*; *refused*, where a rule was broken; and *cannot
tell*, where the two can't be compared (files are damaged, another tokenizer): that promotes nothing and is asked again
at the next run. Only a registry that can't be reached is an error, since that may pass by itself.

A version is compared with the champion under one protocol (`langmill.evaluation.protocol`). Where the champion's stored
scores are of another one, the champion is scored again, as the version was. Where the two know other labels or select
other documents, they are judged on the union: what a model can't say counts as wrong. The verdict tells the part that
both can judge besides.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from langmill.config.sections import Evaluation, Gate
from langmill.data.document import Document, Split, documents_path, read_documents
from langmill.errors import EvaluationError, IntegrityError, LangmillError, RegistryError, TransientError
from langmill.evaluation.evaluate import EvaluationFolder
from langmill.evaluation.protocol import require_comparable
from langmill.evaluation.report import unseen
from langmill.evaluation.scoring import reproducible, usable, with_groups
from langmill.evaluation.significance import GROUP, Comparison, compare, counted, find_metric, groups_of, metric_of
from langmill.files import digest_of, temporary_folder
from langmill.models.folder import tokenizer_digest
from langmill.progress import track
from langmill.registry.store import Registry
from langmill.registry.versions import ModelVersion, State, Tag
from langmill.tasks.base import Task
from langmill.tasks.loading import LoadedModel, load_model

CANNOT_TELL = "cannot tell"
_MOST_LABELS = 10  # named in a sentence
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """One thing that was asked of a version."""

    name: str
    passed: bool | None
    """None where it can't be told."""
    value: float | None
    """The figure that decided, if the rule is about one."""
    threshold: float | None
    """What it must be above, or reach where it is a count."""
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What the gate said of a version."""

    name: str
    version: int
    against: str
    """What it was compared with: `version 2`, or `the baseline unigram`."""
    champion: int | None
    """The champion at that time."""
    question: str
    """Digest of the settings, the protocol and the scores that were judged by."""
    unchanged: bool
    """Whether the version is the champion already, so that there was nothing to judge."""
    rules: tuple[Rule, ...]
    weights: str = ""
    """SHA-256 of the version's weights; "" where it was not noted."""
    champion_weights: str = ""
    """SHA-256 of the champion's weights; "" where there is no champion or it was not noted."""
    notes: tuple[str, ...] = ()
    """What a person should know besides."""

    @property
    def passed(self) -> bool:
        """Whether every rule was kept."""
        return all(rule.passed for rule in self.rules)

    @property
    def outcome(self) -> str:
        """`unchanged`, `passed`, `refused` or `cannot tell`."""
        if self.unchanged:
            return "unchanged"
        if self.passed:
            return "passed"
        return "refused" if any(rule.passed is False for rule in self.rules) else CANNOT_TELL

    @property
    def sentence(self) -> str:
        """The verdict for a person: what decided it."""
        if self.unchanged:
            return f"{self.name} version {self.version} is the champion already ({self._compared_weights})."
        wrong = [rule.sentence for rule in self.rules if rule.passed is False]
        wrong = wrong or [rule.sentence for rule in self.rules if rule.passed is None]
        return " ".join([*(wrong or [rule.sentence for rule in self.rules[-1:]]), *self.notes])

    @property
    def _compared_weights(self) -> str:
        """Both models' weights, for people."""
        mine = f"weights {self.weights[:12] or 'not noted'}"
        return f"{mine}, champion's {self.champion_weights[:12] or 'not noted'}" if self.champion is not None else mine

    def markdown(self) -> str:
        """The verdict as a heading, a sentence and a table of rules."""
        lines = [f"### {self.name} version {self.version}: {self.outcome}", "", self.sentence, ""]
        if self.rules:
            lines += ["| rule | kept | value | must be above, or reach |", "|---|---|---:|---:|"]
            kept = {True: "yes", False: "**no**", None: "can't be told"}
            lines += [
                f"| {rule.name} | {kept[rule.passed]} | {_number(rule.value)} | {_number(rule.threshold)} |"
                for rule in self.rules
            ]
            lines += ["", f"Compared by their {self._compared_weights}."]
        return "\n".join(lines).rstrip() + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the verdict again; `outcome` and `sentence` are for readers."""
        return {**asdict(self), "outcome": self.outcome, "sentence": self.sentence}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Verdict:
        """The verdict of `to_json`."""
        plain = {key: value for key, value in values.items() if key not in ("outcome", "sentence", "rules", "notes")}
        rules = tuple(Rule(**rule) for rule in values["rules"])
        return cls(**plain, rules=rules, notes=tuple(values.get("notes", ())))

    @classmethod
    def of(cls, version: ModelVersion) -> Verdict | None:
        """The verdict that is noted on a version; None if there is none that can be read."""
        try:
            return cls.from_json(json.loads(version.tags[Tag.verdict]))
        except (KeyError, ValueError, TypeError):
            return None


def judge(
    registry: Registry,
    version: ModelVersion,
    gate: Gate,
    evaluation: Evaluation,
    *,
    scores: Path,
    documents: Path,
    device: str = "cpu",
) -> Verdict:
    """Judge a version against the champion, or against the trivial baseline where there is none, and note the verdict.

    The same question is not computed twice: a verdict noted under the same settings and protocol, on the same scores
    and against the same champion stands. One that could not be told is asked again.

    Args:
        registry: Where the version is.
        version: The version.
        gate: The rules.
        evaluation: Resamples, seed and confidence; and how a champion that was judged by another protocol is scored.
        scores: The version's evaluation folder.
        documents: The corpus's folder of documents, for such a champion.
        device: Where such a champion is scored, in torch's word.

    Raises:
        TrackingUnreachableError: The registry can't be reached.
    """
    try:
        champion = registry.champion(version.name)
    except TransientError:
        raise
    except RegistryError as error:
        rules = (_untold(version, "the champion", error),)
        return Verdict(version.name, version.version, "the champion", None, "", False, rules)
    number = champion.version if champion else None
    against = f"version {number}" if champion else "the trivial baseline"
    weights = version.tags.get(Tag.weights, ""), champion.tags.get(Tag.weights, "") if champion else ""
    if champion is not None and champion.version == version.version:
        return Verdict(version.name, version.version, against, number, "", True, (), *weights)
    asked, notes, question = [_validated(version), _not_rolled_back(version)], [], ""
    if all(rule.passed for rule in asked):
        try:
            challenger = EvaluationFolder.open(scores, verify=True)
            question = _question(challenger, gate, evaluation)
            known = Verdict.of(version)
            if known is not None and (known.champion, known.question) == (number, question) and _decided(known):
                return known
            if champion is None:
                against = f"the baseline {challenger.trivial_baseline}"
            if challenger.unseen_labels:
                notes.append(unseen(challenger.unseen_labels))
            asked += enough_rules(*_size(challenger.scores()), gate, challenger.group_by)
            if all(rule.passed for rule in asked):
                case = _Case(registry, version, champion, challenger, gate, evaluation, documents, device)
                pair = case.against_baseline() if champion is None else case.against_champion(champion)
                asked += case.improvement(pair, against)
                notes = [unseen(left)] if (left := _unknown(challenger.unseen_labels, pair.task)) else []
        except TransientError:
            raise
        except Exception as error:  # whatever is wrong with the files: it must not end every later run
            _logger.warning(
                "The gate can't compare %s with %s: %s",
                version.title, against, error, exc_info=not isinstance(error, LangmillError),
            )  # fmt: skip
            asked.append(_untold(version, against, error))
    verdict = Verdict(
        version.name, version.version, against, number, question, False, tuple(asked), *weights, tuple(notes)
    )
    registry.note(version, {Tag.verdict: json.dumps(verdict.to_json())})
    return verdict


def _question(challenger: EvaluationFolder, gate: Gate, evaluation: Evaluation) -> str:
    """Digest of what a verdict follows from, besides the champion."""
    tables = {name: digest for name, digest in challenger.manifest["files"].items() if name.endswith(".parquet")}
    return digest_of(
        {
            "gate": asdict(gate),
            "evaluation": asdict(evaluation),
            "protocol": challenger.protocol,
            "test_set": challenger.test_set,
            "scores": tables,
        }
    )


def _decided(verdict: Verdict) -> bool:
    """Whether the figures decided, and not a state of the version that may have changed since."""
    return bool(verdict.rules) and verdict.rules[-1].name == "improvement" and verdict.rules[-1].passed is not None


def _unknown(labels: Mapping[str, int], task: Task) -> dict[str, int]:
    """Those labels that the task does not have: the champion may know what the version does not."""
    return {label: count for label, count in labels.items() if label not in task.labels}


def _untold(version: ModelVersion, against: str, error: Exception) -> Rule:
    reason = str(error) if isinstance(error, LangmillError) else f"{type(error).__name__}: {error}."
    told = (
        f"The gate cannot tell whether {version.title} is better than {against}: {reason} "
        "It is asked again at the next run."
    )
    return Rule("improvement", None, None, None, told)


def _validated(version: ModelVersion) -> Rule:
    passed = {State.validated: True, State.rejected: False}.get(version.state)  # None: not yet, or it could not tell
    told = (
        "It loads, answers and says what the trained model says."
        if passed
        else f"{version.title} did not pass validation: {version.tags.get(Tag.reason, 'it was not validated yet.')}"
    )
    return Rule("validation", passed, None, None, told)


def _not_rolled_back(version: ModelVersion) -> Rule:
    reason = version.tags.get(Tag.rolled_back)
    told = (
        "It was never rolled back."
        if reason is None
        else f"{version.title} was rolled back by hand ({reason}); only `langmill promote --force` brings it back."
    )
    return Rule("not rolled back", reason is None, None, None, told)


def _size(scores: pa.Table) -> tuple[int, int]:
    return scores.num_rows, groups_of(scores)[1]


def enough_rules(examples: int, groups: int, gate: Gate, group_by: str | None, left_out: int = 0) -> list[Rule]:
    """The rules that there are documents, and groups of them, to tell skill from luck by.

    Args:
        examples: Documents to judge by.
        groups: Groups that they are in.
        gate: The least numbers.
        group_by: The metadata field that makes the groups; None where each document is its own.
        left_out: Documents besides, of which the two models read other parts.
    """
    compared, remedy = "", "add documents"
    if left_out:
        compared, remedy = "compared ", "give both models the same training.block_length, add documents"
    left = f" to compare on ({left_out:,} left out, since the two can read other parts of them)" if left_out else ""
    missing = gate.min_documents - examples
    told = f"There are {counted(examples, examples)}{left}; gate.min_documents asks for {gate.min_documents:,}"
    if missing > 0:
        told += f", so {missing:,} are missing: {remedy}, or raise split.test of the corpus"
    rules = [Rule(f"{compared}test documents", missing <= 0, examples, gate.min_documents, f"{told}.")]
    if groups < examples or group_by is not None:
        missing = gate.min_groups - groups
        told = (
            f"The {counted(examples, examples)}{left} are in {groups:,} groups (split.by is {group_by}); "
            f"gate.min_groups asks for {gate.min_groups:,}"
        )
        if missing > 0:
            told += f", so {missing:,} are missing: {remedy} of other groups, or raise split.test of the corpus"
        rules.append(Rule(f"groups of {compared}test documents", missing <= 0, groups, gate.min_groups, f"{told}."))
    return rules


def improvement_rule(found: Comparison, min_effect: float, title: str, against: str, more: str = "") -> Rule:
    """The rule that the whole interval of the paired difference lies beyond the minimum effect, and not by luck.

    Args:
        found: The difference.
        min_effect: The least effect, in the metric's unit.
        title: The metric, as a person reads it.
        against: What the version was compared with.
        more: What else to say of the comparison.
    """
    gain = found.improvement
    told = f"{in_words(found, title, against)}; all of it must be above {min_effect:g}"
    if gain.low <= min_effect:
        told += f", which its lower end misses by {min_effect - gain.low:.4g}"
    elif not found.beats(min_effect):
        told += (
            f", which it is, but two models that are alike differ as much in {found.p_value:.2%} of cases, "
            f"and {found.level:.2%} is the most"
        )
    return Rule("improvement", found.beats(min_effect), gain.low, min_effect, f"{told}.{more}")


def in_words(found: Comparison, title: str, against: str) -> str:
    """A comparison as a clause."""
    gain = found.improvement
    direction = "worse" if gain.value < 0 else "better"
    return (
        f"{title} is {found.challenger:.4g} against {found.champion:.4g} of {against}: {direction} by "
        f"{abs(gain.value):.4g}, {found.confidence:.0%} interval of the gain [{gain.low:.4g}, {gain.high:.4g}] "
        f"on {found.counted}"
    )


@dataclass(frozen=True)
class _Pair:
    """The scores of the version and of what it is compared with, on the same documents, in one task's labels."""

    task: Task
    challenger: pa.Table
    other: pa.Table
    common: np.ndarray | None = None
    """Which documents both can judge, `(N,)`; None where both can judge the same ones."""
    difference: str = ""
    """In what they differ, for a person."""


@dataclass(frozen=True)
class _Case:
    """A version, and what there is to judge it by."""

    registry: Registry
    version: ModelVersion
    champion: ModelVersion | None
    challenger: EvaluationFolder
    gate: Gate
    evaluation: Evaluation
    documents: Path
    device: str

    def improvement(self, pair: _Pair, against: str) -> list[Rule]:
        """The rule that the version is better, with the part that both can judge told besides.

        Before it stand the least numbers that a comparison on fewer documents than were scored does not reach.
        """
        title = find_metric(pair.task, self.gate.metric).title
        found = compare(pair.task, pair.challenger, pair.other, self.gate.metric, self.evaluation)
        more = ""
        if self.champion is not None and self.version.tags.get(Tag.weights) == self.champion.tags.get(Tag.weights):
            more += " Both have the same weights."
        if pair.common is not None:
            more += f" That is on the union, where what a model can't say is wrong: {pair.difference}."
            mine, other = (table.filter(pa.array(pair.common)) for table in (pair.challenger, pair.other))
            if mine.num_rows:
                part = compare(pair.task, mine, other, self.gate.metric, self.evaluation)
                more += f" On the part that both can judge, {in_words(part, title, against)}."
            else:
                more += " There is no document that both can judge."
        enough = enough_rules(found.examples, found.groups, self.gate, self.challenger.group_by, found.left_out)
        return [
            *(rule for rule in enough if not rule.passed),
            improvement_rule(found, self.gate.min_effect, title, against, more),
        ]

    def against_baseline(self) -> _Pair:
        """The version beside the trivial baseline."""
        challenger = self.challenger
        return _Pair(challenger.task, challenger.scores(), challenger.baseline(challenger.trivial_baseline))

    def against_champion(self, champion: ModelVersion) -> _Pair:
        """The version beside the champion: its stored scores under the same protocol, or new ones."""
        challenger = self.challenger
        with temporary_folder() as temporary:
            if challenger.protocol is not None and champion.tags.get(Tag.protocol) == challenger.protocol:
                stored = _stored(self.registry, champion, temporary / "evaluation")
                if stored is not None and stored.protocol == challenger.protocol:
                    self._require_comparable(champion, stored.tokenizer)
                    mine, theirs = challenger.scores(), stored.scores()
                    if metric_of(challenger.task, mine, self.gate.metric) == metric_of(
                        challenger.task, theirs, self.gate.metric
                    ):  # else the stored ones are of a figure that was computed otherwise
                        return _Pair(challenger.task, mine, theirs)
            old = self._load(champion, temporary / "champion")
            if type(old.task) is not type(challenger.task):
                raise EvaluationError(
                    f"{champion.title} was made for another task, {old.config['langmill']['task']['name']}; "
                    "give the recipe another name, or promote by hand with `langmill promote --force`."
                )
            self._require_comparable(champion, tokenizer_digest(old.manifest))
            return self._scored_again(champion, old, temporary / "challenger")

    def _scored_again(self, champion: ModelVersion, old: LoadedModel, temporary: Path) -> _Pair:
        """Both on every test document that either can judge."""
        challenger, task = self.challenger, self.challenger.task
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
            more = self._score(self.version, self._load(self.version, temporary), task, surplus)
            shared = [name for name in table.column_names if name in more.column_names]
            table = pa.concat_tables([table.select(shared), more.select(shared)], promote_options="permissive")
        row = {name: index for index, name in enumerate(table["id"].to_pylist())}
        table = table.take(pa.array([row[document.id] for document in union]))
        if surplus:
            table = task.joined(table, union)
        if GROUP in table.column_names:
            table = table.drop_columns([GROUP])
        table = with_groups(table, union, challenger.group_by)
        other = self._score(champion, old, old.task.judged_as(task), union)
        joint = task.with_labels(sorted({*task.labels, *old.task.labels}))
        return _Pair(
            joint,
            joint.relabelled(table, task.labels),
            joint.relabelled(other, old.task.labels),
            None if (mine == theirs).all() else (mine & theirs)[mine | theirs],
            _difference(task, old.task, int((mine & ~theirs).sum()), len(surplus)),
        )

    def _require_comparable(self, champion: ModelVersion, tokenizer: str | None) -> None:
        metric = find_metric(self.challenger.task, self.gate.metric)
        require_comparable(metric, (self.challenger.tokenizer, tokenizer), f"version {champion.version}")

    def _load(self, version: ModelVersion, into: Path) -> LoadedModel:
        return load_model(self.registry.download(version.name, version.version, into), verify=False, device=self.device)

    def _score(self, version: ModelVersion, model: LoadedModel, task: Task, documents: Sequence[Document]) -> pa.Table:
        """A model's scores as the stage `evaluate` makes them."""
        with (
            track(f"Scoring {version.title} on the test set", len(documents), "documents") as progress,
            reproducible(self.evaluation.threads),
        ):
            return task.score(model.network, model.tokenizer, documents, self.evaluation, progress.advance)


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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
