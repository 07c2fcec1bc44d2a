"""`langmill diff`: what changed between two versions of a corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from langmill.cli.command import command
from langmill.errors import GraphError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.config.sections import Corpus
    from langmill.graph.outputs import Outputs

_HERE = "the workspace"
_CONTEXT, _LINE = 30, 80  # characters before the first difference, and of a line


@command(example="langmill diff reviews\nlangmill diff reviews v1.0 v1.1\nlangmill diff reviews HEAD~1 --key id --json")
@click.argument("corpus")
@click.argument("revisions", nargs=-1, metavar="[REV] [REV]")
@click.option("--key", help="The metadata field that names a document in its source. [default: id, where there is one]")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the newer one's report, with this."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def diff(corpus: str, revisions: tuple[str, ...], key: str | None, html: Path | None, as_json: bool) -> None:
    """Say what changed between two versions of a corpus.

    A version is the documents as of a Git revision's dvc.lock, out of DVC's cache or its remote. Without revisions HEAD
    is compared with the workspace, with one that one. A document is changed if it has the same metadata field --key and
    says something else, or stands in the same place of the raw files and still has words in common. Shift is told as an
    effect size: the largest share of documents that is otherwise. --html writes the newer version's data report as one
    page, with all of this.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_corpus
    from langmill.data.versions import difference, naming_field, version_at
    from langmill.files import temporary_folder, write_text
    from langmill.graph.outputs import Outputs

    require_workspace()
    if len(revisions) > 2:
        raise click.UsageError(f"{len(revisions)} revisions are too many; name one or two.")
    settings = compose_corpus(corpus)
    fields = settings.fields.metadata
    if key is not None and key not in fields:
        raise GraphError(
            f"The corpus {corpus} has no metadata field {key!r}; it has {', '.join(fields) or 'none'}.", "unknown"
        )
    key = key or naming_field(settings)
    names = [*revisions, *([] if revisions else ["HEAD"])]
    outputs = Outputs()
    with temporary_folder() as temporary:
        folders = [version_at(outputs, corpus, name, temporary / str(number)) for number, name in enumerate(names)]
        if len(folders) == 1:
            names.append(_HERE)
            folders.append(Workspace().documents(corpus))
        found = difference(settings, folders[0], folders[1], key, temporary)
        if html is not None:
            write_text(html, _page(outputs, settings, names, folders[1], {"before": names[0], **found}))
    if as_json:
        result: dict[str, Any] = {"corpus": corpus, "before": names[0], "after": names[1], **found}
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(corpus, names[0], names[1], found)))


def _page(outputs: Outputs, corpus: Corpus, names: Sequence[str], documents: Path, changes: dict[str, Any]) -> str:
    """The report of the newer version, with what its contract said of it, where that is to be had."""
    from langmill.data.contract.passed import RESULTS_NAME
    from langmill.data.versions import report_of, results_of

    if names[1] == _HERE:
        return report_of(documents, results_of(corpus.name), corpus, changes)
    noted = outputs.noted(names[1]).get(str(Workspace().contract(corpus.name)))
    results = None if noted is None else outputs.files(noted).get(RESULTS_NAME)
    return report_of(documents, None if results is None else results[1], None, changes)


def _lines(corpus: str, before: str, after: str, found: dict[str, Any]) -> Iterator[str]:
    from langmill.cli.results import in_columns
    from langmill.data.contract.limits import percent

    counts = found["counts"]
    yield f"{corpus}: {counts['before']:,} documents at {before}, {counts['after']:,} at {after}"
    rows = [(name, f"{counts[name]:,}") for name in ("added", "removed", "changed")]
    rows += [(f"in another {name.removeprefix('other_')}", f"{counts[name]:,}") for name in ("other_split",)]
    rows += [("with other metadata", f"{counts['other_metadata']:,}")]
    rows += [(f"shift of {name.replace('_', ' ')}", percent(value)) for name, value in found["shift"].items()]
    yield in_columns(rows)
    for kind, those in found["examples"].items():
        if those:
            yield f"\n{kind}, for example"
        for each in those:
            if kind == "changed":
                yield f"  {each['where'] or each['id_after']}"
                pairs = {name: _cut(each[f"{name}_before"], each[f"{name}_after"]) for name in ("text", "target")}
                for sign, part, at in (("-", "_before", 0), ("+", "_after", 1)):
                    yield f"    {sign} {_shown(each[f'label{part}'], pairs['text'][at], pairs['target'][at])}"
            else:
                text, target = (_cut(each[name], None)[0] for name in ("text", "target"))
                yield f"  {each['where'] or each['id']}: {_shown(each['label'], text, target)}"


def _cut(one: str | None, other: str | None) -> tuple[str | None, str | None]:
    """Two texts on a line each, cut to where they differ."""
    from langmill.data.report.step_samples import windows

    lines = [None if text is None else " ".join(text.split()) for text in (one, other)]
    found = windows(lines[0] or "", lines[1] or "", _CONTEXT, _LINE)
    return (None if one is None else found[0]), (None if other is None else found[1])


def _shown(label: str | None, text: str | None, target: str | None) -> str:
    return f"{'' if label is None else f'[{label}] '}{text}{'' if target is None else f' → {target}'}"
