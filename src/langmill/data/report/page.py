"""The report as one HTML page that needs nothing else: no network, no script, no font.

What it says comes from report.json and from what the contract found; equal ones give equal bytes. Texts of the corpus
are escaped, cut and shown without what acts in them (`marks`), and the page's own policy lets nothing be loaded.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from langmill.config import sections
from langmill.data.report import charts, marks, views
from langmill.data.report.label_groups import label_groups, ranked, split_labels
from langmill.data.report.markdown import Facts, warning
from langmill.data.report.words import counted, percent, size, words

PAGE_NAME = "report.html"
"""The page's file."""


def page(
    facts: Facts,
    results: Mapping[str, Any] | None = None,
    reference: sections.Reference | None = None,
    changes: Mapping[str, Any] | None = None,
) -> str:
    """Render the page of a corpus's version.

    Args:
        facts: What report.json says.
        results: What the contract found, as its results.json says; None where it was not asked.
        reference: What the documents looked like when someone last looked at them.
        changes: The difference to an earlier version, as `data.difference` says it, and under `before` that version's
            name; or why there is none, under `problem`. None in what a stage writes, whose bytes depend on its inputs
            alone (decision 0331).
    """
    facts = json.loads(json.dumps(facts, sort_keys=True))  # as from the file, so that it makes no difference
    sources, hidden_sources = views.sources(facts)
    compared = None if changes is None or "problem" in changes else changes
    context = {
        "facts": facts,
        "results": results,
        "findings": _findings(results),
        "kept_rows": facts["rows"] - sum(facts["dropped"].values()) - sum(facts["quarantined"].values()),
        "splits": [(name, facts["splits"][name]) for name in views.SPLITS],
        "with_target": any(split["targets"] for split in facts["splits"].values()),
        "waterfall": views.waterfall(facts),
        "lengths": [
            ("text", "length_quantiles", _histogram(facts["lengths"])),
            ("target", "target_length_quantiles", _histogram(facts["target_lengths"])),
        ],
        "languages": views.shares(facts, "languages"),
        "labels": views.shares(facts, "labels", "(no label)"),
        "label_groups": label_groups(facts),
        "sources": sources,
        "hidden_sources": hidden_sources,
        "readings": sorted(facts.get("readings", {}).items()),
        "steps": views.steps(facts),
        "copies": views.counted(facts["copies"], "kept"),
        "privacy": views.counted(facts["privacy"] or {}, "dropped"),
        "quarantined": views.counted(facts["quarantined"], "quarantined"),
        "reviewed": None if reference is None else _difference(facts, reference),
        "changes": changes,
        "change_counts": [] if compared is None else views.changes(compared["counts"]),
        "since": None if compared is None else _since(facts, compared["reference"]),
        "notices": _notices(facts, results),
        "tiles": _tiles(facts, results),
        "parts": _parts(facts, results, reference, changes),
        "style": _source("style.css"),
        "is_code": _is_code(facts),
    }
    return str(_environment().get_template("report.html.j2").render(context))


def _is_code(facts: Facts) -> bool:
    """Whether texts are code, to be set in a font of equal widths: most samples have lines that are indented."""
    samples = [sample for split in facts["splits"].values() for sample in split["samples"]]
    texts = [f"{sample['text']}\n{sample['target'] or ''}" for sample in samples]
    return 2 * sum("\n    " in text or "\n\t" in text for text in texts) > len(texts)


def _parts(facts: Facts, results: object, reference: object, changes: object) -> list[tuple[str, str, str, str]]:
    """The parts that there is something to say in: anchor, name in the list of parts, title, and template."""
    examples = facts["examples"]
    duplicates = facts["duplicates"]["count"] or facts["duplicates"]["other_target"] or facts["near_duplicates"]
    parts = [
        ("kept", "Account", "What came in and what was kept", "waterfall", True),
        ("contract", "Contract", "Contract", "contract", results is not None),
        ("changes", "Changes", "Since the last version", "changes", changes is not None),
        ("reviewed", "Reviewed", "Beside the documents last reviewed", "reviewed", reference is not None),
        ("lengths", "Lengths", "Lengths", "lengths", facts["documents"]),
        ("languages", "Languages", "Languages", "languages", facts["languages"]),
        ("labels", "Labels", "Labels", "labels", any(split["labels"] for split in facts["splits"].values())),
        ("sources", "Sources", "Sources", "sources", True),
        ("steps", "Steps", "Cleaning, step by step", "steps", facts["steps"]),
        ("removed-lines", "Removed lines", "Lines taken out most often", "lines", examples.get("removed_lines")),
        ("duplicates", "Duplicates", "Duplicates", "duplicates", duplicates),
        ("privacy", "Personal data", "Personal data", "privacy", facts["privacy"] is not None),
        ("leakage", "Contamination", "Contamination of the test split", "leakage", facts["leakage"]),
        ("quarantine", "Quarantine", "Quarantine", "quarantine", facts["quarantined"]),
        ("samples", "Samples", "Some documents", "samples", facts["documents"]),
    ]
    return [(anchor, short, title, name) for anchor, short, title, name, told in parts if told]


def _tiles(facts: Facts, results: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """The numbers to see first: a title, the number and a detail."""
    splits = facts["splits"]
    dropped, near = sum(facts["dropped"].values()), facts["near_duplicates"]
    tiles = [
        (
            "documents",
            f"{facts['documents']:,}",
            " · ".join(f"{name} {splits[name]['documents']:,}" for name in views.SPLITS),
        ),
        ("text kept", size(facts["bytes"]["kept"]), f"of {size(facts['bytes']['read'])} read"),
        ("dropped", f"{dropped:,}", _share_of(dropped, facts["rows"], "rows")),
    ]
    if near:
        tiles.append(("near duplicates", f"{near['dropped']:,}", counted(near["clusters"], "cluster")))
    if facts["quarantined"]:
        bad = sum(facts["quarantined"].values())
        tiles.append(("quarantined", f"{bad:,}", _share_of(bad, facts["rows"], "rows")))
    if facts["privacy"] is not None:
        tiles.append(
            (
                "personal data",
                f"{sum(facts['privacy'].values()):,}",
                f"of {counted(len(facts['privacy']), 'kind')}, replaced",
            )
        )
    if leak := facts["leakage"]:
        tiles.append(("leaked into training", percent(leak["share"]), counted(leak["leaked"], "test document")))
    if results is not None:
        outcomes = [finding["outcome"] for finding in results["findings"]]
        passed = ", ".join(
            f"{outcomes.count(one)} {one}" for one in ("passed", "warned", "breached") if one in outcomes
        )
        tiles.append(
            ("contract", "kept" if results["passed"] else "broken", passed if outcomes else "asks for nothing")
        )
    return tiles


def _share_of(count: int, whole: int, noun: str) -> str:
    return f"{percent(count / whole)} of {noun}" if whole else ""


def _notices(facts: Facts, results: Mapping[str, Any] | None) -> list[tuple[str, str | Markup]]:
    """Sentences on what needs a person's eyes, each with the class of its colour."""
    said: list[tuple[str, str | Markup]] = []
    if results is not None and not results["passed"]:
        breached = [finding for finding in results["findings"] if finding["outcome"] == "breached"]
        said += [("bad", marks.shown(f"The contract is broken: {one['sentence']}")) for one in breached[:3]]
    if any(facts["undecided"].values()):
        said.append(
            ("bad", "Cleaning stopped before all rows were decided on; what is below is what was seen until then.")
        )
    if few := warning(facts):
        said.append(("bad", marks.shown(few)))
    if lost := [source for source in views.sources(facts)[0] if source.low]:
        worst = sorted(lost, key=lambda source: (source.survival, source.name))[:3]
        parts = [
            Markup("{} ({} of {})").format(marks.name(s.name), f"{s.rows - s.kept:,}", f"{s.rows:,}") for s in worst
        ]
        said.append(
            ("", Markup("Sources that lost far more of their rows than the rest: {}.").format(Markup(", ").join(parts)))
        )
    if groups := split_labels(facts):
        names = Markup(", ").join([marks.name(name) for name, _ in ranked(groups[0])])
        said.append(("", Markup("Labels that look alike are different ones: {}.").format(names)))
    if facts["duplicates"]["other_label"]:
        said.append(
            ("", f"{facts['duplicates']['other_label']:,} duplicates have another label than the one that was kept.")
        )
    return said


def _findings(results: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The contract's findings, what is broken first."""
    order = ("breached", "warned", "passed")
    findings = [] if results is None else results["findings"]
    return sorted(findings, key=lambda one: order.index(one["outcome"]) if one["outcome"] in order else len(order))


def _histogram(lengths: Mapping[str, list[int]]) -> charts.Histogram | None:
    return charts.histogram(lengths["edges"], {name: lengths[name] for name in views.SPLITS})


def _difference(facts: Facts, reference: sections.Reference) -> Any:
    from langmill.data.report.comparison import difference

    return difference(facts, reference)


def _since(facts: Facts, before: Mapping[str, Any]) -> Any:
    """The same against the statistics of an earlier version, as JSON has them."""
    points = {name: [tuple(pair) for pair in before[name]] for name in ("lengths", "target_lengths")}
    return _difference(facts, sections.Reference(**{**before, **points}))


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("langmill.data.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "n": lambda count: f"{count:,}".replace("-", "\N{MINUS SIGN}"),
        "percent": percent,
        "counted": counted,
        "size": lambda count: size(count).replace("-", "\N{MINUS SIGN}"),
        "words": words,
        "name": marks.name,
        "shown": marks.shown,
        "within": marks.within,
        "changed": lambda sample: marks.changed(sample["before"], sample["after"]),
        "edited": lambda sample, part: marks.changed(sample[f"{part}_before"], sample[f"{part}_after"]),
        "beside": lambda pair: marks.beside(pair["text"], pair["twin_text"]),
        "sort_shares": lambda quantiles: sorted(quantiles, key=float),
    }
    return environment


def _source(name: str) -> str:
    environment = _environment()
    return str(environment.loader.get_source(environment, name)[0])
