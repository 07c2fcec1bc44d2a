"""Standard words only: no term that the glossary replaced stands in code, settings or documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]

REPLACED = {
    "other_side": "cross_split",
    "keep_layout": "preserve_whitespace",
    "drop_same": "drop_untranslated or drop_copies",
    "from_first": "broadcast",
    "of_all": "all_gather",
    "never_mind": "suppress_prefect_errors",
    "bury_dead_runs": "mark_crashed",
    "heal_locks": "clear_stale_locks",
    "farewell": "shutdown timeout",
    "likeliest": "most likely, greedy",
    "filler": "pad",
    "affixes": "special-token template",
    "gains": "norm weights",
    "at hand": "available",
    "put aside": "quarantined",
    "passed over": "skipped",
    "by turns": "round-robin, interleaved",
    "by heart": "memorised",
    "without a word": "no output",
    "code of the day": "current code",
    "look back on": "context length",
    "tell a label": "predict a label",
    "tells? labels": "predict labels",
    "tokens told": "tokens predicted",
}
"""Terms that mean nothing else here, as regular expressions, and the standard word."""
ALLOWED = {
    "gains": {
        "src/langmill/evaluation/significance.py",  # improvements of a metric
        "src/langmill/serving/connections.py",
    },
}
"""Files and folders in which a term has its ordinary meaning."""
MIGRATIONS = {"renamed_fields", "_OLD_KEYS"}
"""Variables that hold the old names, under which settings are still read."""
RECORDS = {"docs/decisions"}
"""Records keep the words of their time; CHANGELOG.md is not scanned either."""


def scanned() -> Iterator[Path]:
    for folder in ("src", "flows", "conf", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".yaml", ".md", ".html"} and not within(path, RECORDS):
                yield path
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "dvc.yaml", "Makefile"))


def within(path: Path, places: set[str]) -> bool:
    return any(path.is_relative_to(ROOT / place) for place in places)


def current_text(path: Path) -> str:
    """A file's text without the values of `MIGRATIONS`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py" or not any(name in text for name in MIGRATIONS):
        return text
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id in MIGRATIONS for target in targets):
            for number in range(node.lineno - 1, node.end_lineno):  # type: ignore[attr-defined]
                lines[number] = "\n"
    return "".join(lines)


def uses(path: Path) -> Iterator[str]:
    """Every use of a replaced term in a file."""
    text = current_text(path)
    for term, word in REPLACED.items():
        phrase = term.replace(" ", r"(?:\s|#)+")  # also over the end of a line
        for match in re.finditer(rf"(?<![A-Za-z]){phrase}(?![A-Za-z])", text, re.IGNORECASE):
            if not within(path, ALLOWED.get(term, set())):
                line = text[: match.start()].count("\n") + 1
                yield f"{path.relative_to(ROOT)}:{line}: {term!r}; say {word}"


def test_replaced_terms_are_gone() -> None:
    found = [use for path in scanned() for use in uses(path)]
    assert not found, "\n".join(["terms of the glossary's left column:", *found])


def test_no_file_has_a_replaced_name() -> None:
    names = re.compile("affixes|continuation|writing|spans")
    found = [path.name for path in (ROOT / "src").rglob("*.py") if names.fullmatch(path.stem)]
    assert not found, f"modules named by a term of the glossary's left column: {', '.join(found)}"
