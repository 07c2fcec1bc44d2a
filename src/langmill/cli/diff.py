"""`langmill diff`: what changed between two versions of a corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from langmill.cli.command import command
from langmill.errors import GraphError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.data.difference import Difference
    from langmill.graph.outputs import Outputs

_HERE = "the workspace"


@command(example="langmill diff reviews\nlangmill diff reviews v1.0 v1.1\nlangmill diff reviews HEAD~1 --key id --json")
@click.argument("corpus")
@click.argument("revisions", nargs=-1, metavar="[REV] [REV]")
@click.option("--key", help="The metadata field that names a document in its source. [default: id, where there is one]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def diff(corpus: str, revisions: tuple[str, ...], key: str | None, as_json: bool) -> None:
    """Say what changed between two versions of a corpus.

    A version is the documents as of a Git revision's dvc.lock, out of DVC's cache or its remote. Without revisions HEAD
    is compared with the workspace, with one that one. A document is changed if it has the same metadata field --key and
    says something else, or stands in the same place of the raw files and still has words in common. Shift is told as an
    effect size: the largest share of documents that is otherwise.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_corpus
    from langmill.data.difference import compare_versions
    from langmill.files import temporary_folder
    from langmill.graph.outputs import Outputs

    require_workspace()
    if len(revisions) > 2:
        raise click.UsageError(f"{len(revisions)} revisions are too many; name one or two.")
    fields = compose_corpus(corpus).fields.metadata
    if key is not None and key not in fields:
        raise GraphError(
            f"The corpus {corpus} has no metadata field {key!r}; it has {', '.join(fields) or 'none'}.", "unknown"
        )
    key = key or ("id" if "id" in fields else None)
    names = [*revisions, *([] if revisions else ["HEAD"])]
    outputs = Outputs()
    with temporary_folder() as temporary:
        folders = [_version(outputs, corpus, name, temporary / str(number)) for number, name in enumerate(names)]
        if len(folders) == 1:
            names.append(_HERE)
            folders.append(Workspace().documents(corpus))
        found = compare_versions(folders[0], folders[1], key, temporary)
    if as_json:
        result: dict[str, Any] = {"corpus": corpus, "before": names[0], "after": names[1], **found.to_json()}
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(corpus, names[0], names[1], found)))


def _version(outputs: Outputs, corpus: str, revision: str, into: Path) -> Path:
    """The documents as of a revision, in a folder of links into DVC's cache."""
    path = str(Workspace().documents(corpus))
    noted = outputs.noted(revision)
    if path not in noted:
        raise GraphError(f"dvc.lock at {revision} notes no {path}: the corpus was not cleaned by then.", "missing")
    into.mkdir()
    for name, (_, file) in outputs.files(noted[path]).items():
        place = into / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file.absolute())
    return into


def _lines(corpus: str, before: str, after: str, found: Difference) -> Iterator[str]:
    from langmill.cli.results import in_columns
    from langmill.data.contract.limits import percent

    counts = found.counts
    yield f"{corpus}: {counts['before']:,} documents at {before}, {counts['after']:,} at {after}"
    rows = [(name, f"{counts[name]:,}") for name in ("added", "removed", "changed")]
    rows += [(f"in another {name.removeprefix('other_')}", f"{counts[name]:,}") for name in ("other_split",)]
    rows += [("with other metadata", f"{counts['other_metadata']:,}")]
    rows += [(f"shift of {name.replace('_', ' ')}", percent(value)) for name, value in found.shift.items()]
    yield in_columns(rows)
    for kind, those in found.examples.items():
        if those:
            yield f"\n{kind}, for example"
        for each in those:
            if kind == "changed":
                yield f"  {each['where'] or each['id_after']}"
                yield from (f"    {sign} {_shown(each, part)}" for sign, part in (("-", "_before"), ("+", "_after")))
            else:
                yield f"  {each['where'] or each['id']}: {_shown(each, '')}"


def _shown(each: dict[str, str | None], part: str) -> str:
    label, target = each[f"label{part}"], each[f"target{part}"]
    return f"{'' if label is None else f'[{label}] '}{each[f'text{part}']}{'' if target is None else f' → {target}'}"
