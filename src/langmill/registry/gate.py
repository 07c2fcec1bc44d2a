"""May a version become champion? The rules are asked about the evidence, and there is a verdict.

There are three outcomes, and an exception is none of them: *passed*; *refused*, where a rule was broken; and *cannot
tell*, where the two can't be compared (files are damaged, another tokenizer): that promotes nothing and is asked again
at the next run. Only a registry that can't be reached is an error, since that may pass by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from langmill.errors import LangmillError, TransientError
from langmill.evaluation.report import unseen
from langmill.registry.evidence import Evidence, reason_of
from langmill.registry.rules.base import Rule
from langmill.registry.verdict import RuleResult, Verdict

_logger = logging.getLogger(__name__)


def judge(evidence: Evidence, rules: Mapping[str, Rule]) -> Verdict:
    """Ask the rules about the evidence, in their order, until one can't tell or ends the asking.

    The same evidence and rules give the same verdict: no file, no registry and no clock is looked at. Raises
    TransientError where a rule of another distribution says that the same call can succeed later.
    """
    version, champion = evidence.version, evidence.champion
    unchanged = champion is not None and champion.version == version.version
    results: list[RuleResult] = []
    if evidence.doubt:
        results.append(_undecided(evidence, "champion", evidence.doubt))
    elif not unchanged:
        for name, rule in rules.items():
            try:
                found = list(rule.ask(evidence))
            except TransientError:
                raise
            except Exception as error:
                if not isinstance(error, LangmillError):
                    _logger.warning("The rule %s failed", name, exc_info=error)
                found = [_undecided(evidence, name.replace("_", " "), reason_of(error))]
            results += found
            kept = [result.passed for result in found]
            if None in kept or (rule.ends_asking and False in kept):
                break
    return Verdict(
        version.name,
        version.version,
        evidence.against,
        champion.version if champion is not None else None,
        evidence.comparison_key,
        unchanged,
        tuple(results),
        *evidence.weights,
        (
            *((unseen(evidence.unseen_labels),) if evidence.unseen_labels else ()),
            *(result.remark for result in results if result.remark),
        ),
    )


def _undecided(evidence: Evidence, rule: str, reason: str) -> RuleResult:
    sentence = (
        f"The gate cannot tell whether {evidence.version.title} is better than {evidence.against}: {reason} "
        "It is asked again at the next run."
    )
    return RuleResult(rule, None, None, None, sentence)
