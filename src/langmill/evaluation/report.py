"""An evaluation in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from langmill.config.sections import Evaluation
from langmill.evaluation.estimates import BASE, Estimate, counted, number
from langmill.evaluation.evaluate import Evaluated
from langmill.evaluation.significance import find_metric
from langmill.files import write_text
from langmill.scoring.base import Baseline, Metric
from langmill.tasks.loading import LoadedModel

SAMPLES = 8
"""Written texts that a report shows."""
_SAMPLE_CHARACTERS = 1000
FEW_EXAMPLES = 30
"""Below this an interval says little (Efron and Tibshirani, 1993, chapter 14)."""
FEW_GROUPS = 10
"""The same of the groups, for which the intervals are widened."""


def write_report(path: Path, model: LoadedModel, evaluated: Evaluated, evaluation: Evaluation, decides: str) -> None:
    """Write `report.md`."""
    scorer = evaluated.scorer
    metric = find_metric(scorer, decides)
    examples = len(evaluated.test_set.documents)
    told = counted(examples, evaluated.groups, evaluated.test_set.usable).capitalize()
    share = f"{100 * evaluation.confidence:g}%"
    by = f" (by {evaluated.group_by}, as the split keeps them together)" if evaluated.group_by else ""
    lines = [
        f"# {model.recipe} on its test split",
        "",
        f"{told}{by}; **{metric.title}** decides "
        f"({'higher' if metric.higher_is_better else 'lower'} is better). "
        f"An interval holds the middle {share} of {evaluation.bootstrap_samples:,} bootstrap resamples "
        f"of the {'documents' if evaluated.group_by is None else 'groups'}; a difference is clear when its whole "
        "interval lies on one side of zero and chance alone seldom gives as much.",
        "",
        *_warnings(evaluated, examples),
        *_metrics_table(scorer.metrics, evaluated, share, decides),
        "",
        "## Against the baselines",
        "",
        *(_against(metric, baseline, evaluated) for baseline in evaluated.baselines),
        *_new_head(evaluated),
        "",
    ]
    for field, values in evaluated.slices.items():
        lines += [f"## By {field}", "", *_slice_table(evaluated, field, values), ""]
    lines += [*_signatures(evaluated.metrics), *_before_after(evaluated), *_samples(evaluated), "## Plots", ""]
    lines += [f"![{plot.title}](plots/{plot.name}.png)" for plot in evaluated.plots]
    lines += ["", f"Test set {evaluated.test_set.digest}, model {model.provenance}."]
    write_text(path, "\n".join(lines) + "\n")


def _signatures(metrics: tuple[Metric, ...]) -> list[str]:
    signed = [f"- {metric.title}: `{metric.signature}`" for metric in metrics if metric.signature]
    return ["## Signatures", "", *signed, ""] if signed else []


def _before_after(evaluated: Evaluated) -> list[str]:
    """The recipe's questions, answered by the base as it came and by the model."""
    if evaluated.base is None or not evaluated.before_after:
        return []
    return [
        "## Before and after",
        "",
        "The questions of the recipe (training.samples), answered by the base as it came and by the tuned model.",
        "",
        f"| question | {_cell(evaluated.base.name)} as it came | tuned |",
        "|---|---|---|",
        *(f"| {' | '.join(map(_lines_in_cell, each))} |" for each in evaluated.before_after),
        "",
    ]


def _lines_in_cell(text: str) -> str:
    """A text of several lines in one cell of a table; what would be a tag is shown as it is."""
    shown = text[:_SAMPLE_CHARACTERS].replace("&", "&amp;").replace("<", "&lt;")
    return "<br>".join(map(_cell, shown.splitlines()))


def _samples(evaluated: Evaluated) -> list[str]:
    """What the model wrote for the first test documents, beside what was wanted."""
    if "produced" not in evaluated.scores.column_names:
        return []
    lines = ["## What it wrote", ""]
    produced = zip(evaluated.test_set.documents, evaluated.scores["produced"].to_pylist(), strict=True)
    for document, text in [pair for pair in produced if pair[1] is not None][:SAMPLES]:
        for title, shown in (("Given", document.text), ("Wanted", document.target or ""), ("Written", text)):
            quoted = "\n".join(f"    {line}" for line in shown[:_SAMPLE_CHARACTERS].splitlines())
            lines += [f"{title}:", "", quoted, ""]
        lines += ["---", ""]
    return lines


def unseen(labels: Mapping[str, int]) -> str:
    """A warning about labels that only the test split has, each with its number of documents."""
    named = ", ".join(f"{label} ({count:,})" for label, count in labels.items())
    return (
        f"Labels in the test split that training never saw, with their documents, which were not judged: {named}. "
        "A model can't predict them; see that each label is in the training split."
    )


def _warnings(evaluated: Evaluated, examples: int) -> list[str]:
    lines = []
    if evaluated.test_set.left_out:
        reasons = ", ".join(f"{count:,} for {reason}" for reason, count in evaluated.test_set.left_out.items())
        lines += [f"Left out: {reasons}.", ""]
    for split, counts in evaluated.truncated.items():
        kinds = ", ".join(f"the {kind} of {count:,}" for kind, count in counts.items())
        lines += [f"Truncated, since it did not fit, in the {split} split: {kinds}.", ""]
    if evaluated.test_set.unseen_labels:
        lines += [f"**{unseen(evaluated.test_set.unseen_labels)}**", ""]
    if examples < FEW_EXAMPLES:
        lines += [f"Only {examples} documents were scored: no interval here means much.", ""]
    elif evaluated.groups < FEW_GROUPS:
        lines += [f"The documents are in only {evaluated.groups} groups: no interval here means much.", ""]
    return lines


def _metrics_table(metrics: tuple[Metric, ...], evaluated: Evaluated, share: str, decides: str) -> list[str]:
    names = [baseline.name for baseline in evaluated.baselines]
    lines = [f"| metric | value | {share} interval | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    for metric in metrics:
        estimate = evaluated.estimates[metric.name]
        title = _title(metric, evaluated, decides)
        reached = (evaluated.baseline_estimates[name].get(metric.name) for name in names)
        others = " | ".join("-" if each is None else number(each.value) for each in reached)
        lines.append(f"| {title} | {number(estimate.value)} | {estimate.interval} | {others} |")
    return lines


def _title(metric: Metric, evaluated: Evaluated, decides: str = "") -> str:
    """A metric in a table, and of how many documents it is where it is of fewer than the others."""
    title = _cell(f"**{metric.title}**" if metric.name == decides else metric.title)
    fewer = evaluated.examples_of.get(metric.name)
    return title if fewer is None else f"{title} (of {fewer:,} documents, drawn by seed)"


def _cell(text: str) -> str:
    """A text, a label in it perhaps, that ends no cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def _against(metric: Metric, baseline: Baseline, evaluated: Evaluated) -> str:
    head = f"- **{baseline.name}** ({baseline.strength.value})"
    if baseline.name == BASE and evaluated.base is not None:
        head = f"- **{BASE}** ({evaluated.base.name} as it came, before it was tuned)"
    comparison = evaluated.against.get(baseline.name)
    if comparison is None:
        return f"{head}: it has no {metric.title}; the table has its other metrics."
    both = f"{number(comparison.challenger)} against {number(comparison.champion)}"
    return f"{head}: {metric.title} {both}, {comparison.verdict}."


def _new_head(evaluated: Evaluated) -> list[str]:
    """Why there are no metrics of the base."""
    if evaluated.base is None or BASE in evaluated.baseline_estimates:
        return []
    return [
        f"- No metrics of its base, {evaluated.base.name}: the head that answers was new, so the base has no answers."
    ]


def _slice_table(evaluated: Evaluated, field: str, values: dict[str, tuple[int, dict[str, Estimate]]]) -> list[str]:
    shown = evaluated.scorer.metrics[:3]
    lines = [
        f"| {field} | documents | {' | '.join(_title(metric, evaluated) for metric in shown)} |",
        f"|---|---|{'---|' * len(shown)}",
    ]
    for value, (examples, estimates) in values.items():
        cells = [str(estimates.get(metric.name, "-")) for metric in shown]
        lines.append(f"| {_cell(value)} | {examples:,} | {' | '.join(cells)} |")
    return lines
