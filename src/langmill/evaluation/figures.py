"""What is looked up in a `metrics.json`, without loading what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def hardest_baseline(metrics: Mapping[str, Any], strength: str) -> tuple[str, float] | None:
    """The baseline of a strength (`trivial`, `serious`) that is hardest to beat in the metric that decides.

    Returns:
        Its name and its figure; None if there is none.
    """
    decides = metrics["primary"]
    rivals = [
        (facts.get("improvement", {}).get("value", 0.0), name, facts[decides]["value"])
        for name, facts in metrics["baselines"].items()
        if facts["strength"] == strength and decides in facts
    ]
    if not rivals:
        return None
    _, name, value = min(rivals)
    return name, float(value)
