"""The command `langmill scan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from langmill.cli.command import command
from langmill.errors import DataError

if TYPE_CHECKING:
    from langmill.cli.scan.findings import Findings
    from langmill.data.formats.base import Format

FOUND = 1
"""Exit code where a kind of `--fail-on` is found."""
_FILES = 3  # of a kind that are named


@command(
    example="langmill scan data/letters.csv\nlangmill scan reviews --kind email --kind phone --region DE\n"
    "langmill scan data --fail-on key --fail-on password --json"
)
@click.argument("what", metavar="PATH|CORPUS")
@click.option(
    "--kind", "kinds", multiple=True, help="Look for this alone, as `email`; may be repeated.  [default: all]"
)
@click.option("--fail-on", multiple=True, metavar="KIND", help="End with exit code 1 if this is found; `any` for all.")
@click.option("--region", "regions", multiple=True, help="Telephone numbers as they are written at home in US, DE, …")
@click.option(
    "--format", "format_name", help="How the files are read, as in conf/corpus/.  [default: by their endings]"
)
@click.option("--count", type=click.IntRange(0), default=3, show_default=True, help="Examples of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scan(
    what: str,
    *,
    kinds: tuple[str, ...],
    fail_on: tuple[str, ...],
    regions: tuple[str, ...],
    format_name: str | None,
    count: int,
    as_json: bool,
) -> int:
    """Report personal data and secrets, and change nothing.

    PATH is a file or a folder; of a CORPUS its raw files are read, with its own format and the options of its step
    `privacy`. Every field of every row is searched, so that what is no text of the corpus counts too. No value is
    printed: an example has at most four of its characters.
    """
    from langmill.cli.scan.findings import search
    from langmill.data.cleaning.detectors.base import DETECTORS, build_finder, default_kinds
    from langmill.data.diagnosis.diagnose import nothing_readable
    from langmill.data.sources.folder import look_through
    from langmill.progress import track

    folder, file_format, options, fetched = _source(what, format_name)
    paths, skipped = [folder], dict[str, int]()
    if folder.is_dir():
        contents = look_through(folder, file_format, fetched=fetched)
        paths, skipped = [folder / relative for relative in contents.files], contents.left_out
    if not paths:
        raise DataError(f"{folder} {nothing_readable(folder, file_format.endings())}", "missing")
    if regions:
        options["phone"] = {**options.get("phone", {}), "regions": list(regions)}
    wanted = list(dict.fromkeys(kinds or [*default_kinds(), *(kind for kind in fail_on if kind in DETECTORS.names())]))
    for kind in (kind for kind in fail_on if kind != "any" and kind not in wanted):
        DETECTORS.find(kind, "--fail-on")  # which refuses a word that is no kind
        wanted.append(kind)
    finder = build_finder(wanted, {kind: values for kind, values in options.items() if kind in wanted})
    every = list(dict.fromkeys([*default_kinds(), *wanted]))
    cover = build_finder(every, {kind: values for kind, values in options.items() if kind in every})
    root = folder.parent if folder.is_file() else folder
    size = sum(path.stat().st_size for path in paths)
    with track(f"Scanning {what}", size / 1e6, "MB") as progress:
        findings = search(
            root,
            paths,
            file_format,
            finder,
            cover=cover,
            examples=count,
            on_bytes=lambda done: progress.advance(done / 1e6),
        )
    if as_json:
        click.echo(json.dumps({**findings.as_json(), "skipped_files": skipped}, ensure_ascii=False, indent=2))
    else:
        _draw(what, findings, skipped)
    refused = sorted(findings.values if "any" in fail_on else set(fail_on) & findings.values.keys())
    if refused:
        click.echo(f"{what} has {', '.join(refused)}, which --fail-on names.", err=True)
    return FOUND if refused else 0


def _source(what: str, format_name: str | None) -> tuple[Path, Format, dict[str, Any], bool]:
    """The file or folder, what reads it, the options of the kinds, and whether it is a corpus's raw folder."""
    from langmill.cli.workspace import in_workspace
    from langmill.config.compose import available, compose_corpus
    from langmill.config.sections import FormatSection
    from langmill.data.formats.base import build_format
    from langmill.workspace import Workspace

    if in_workspace() and what in available("corpus"):
        corpus, folder = compose_corpus(what), Workspace().raw(what)
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist; `dvc repro fetch@{what}` brings it.", "missing")
        said = (corpus.cleaning.options.get("privacy") or {}).get("options") or {}
        section = FormatSection(format_name, {}) if format_name else corpus.format
        return folder, build_format(section, f"conf/corpus/{what}.yaml"), dict(said), True
    path = Path(what)
    if not path.exists():
        known = f" (corpora are {', '.join(available('corpus'))})" if in_workspace() else ""
        raise DataError(f"{what} is neither a file or folder nor a corpus{known}.", "missing")
    file_format = build_format(FormatSection(format_name or "auto", {}), "--format")
    if path.is_file() and file_format.ending(path) is None:
        raise DataError(
            f"{what} has an ending that the format {format_name or 'auto'} does not read ({file_format.endings()}); "
            "name another --format, or give a copy the ending .txt.",
            "unsupported",
        )
    return path, file_format, {}, False


def _draw(what: str, findings: Findings, skipped: dict[str, int]) -> None:
    from langmill.cli.results import in_columns
    from langmill.cli.show.words import printable

    click.echo(f"{what}: {_many(findings.rows, 'row')} of {_many(findings.files, 'file')}")
    if findings.unreadable:
        told = ", ".join(f"{reason.replace('_', ' ')}: {count:,}" for reason, count in findings.unreadable.items())
        click.echo(f"Rows that could not be read: {told}")
    if skipped:
        told = ", ".join(f"{reason}: {count:,}" for reason, count in skipped.items())
        click.echo(f"Files that were not read: {told}")
    if not findings.values:
        click.echo("Nothing was found.")
        return
    rows = [("kind", "values", "rows", "files")]
    rows += [
        (kind, f"{count:,}", f"{findings.rows_with[kind]:,}", f"{len(findings.files_with[kind]):,}")
        for kind, count in findings.values.most_common()
    ]
    click.echo(f"\n{in_columns(rows)}")
    for kind, _ in findings.values.most_common():
        files = findings.files_with[kind].most_common()
        named = ", ".join(f"{name} ({count:,})" for name, count in files[:_FILES])
        click.echo(f"\n{kind}: {named}{f' and {len(files) - _FILES:,} more files' if len(files) > _FILES else ''}")
        for example in findings.examples[kind]:
            place = f"{example.where} {example.field}".rstrip()
            click.echo(f"  {printable(place)}\n    {printable(example.text)}")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
