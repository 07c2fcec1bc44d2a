"""How the losses of single documents are spread, as a plot."""

from __future__ import annotations

import numpy as np

from langmill.scoring.base import Plot

_MOST_VALUES = 2000  # a plot needs no more


def spread_plot(name: str, title: str, losses_N: np.ndarray, unit: str = "bits per byte") -> Plot:
    """A histogram of one loss a document; of very many documents, of their quantiles."""
    shown = np.sort(losses_N)
    if len(shown) > _MOST_VALUES:
        shown = np.quantile(shown, np.linspace(0, 1, _MOST_VALUES))
    return Plot(name, "histogram", title, unit, "documents", {unit: [float(value) for value in shown]})
