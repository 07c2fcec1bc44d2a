"""May a version become champion? The rules, each with its figure, and what they said.

A refusal is a normal outcome: the champion stays, and the verdict says which rule failed and by how much.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from langmill.config.sections import Evaluation, Gate
from langmill.data.document import Split, documents_path, read_documents
from langmill.evaluation.evaluate import EvaluationFolder
from langmill.evaluation.scoring import score_model, usable
from langmill.evaluation.significance import Comparison, compare, find_metric
from langmill.files import digest_of
from langmill.progress import track
from langmill.registry.store import ModelVersion, Registry, State, Tag
from langmill.tasks.loading import load_model


@dataclass(frozen=True)
class Rule:
    """One thing that was asked of a version."""

    name: str
    passed: bool
    value: float | None
    """The figure that decided, if the rule is about one."""
    threshold: float | None
    """What it must be above."""
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
    """Digest of the settings and the test set that were judged by."""
    unchanged: bool
    """Whether the version is the champion already, so that there was nothing to judge."""
    rules: tuple[Rule, ...]

    @property
    def passed(self) -> bool:
        """Whether every rule was kept."""
        return all(rule.passed for rule in self.rules)

    @property
    def outcome(self) -> str:
        """`unchanged`, `passed` or `refused`."""
        return "unchanged" if self.unchanged else "passed" if self.passed else "refused"

    @property
    def sentence(self) -> str:
        """The verdict for a person: what decided it."""
        if self.unchanged:
            return f"{self.name} version {self.version} is the champion already."
        failed = [rule.sentence for rule in self.rules if not rule.passed]
        return " ".join(failed or [rule.sentence for rule in self.rules[-1:]])

    def markdown(self) -> str:
        """The verdict as a heading, a sentence and a table of rules."""
        lines = [f"### {self.name} version {self.version}: {self.outcome}", "", self.sentence, ""]
        if self.rules:
            lines += ["| rule | kept | value | must be above |", "|---|---|---:|---:|"]
            lines += [
                f"| {rule.name} | {'yes' if rule.passed else '**no**'} | {_number(rule.value)} "
                f"| {_number(rule.threshold)} |"
                for rule in self.rules
            ]
        return "\n".join(lines).rstrip() + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the verdict again; `outcome` and `sentence` are for readers."""
        return {**asdict(self), "outcome": self.outcome, "sentence": self.sentence}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Verdict:
        """The verdict of `to_json`."""
        plain = {key: value for key, value in values.items() if key not in ("outcome", "sentence", "rules")}
        return cls(**plain, rules=tuple(Rule(**rule) for rule in values["rules"]))

    @classmethod
    def of(cls, version: ModelVersion) -> Verdict | None:
        """The verdict that is noted on a version; None if there is none that can be read."""
        try:
            return cls.from_json(json.loads(version.tags[Tag.verdict]))
        except (KeyError, ValueError, TypeError):
            return None


def judge(
    registry: Registry, version: ModelVersion, gate: Gate, evaluation: Evaluation, *, scores: Path, documents: Path
) -> Verdict:
    """Judge a version against the champion, or against the trivial baseline where there is none, and note the verdict.

    The same question is not computed twice: a verdict noted under the same settings, on the same test set and against
    the same champion stands.

    Args:
        registry: Where the version is.
        version: The version.
        gate: The rules.
        evaluation: Resamples, seed and confidence; and how a champion that was judged on another test set is scored.
        scores: The version's evaluation folder.
        documents: The corpus's folder of documents, for such a champion.

    Raises:
        EvaluationError: The two can't be compared.
        RegistryError: Who the champion is, is not sure: the registry and the ledger disagree.
        TrackingError: The registry can't be reached.
    """
    champion = registry.champion(version.name)
    number = champion.version if champion else None
    challenger = EvaluationFolder.open(scores, verify=True)
    question = digest_of({"gate": asdict(gate), "evaluation": asdict(evaluation), "test_set": challenger.test_set})
    if champion is not None and champion.version == version.version:
        return Verdict(version.name, version.version, f"version {number}", number, question, True, ())
    rules = [_validated(version), _not_rolled_back(version)]
    against = f"version {number}" if champion else f"the baseline {challenger.trivial_baseline}"
    if all(rule.passed for rule in rules):
        known = Verdict.of(version)
        if known is not None and (known.champion, known.question) == (number, question) and _decided(known):
            return known
        if champion is None:
            table = challenger.baseline(challenger.trivial_baseline)
        else:
            table = _champion_scores(registry, champion, challenger, evaluation, documents)
        found = compare(challenger.task, challenger.scores(), table, gate.metric, evaluation)
        title = find_metric(challenger.task, gate.metric).title
        rules.append(improvement_rule(found, gate.min_effect, title, against, evaluation.confidence))
    verdict = Verdict(version.name, version.version, against, number, question, False, tuple(rules))
    registry.note(version, {Tag.verdict: json.dumps(verdict.to_json())})
    return verdict


def _decided(verdict: Verdict) -> bool:
    """Whether the figures decided, and not a state of the version that may have changed since."""
    return bool(verdict.rules) and verdict.rules[-1].name == "improvement"


def _validated(version: ModelVersion) -> Rule:
    passed = version.state == State.validated
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


def improvement_rule(found: Comparison, min_effect: float, title: str, against: str, confidence: float) -> Rule:
    """The rule that the whole interval of the paired difference lies beyond the minimum effect."""
    passed = found.beats(min_effect)
    gain = found.improvement
    direction = "worse" if gain.value < 0 else "better"
    figures = (
        f"{title} is {found.challenger:.4g} against {found.champion:.4g} of {against}: {direction} by "
        f"{abs(gain.value):.4g}, "
        f"{confidence:.0%} interval of the gain [{gain.low:.4g}, {gain.high:.4g}] on {found.examples:,} test documents"
    )
    asked = f"all of it must be above {min_effect:g}"
    if passed:
        told = f"{figures}; {asked}."
    else:
        told = f"{figures}; {asked}, which its lower end misses by {min_effect - gain.low:.4g}."
    return Rule("improvement", passed, gain.low, min_effect, told)


def _champion_scores(
    registry: Registry, champion: ModelVersion, challenger: EvaluationFolder, evaluation: Evaluation, documents: Path
) -> pa.Table:
    """The champion's scores on the challenger's test set: those it came with, or new ones where the set has changed."""
    with tempfile.TemporaryDirectory() as temporary:
        if champion.tags.get(Tag.test_set) == challenger.test_set:
            kept = registry.download_evaluation(champion.name, champion.version, Path(temporary) / "evaluation")
            return EvaluationFolder.open(kept, verify=False).scores()
        model = load_model(registry.download(champion.name, champion.version, Path(temporary) / "model"), verify=False)
    test = usable(model.task, read_documents(documents_path(documents, Split.test)))
    with track(f"Scoring {champion.title} on the new test set", len(test.documents), "documents") as progress:
        return score_model(model, test.documents, evaluation, progress.advance)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
