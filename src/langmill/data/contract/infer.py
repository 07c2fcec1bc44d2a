"""A contract from the documents of now, with slack: a first draft for a person to review."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from langmill.data.contract.effect_size import IntArray, distance_by_chance, distribution
from langmill.data.contract.evidence import Evidence, Kind, Statistics
from langmill.data.contract.expectations.survival import SurvivalOptions, judged_sources
from langmill.data.contract.expectations.unread import unread_bytes, unusable_rows
from langmill.data.document import LANGUAGE_KEY, QUALITY_KEY

_LISTED = 50  # labels and languages of the reference; what is rarer counts as one
_BALANCED = 20  # labels, each of which gets limits of its own
_A_LABEL = 5  # documents a label, on average: with fewer it is a name, not a class
_QUANTILES = ("0.05", "0.5", "0.95")
_OURS = {"metadata.copies", "metadata.leaked", f"metadata.{LANGUAGE_KEY}", f"metadata.{QUALITY_KEY}"}
"""Fields that a step of ours writes, and not in every document."""
_LOST, _UNUSABLE = 0.01, 0.1  # shares of bytes and rows from which on a loss is no habit of the data
_COMMON = 0.01  # share of documents from which on a language is expected


def infer(evidence: Evidence) -> dict[str, Any]:
    """The section `contract` that the documents keep, as plain values.

    Each limit leaves room for what may be chance or growth; `write` says in comments how much.
    """
    found = evidence.statistics
    expectations = {
        **_size(found),
        **_fields(found),
        **_labels(found.labels),
        **_lengths("lengths", found.lengths),
        **_lengths("target_lengths", found.target_lengths),
        **_languages(found.languages),
        **_flow(evidence.report),
        **_shift(found),
    }
    return {"expectations": expectations, "reference": reference_of(found)}


def _size(found: Statistics) -> dict[str, Any]:
    return {
        name: {"stop": [_whole(count, 0.5, 1)[0], None], "warn": _whole(count, 0.8, 1.25)}
        for name, count in (("documents", found.documents), ("bytes", found.num_bytes))
    }


def _fields(found: Statistics) -> dict[str, Any]:
    known = [name for name in found.fields if found.kinds.get(name)]
    known += ["target"] if found.target_lengths.size else []
    missing = {name: found.nulls[name] / found.documents for name in known if name not in _OURS}
    kinds = {name: _narrowest(found.kinds[name]) for name in known if name in found.kinds and name not in _OURS}
    typed = {name: kind.value for name, kind in kinds.items() if kind is not Kind.text}
    result: dict[str, Any] = {}
    if missing:
        result["nulls"] = {
            # Of a field that few documents have: where half of those few lack it, or a quarter. 1 is no limit.
            "stop": {name: _up(min(2 * share + 0.01, (1 + share) / 2)) for name, share in missing.items()},
            "warn": {name: _up(min(1.25 * share, (1 + 3 * share) / 4)) for name, share in missing.items()},
        }
    if typed:
        result["types"] = {"fields": typed, "stop": 0.01, "warn": 0}
    return result


def _narrowest(kinds: Mapping[Kind, int]) -> Kind:
    return next(kind for kind in Kind if all(kind.takes(other) for other in kinds))


def _labels(counts: Mapping[str, int]) -> dict[str, Any]:
    total, common = sum(counts.values()), _common(counts)
    if not counts or len(counts) > _LISTED or total < _A_LABEL * len(counts):
        return {}
    result: dict[str, Any] = {"label_set": {"labels": common, "stop": 0, "warn": 0}}
    if len(counts) <= _BALANCED:
        limits: dict[str, dict[str, list[float]]] = {"stop": {}, "warn": {}}
        for label in common:
            share = counts[label] / total
            error = math.sqrt(share * (1 - share) / total)
            for name, part, errors in (("stop", 0.5, 6), ("warn", 0.2, 3)):
                slack = max(part * share, errors * error)
                limits[name][label] = [_down(max(0.0, share - slack)), min(1, _up(share + slack))]
        result["label_balance"] = limits
    return result


def _lengths(name: str, values: IntArray) -> dict[str, Any]:
    if not values.size:
        return {}
    at = {key: int(np.quantile(values, float(key), method="lower")) for key in _QUANTILES}
    return {
        name: {
            "stop": {key: _whole(value, 0.5, 2) for key, value in at.items()},
            "warn": {key: _whole(value, 0.8, 1.25) for key, value in at.items()},
        }
    }


def _languages(counts: Mapping[str, int]) -> dict[str, Any]:
    total = sum(counts.values())
    if not total:
        return {}
    allowed = [name for name in _common(counts) if counts[name] >= _COMMON * total]
    others = 1 - sum(counts[name] for name in allowed) / total
    return {"languages": {"allowed": allowed, **_at_most(others, 0.05, 0.01)}}


def _flow(report: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the rows and bytes that came in.

    A loss does not become right by standing there: where much can't be read, or a file is damaged, the limits of
    base.yaml stay.
    """
    rows, result = int(report["rows"]), dict[str, Any]()
    if report.get("bytes"):
        lost, total = unread_bytes(report)
        if 2 * lost <= _LOST * total:
            result["unread"] = {**_at_most(lost / max(1, total), 0.001, 0), "damaged_files": 0}
    count, of = unusable_rows(report)
    if count <= _UNUSABLE * of:
        result["quarantined"] = _at_most(count / max(1, of), 0.01, 0.001)
    least = SurvivalOptions().min_rows
    kept = [each.share for each in judged_sources(report, least)]
    if kept:
        result["survival"] = {"stop": _down(min(kept) / 2), "warn": _down(0.8 * min(kept)), "min_rows": least}
    if alike := report.get("near_duplicates"):
        result["near_duplicates"] = _at_most(alike["dropped"] / max(1, rows), 0.2, 0.05)
    if leakage := report.get("leakage"):
        result["leakage"] = _at_most(leakage["share"], 0.05, 0.01)
    return result


def _shift(found: Statistics) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, counts in (("label_shift", found.labels), ("language_shift", found.languages)):
        if counts:
            # Two samples of k values differ by no more than sqrt(k / n) on average (Berend and Kontorovich, 2013).
            result[name] = _shifted(math.sqrt(min(len(counts), _LISTED) / counts.total()))
    result["length_shift"] = _shifted(distance_by_chance(found.documents, found.documents))
    return result


def _shifted(chance: float) -> dict[str, float]:
    return {"stop": min(1, _up(max(0.25, 2 * chance))), "warn": min(1, _up(max(0.1, chance)))}


def _at_most(share: float, stop: float, warn: float) -> dict[str, float]:
    """Limits of a share that should be small: twice and 1.25 times what it is, and never less than these."""
    return {"stop": min(1, _up(max(stop, 2 * share))), "warn": min(1, _up(max(warn, 1.25 * share)))}


def reference_of(found: Statistics) -> dict[str, Any]:
    """The statistics that later documents can be compared with, as the plain values of `sections.Reference`."""
    return {
        "documents": found.documents,
        "bytes": found.num_bytes,
        "lengths": [list(pair) for pair in distribution(found.lengths)],
        "target_lengths": [list(pair) for pair in distribution(found.target_lengths)],
        "labels": _shares(found.labels),
        "languages": _shares(found.languages),
    }


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    # Down, so that many of them never add up to more than 1.
    return {name: math.floor(1e4 * counts[name] / total) / 1e4 for name in _common(counts)[:_LISTED]}


def _common(counts: Mapping[str, int]) -> list[str]:
    """The most common first."""
    return sorted(counts, key=lambda name: (-counts[name], name))


def _down(value: float) -> float:
    """A number cut to two digits that count: a limit that a person can read."""
    return _two_digits(value, math.floor)


def _whole(count: int, least: float, most: float) -> list[int]:
    """Limits of a count: so many times what it is."""
    return [int(_down(least * count)), math.ceil(_up(most * count))]


def _up(value: float) -> float:
    """The next number with two digits that count."""
    return _two_digits(value, math.ceil)


def _two_digits(value: float, towards: Any) -> float:
    if value == 0:
        return 0
    unit = math.floor(math.log10(abs(value))) - 1
    rounded = round(towards(round(value / 10**unit, 6)) * 10**unit, max(0, -unit))
    return int(rounded) if rounded == int(rounded) else rounded
