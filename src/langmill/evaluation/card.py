"""A model's numbers as a table in Markdown, for the pages that show a run or a version."""

from __future__ import annotations

from collections.abc import Mapping

from langmill.evaluation.estimates import Metrics


def card(description: str, metrics: Metrics, facts: Mapping[str, str]) -> str:
    """What a model is, what it reaches beside its baselines, and what it was made from."""
    decides, judged = metrics.decides, metrics.share_of(metrics.primary)
    which = f" ({metrics.better} is better)" if metrics.better else ""
    rows = {
        f"**{_words(metrics.primary)}**{which}": f"**{decides.value:.4g}** ({decides.low:.4g} to {decides.high:.4g}) "
        f"on {judged or f'{metrics.examples:,}'} test documents"
    }
    for strength in ("strong", "trivial"):
        found = metrics.hardest(strength)
        if found is not None:
            rows[f"{_words(found.name)}, {strength} baseline"] = f"{found.values[metrics.primary]:.4g}"
    if (zero_shot := metrics.zero_shot) is not None:
        rows[f"{metrics.base} before tuning"] = f"{zero_shot.values[metrics.primary]:.4g}"
    for name in sorted(metrics.examples_of.keys() - {metrics.primary}):
        rows[_words(name)] = f"on {metrics.share_of(name)} test documents"
    table = "\n".join(f"| {name} | {fact} |" for name, fact in {**rows, **facts}.items() if fact)
    return f"{description}\n\n| | |\n|---|---|\n{table}\n".lstrip()


def columns(metrics: Metrics) -> list[tuple[str, ...]]:
    """The metrics that matter in a table of runs, by the parts of their names, the deciding one first."""
    baselines = (metrics.hardest(strength) for strength in ("strong", "trivial"))
    return [(metrics.primary,), *((each.name, metrics.primary) for each in baselines if each is not None)]


def _words(name: str) -> str:
    return name.replace("_", " ")
