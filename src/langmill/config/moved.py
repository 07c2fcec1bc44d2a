"""Settings that moved from `task.options` to `scoring.options`: old files and old models have them where they stood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOVED = {
    "context_overlap": "context_overlap",
    "keep_placeholders": "decoding.keep_placeholders",
    "metrics": "metrics",
    "score_length": "score_length",
    "writing": "decoding",
}
"""By an option's name among a task's: its place among the scorer's."""


def split_options(
    options: Mapping[str, Any], scoring: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a task's options of before into those of the task and those of its scorer.

    Args:
        options: The task's, perhaps with some of its scorer's among them.
        scoring: What the scorer's are already; what stands among the task's counts more.
    """
    scoring = scoring or {}
    kept = {name: value for name, value in options.items() if name not in _MOVED}
    for name in sorted(options.keys() & _MOVED.keys(), reverse=True):  # `writing` before what goes into it
        section, _, field = _MOVED[name].partition(".")
        value = {field: options[name]} if field else options[name]
        scoring = _merged(scoring, {section: value})
    if "writing" in options:  # without a temperature that was greedy
        scoring = _merged({"decoding": {"temperature": 0.0}}, scoring)
    if "score_length" in options and "mask_share" in options:  # one number, for learning and judging
        scoring = {**scoring, "mask_share": options["mask_share"]}
    return kept, dict(scoring)


def migrated_recipe(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """A recipe's values with each option where it belongs today, and by the old key of each that moved the new one."""
    task, scoring = values.get("task"), values.get("scoring", {"options": {}})
    if not (isinstance(task, Mapping) and isinstance(task.get("options"), Mapping) and isinstance(scoring, Mapping)):
        return values, {}
    kept, options = split_options(task["options"], scoring.get("options"))
    moved = {f"task.options.{name}": f"scoring.options.{_MOVED[name]}" for name in task["options"].keys() - kept.keys()}
    return {**values, "task": {**task, "options": kept}, "scoring": {**scoring, "options": options}}, moved


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values, the new ones over the old ones."""
    result = dict(old)
    for name, value in new.items():
        there = result.get(name)
        result[name] = _merged(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return result
