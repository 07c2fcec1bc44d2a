"""May a version become champion? The evidence is gathered, the rules are asked, and the verdict is noted.

There are three outcomes, and an exception is none of them: *passed*; *refused*, where a rule was broken; and *cannot
tell*, where the two can't be compared (files are damaged, another tokenizer): that promotes nothing and is asked again
at the next run. Only a registry that can't be reached is an error, since that may pass by itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from langmill.config.sections import Evaluation, Gate
from langmill.errors import LangmillError, RegistryError, TransientError
from langmill.evaluation.evaluate import EvaluationFolder
from langmill.evaluation.report import unseen
from langmill.files import digest_of
from langmill.registry.evidence import Evidence
from langmill.registry.rules import enough_documents, improvement, not_rolled_back, validated
from langmill.registry.store import Registry
from langmill.registry.verdict import Rule, Verdict
from langmill.registry.versions import ModelVersion, Tag
from langmill.scoring.base import Scorer

_logger = logging.getLogger(__name__)


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
    asked, notes, question = [validated(version), not_rolled_back(version)], [], ""
    if all(rule.passed for rule in asked):
        try:
            challenger = EvaluationFolder.open(scores, verify=True)
            question = _question(challenger, gate, evaluation)
            known = Verdict.of(version)
            if known is not None and (known.champion, known.question) == (number, question) and _decided(known):
                return known
            evidence = Evidence(registry, version, champion, challenger, gate, evaluation, documents, device)
            against = evidence.against
            if challenger.unseen_labels:
                notes.append(unseen(challenger.unseen_labels))
            asked += enough_documents(evidence)
            if all(rule.passed for rule in asked):
                asked += improvement(evidence)
                notes = [unseen(left)] if (left := _unknown(challenger.unseen_labels, evidence.pair.scorer)) else []
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


def _unknown(labels: Mapping[str, int], scorer: Scorer) -> dict[str, int]:
    """Those labels that were not judged: the champion may know what the version does not."""
    return {label: count for label, count in labels.items() if label not in scorer.labels}


def _untold(version: ModelVersion, against: str, error: Exception) -> Rule:
    reason = str(error) if isinstance(error, LangmillError) else f"{type(error).__name__}: {error}."
    told = (
        f"The gate cannot tell whether {version.title} is better than {against}: {reason} "
        "It is asked again at the next run."
    )
    return Rule("improvement", None, None, None, told)
