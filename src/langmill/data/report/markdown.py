"""The report as Markdown: short enough for a terminal, a run's page and a review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.data.document import Split
from langmill.data.report.advice import too_few_to_test
from langmill.data.report.label_groups import label_groups
from langmill.data.report.words import cell, counted, listed, told, words

Facts = Mapping[str, Any]
"""What report.json says."""
_TABLE_ROWS = 20  # report.json has all
_EXAMPLES = 3  # of contradictory texts; the page has more
_SPLITS = [split.value for split in Split]


def markdown(facts: Facts) -> str:
    """The report of one corpus, from what report.json says of it."""
    parts = [f"# The corpus {facts['corpus']}", account_table(facts), _splits(facts), _lengths(facts)]
    if any(split["labels"] for split in facts["splits"].values()):
        parts.append(_labels(facts))
    if facts["languages"]:
        parts.append(_languages(facts))
    if facts["steps"]:
        parts.append(_cleaning(facts))
    if facts["duplicates"]["count"] or facts["duplicates"]["other_target"] or facts["near_duplicates"]:
        parts.append(_duplicates(facts))
    if facts["leakage"]:
        parts.append(_leakage(facts))
    parts += [_files(facts), _samples(facts)]
    return "\n\n".join(parts) + "\n"


def summary(facts: Facts, page: Path, changes: str = "") -> str:
    """The least to say of a corpus: its account, what to look at, and where its page is.

    Args:
        facts: What report.json says.
        page: The page's file, which is on the machine that cleaned.
        changes: What the last version changed, in a sentence.
    """
    parts = [f"# The corpus {facts['corpus']}", account_table(facts)]
    if said := warning(facts):
        parts.append(said)
    parts += [cell(changes)] if changes else []
    address = page.resolve().as_uri()
    parts.append(
        f"All of it, with samples from both sides of each step: [{page}]({address}), on the machine that cleaned; also "
        "among the artifacts of each run in MLflow that used the corpus."
    )
    return "\n\n".join(parts) + "\n"


def account_table(facts: Facts) -> str:
    """What came in and what became of it, in rows and in bytes, as a Markdown table."""
    num_bytes = facts["bytes"]
    rows: list[list[object]] = [["rows read", facts["rows"], num_bytes["read"]]]
    rows += [
        [f"quarantined: {words(reason)}", -count, -num_bytes["quarantined_by_reason"].get(reason, 0)]
        for reason, count in sorted(facts["quarantined"].items())
    ]
    rows += [
        [f"dropped: {words(reason)}", -count, -num_bytes["dropped"].get(reason, 0)]
        for reason, count in sorted(facts["dropped"].items())
    ]
    if num_bytes["removed_by_cleaning"]:
        rows.append(["removed by cleaning", "", -num_bytes["removed_by_cleaning"]])
    if any(facts["undecided"].values()):
        rows.append(["not decided", -facts["undecided"]["rows"], -facts["undecided"]["bytes"]])
    again = facts["repeated"]
    if again["documents"]:
        rows.append(["written once more", again["documents"], again["bytes"]])
    rows.append(["**documents**", facts["documents"], num_bytes["kept"] + again["bytes"]])
    return _table(["", "rows", "UTF-8 bytes"], rows)


def warning(facts: Facts) -> str:
    """What `too_few_to_test` says of the corpus."""
    return too_few_to_test(facts["corpus"], facts["splits"]["test"]["documents"], facts["documents"])


def _splits(facts: Facts) -> str:
    splits = facts["splits"]
    total = max(1, facts["documents"])
    rows = [
        [name, splits[name]["documents"], f"{splits[name]['documents'] / total:.2%}", splits[name]["bytes"]]
        for name in _SPLITS
    ]
    head = ["split", "documents", "share", "UTF-8 bytes"]
    if any(split["targets"] for split in splits.values()):
        head += ["with a target", "target characters"]
        rows = [[*row, splits[row[0]]["targets"], splits[row[0]]["target_characters"]] for row in rows]
    said = warning(facts)
    return f"## Splits\n\n{_table(head, rows)}" + (f"\n\n{said}" if said else "")


def _lengths(facts: Facts) -> str:
    names = ["shortest", "5%", "25%", "median", "75%", "95%", "longest"]
    rows = []
    for name in _SPLITS:
        quantiles = facts["splits"][name]["length_quantiles"]
        rows.append([name, *(quantiles[share] for share in sorted(quantiles, key=float))])
    return "## Length in characters\n\n" + _table(["split", *names], rows)


def _labels(facts: Facts) -> str:
    splits = facts["splits"]
    total: Counter[str] = Counter()
    for split in splits.values():
        total.update(split["labels"])
    common = [label for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    rows: list[list[object]] = [
        [cell(label), *(splits[name]["labels"].get(label, 0) for name in _SPLITS)] for label in common[:_TABLE_ROWS]
    ]
    if len(common) > _TABLE_ROWS:
        rest = common[_TABLE_ROWS:]
        others = [sum(splits[name]["labels"].get(label, 0) for label in rest) for name in _SPLITS]
        rows.append([f"{len(rest):,} others", *others])
    if any(split["unlabelled"] for split in splits.values()):
        rows.append(["(no label)", *(splits[name]["unlabelled"] for name in _SPLITS)])
    parts = ["## Labels", _table(["label", *_SPLITS], rows)]
    for title, groups in label_groups(facts):
        named = "; ".join(
            ", ".join(f"{cell(name) or '(empty)'}: {count:,}" for name, count in group) for group in groups
        )
        parts.append(f"{title}: {named}.")
    found = (facts["labels"] or {}).get("contradictory") or {"groups": 0}
    if found["groups"]:
        parts.append(f"Contradictory: {counted(found['groups'], 'text')} with different labels.")
        parts += [
            f"> {cell(str(one['text']))} ({listed(one['labels'])}; {', '.join(map(cell, one['where']))})"
            for one in found["examples"][:_EXAMPLES]
        ]
    return "\n\n".join(parts)


def _languages(facts: Facts) -> str:
    common = sorted(facts["languages"].items(), key=lambda item: (-item[1], item[0]))
    rows: list[list[object]] = [[cell(code), count, f"{count / facts['documents']:.2%}"] for code, count in common]
    return "## Languages\n\n" + _table(["language", "documents", "share"], rows[:_TABLE_ROWS])


def _cleaning(facts: Facts) -> str:
    rows = []
    for name in facts["steps"]:
        step = facts["cleaning"][name]
        dropped = sum(step["dropped"].values())
        rows.append([cell(name), step["changed"], told(step["changes"]), dropped, told(step["dropped"])])
    parts = ["## Cleaning", _table(["step", "documents changed", "changes", "documents dropped", "why"], rows)]
    if found := {name: count for name, count in facts.get("loosest", {}).items() if count}:
        parts.append(f"Kept, of a language without thresholds, and judged by the loosest of all: {listed(found)}.")
    return "\n\n".join(parts)


def _duplicates(facts: Facts) -> str:
    found, near = facts["duplicates"], facts["near_duplicates"]
    parts = [f"Documents that read like an earlier one: {found['count']:,}"]
    if found["other_label"]:
        parts.append(f"of these with another label: {found['other_label']:,}")
    if found["other_target"]:
        parts.append(f"documents that read like an earlier one but have another target: {found['other_target']:,}")
    lines = [f"{'; '.join(parts)}."]
    if near:
        lines.append(
            f"Near duplicates: {counted(near['pairs'], 'pair')} in {counted(near['clusters'], 'cluster')}; "
            f"{counted(near['dropped'], 'document')} dropped for one that is alike."
        )
    return "## Duplicates\n\n" + "\n\n".join(lines)


def _leakage(facts: Facts) -> str:
    found = facts["leakage"]
    return (
        f"## Leakage\n\n{found['leaked']:,} of {found['test_documents']:,} test documents ({found['share']:.2%}) share "
        "runs of words with the train split, beyond what cleaning.leakage allows."
    )


def _files(facts: Facts) -> str:
    shown = sorted(facts["files"].items())
    rows: list[list[object]] = [[cell(name), count] for name, count in shown[:_TABLE_ROWS]]
    if len(shown) > _TABLE_ROWS:
        rows.append([f"{len(shown) - _TABLE_ROWS:,} others", sum(count for _, count in shown[_TABLE_ROWS:])])
    parts = ["## Files", _table(["file", "rows"], rows)]
    if facts["skipped_files"]:
        parts.append(f"Files of the source that were not read: {listed(facts['skipped_files'])}.")
    for title, told_of in (("What is wrong with files", facts["causes"]), ("How files were read", facts["readings"])):
        if told_of:
            parts += [
                f"### {title}",
                "\n".join(f"- {cell(name)}: {cell(said)}" for name, said in sorted(told_of.items())),
            ]
    return "\n\n".join(parts)


def _samples(facts: Facts) -> str:
    parts = ["## Some documents"]
    for name in _SPLITS:
        for sample in facts["splits"][name]["samples"]:
            text = cell(str(sample["text"]))
            label = "" if sample["label"] is None else f", label {cell(str(sample['label']))}"
            target = "" if sample["target"] is None else f"\n>\n> → {cell(str(sample['target']))}"
            parts.append(f"**{cell(str(sample['where'] or sample['id']))}** ({name}{label})\n\n> {text}{target}")
    return "\n\n".join(parts)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[f"{one:,}" if isinstance(one, int) else str(one) for one in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
