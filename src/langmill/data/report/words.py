"""Words for people of what is counted under names."""

from __future__ import annotations

from collections.abc import Mapping


def words(reason: str) -> str:
    """A reason as people write it: `too_short` is `too short`."""
    return reason.replace("_", " ")


def cell(text: str) -> str:
    """Text that can't break a Markdown table or quotation."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def listed(counts: Mapping[str, int]) -> str:
    """Counts in one phrase, by name: `a: 1, b: 2,000`."""
    return ", ".join(f"{cell(reason)}: {count:,}" for reason, count in sorted(counts.items()))


def told(counts: Mapping[str, int]) -> str:
    """Counts by reason in one phrase."""
    return listed({words(reason): count for reason, count in counts.items()})


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def percent(share: float) -> str:
    """A share in percent, three digits where it is small."""
    return f"{share:.2%}" if share < 0.1 else f"{share:.1%}"


def size(count: int) -> str:
    """Bytes with a unit, three digits: `999 B`, `1.23 MB`, `-45.6 kB`."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:,.0f} B" if unit == "B" else f"{value:.3g} {unit}" if abs(value) < 999.5 else f"{value:,.0f} {unit}"
