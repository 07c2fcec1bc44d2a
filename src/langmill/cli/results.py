"""The results of a run, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from langmill.registry.outcomes import Row

COLUMNS = ("recipe", "metric", "interval", "trivial baseline", "strong baseline", "verdict", "version")


def table(rows: Sequence[Row]) -> str:
    """Format the rows under their headings, in columns; bases as they came, where there are any, have one."""
    tuned = any(row.base for row in rows)
    cells = [
        (
            row.recipe,
            f"{row.metric} {row.estimate.value:.4g}" + f" (on {row.judged})" * bool(row.judged),
            f"{row.estimate.low:.4g} to {row.estimate.high:.4g}",
            row.baseline,
            row.strong,
            *([row.base or "-"] if tuned else []),
            row.verdict,
            str(row.version),
        )
        for row in rows
    ]
    return in_columns([(*COLUMNS[:5], *(["base as it came"] if tuned else []), *COLUMNS[5:]), *cells])


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """Format lines of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
