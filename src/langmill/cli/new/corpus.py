"""The command `langmill new corpus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import Command

if TYPE_CHECKING:
    from langmill.cli.new.decision import Decision
    from langmill.cli.new.field_roles import Role
    from langmill.cli.new.places import Place
    from langmill.cli.new.survey import Survey

_FIELD = "[PATTERN=]FIELD"
_MANY = 5000  # rows from which on nobody need count how many are tested


@click.command(
    cls=Command,
    example="langmill new corpus letters --from data/letters.csv\n"
    "langmill new corpus letters --from data/letters --text body --label topic\n"
    "langmill new corpus letters --from data/letters --text body --text '*.tmx=source'\n"
    "langmill new corpus letters --from 's3://bucket/letters/*.parquet'\n"
    "langmill new corpus letters --from hub:stanfordnlp/imdb@COMMIT:'plain_text/*.parquet'\n"
    "langmill new corpus letters --from sql:LETTERS_URL --query 'select body, topic from letters order by id'\n"
    "langmill new corpus letters",
)
@click.argument("name")
@click.option(
    "--from",
    "place",
    help="A file or folder, an address (https, s3, gs, hf, file), hub:ID@COMMIT[:FILES], or sql:VARIABLE with --query.",
)
@click.option(
    "--text", metavar=_FIELD, multiple=True, help="The field that holds the text; '*.tmx=FIELD' is of these files."
)
@click.option("--label", metavar=_FIELD, multiple=True, help="The field that holds the label; none for no label.")
@click.option(
    "--target", metavar=_FIELD, multiple=True, help="The field that holds the text to produce; none for no target."
)
@click.option(
    "--id", "id_", metavar=_FIELD, multiple=True, help="A field to keep with each document, as its name among people."
)
@click.option("--format", "format_name", help="The format that reads the files, instead of the one that is recognized.")
@click.option("--query", help="With --from sql:VARIABLE: the query, with an ORDER BY.")
def corpus(
    *,
    name: str,
    place: str | None,
    text: tuple[str, ...],
    label: tuple[str, ...],
    target: tuple[str, ...],
    id_: tuple[str, ...],
    format_name: str | None,
    query: str | None,
) -> None:
    """Begin a corpus of files, a database or a data set.

    Says what each kind of file was taken to be, which field is the text, the label and the target, and what is left
    out. Where that can't be told it asks; where nobody can be asked, it names the options that say it. Without --from
    the corpus reads data/NAME, which you fill. The name must be new.
    """
    from langmill.cli.new.files import require_new

    require_new("corpus", name, "corpora")
    from langmill.cli.new.places import place_of
    from langmill.files import temporary_folder

    said: dict[Role, Sequence[str]] = {"text": text, "label": label, "target": target, "id": id_}
    if place is None:
        _begin_empty(name, said, format_name)
        return
    origin = place_of(place, query)
    origin.require_writable(name)
    if origin.local is not None:
        _begin(name, origin, origin.local, said, format_name)
        return
    with temporary_folder() as folder:
        sample = folder / "sample"
        sample.mkdir()
        origin.sample(sample, format_name)
        _begin(name, origin, sample, said, format_name)


def _begin_empty(name: str, said: Mapping[Role, Sequence[str]], format_name: str | None) -> None:
    """Write a corpus of a folder that is to be filled."""
    from langmill.cli.new.asking import given_in, patterns_in
    from langmill.cli.new.files import Part, write
    from langmill.cli.new.graph_file import GRAPH_FILE
    from langmill.cli.new.places import LocalPlace
    from langmill.cli.new.templates import NewFields, corpus_text

    origin = LocalPlace(Path("data") / name)
    known: dict[str | None, Sequence[str]] = {None: ["text"], **dict.fromkeys(patterns_in(said), ())}
    found = given_in(said, known, any_name=True)
    given, kept = found.everywhere, found.everywhere.get("id")
    files = {
        pattern: {"text": "text", **{role: field for role, field in each.items() if field is not None}}
        for pattern, each in found.by_pattern.items()
    }
    fields = NewFields(
        given.get("text") or "text", given.get("label"), given.get("target"), [kept] if kept else [], files=files
    )
    text = corpus_text(name, origin.description, origin.lines(), fields, format_name=format_name or "auto")
    (written,) = write([Part("corpus", name, text, "corpora", {"source": origin.watched(name)})])
    click.echo(f"Wrote {written} and its line in {GRAPH_FILE}.")
    click.echo(f"Put the files into data/{name}/, and name their fields in {written}.")
    click.echo(f"Next: langmill new recipe NAME --corpus {name}")


def _begin(name: str, origin: Place, folder: Path, said: Mapping[Role, Sequence[str]], format_name: str | None) -> None:
    """Look at files, decide, write, and say what was done."""
    from langmill.cli.new.asking import patterns_in
    from langmill.cli.new.files import Part, write
    from langmill.cli.new.first_rows import warn_of_rows
    from langmill.cli.new.graph_file import GRAPH_FILE
    from langmill.cli.new.sizes import size_of, warn_of_few
    from langmill.cli.new.survey import pair_in, survey
    from langmill.cli.new.templates import NewFields, corpus_text
    from langmill.config.compose import compose_corpus
    from langmill.config.sections import FormatSection

    told = None if format_name is None else FormatSection(format_name, {})
    if format_name == "moses":
        told = pair_in(folder) or told
    found = survey(folder, told, patterns=patterns_in(said), is_sample=origin.local is None)
    decision = _decided(found, origin, said, format_name)
    roles, shape = decision.roles, decision.shape
    fields = NewFields(
        roles.fields.get("text", "text"), roles.fields.get("label"), roles.fields.get("target"), decision.ids,
        () if shape is None else shape.metadata, None if shape is None else shape.split_by,
        {pattern: each.fields for pattern, each in decision.files.items()},
    )  # fmt: skip
    read = [kind for kind in found.kinds if kind not in decision.without_text]
    counts = [kind.num_rows for kind in read] if origin.local is not None else [None]
    num_rows = None if None in counts else sum(filter(None, counts))
    others = [name for kind, _ in decision.tables for row in kind.rows for name in row]
    text = corpus_text(
        name, origin.description, origin.lines(), fields, format_name=decision.format_name,
        options=decision.options, others=list(dict.fromkeys(others)), task=roles.task,
        num_rows=num_rows,
    )  # fmt: skip
    record = origin.record(name)
    (written,) = write([Part("corpus", name, text, "corpora", {"source": origin.watched(name)})], record)
    click.echo(f"Wrote {' and '.join(map(str, [written, *record]))}, and its line in {GRAPH_FILE}.")
    section = compose_corpus(name)
    warn_of_rows(section, folder)
    if origin.local is not None and sum(kind.num_rows or 0 for kind in found.kinds) < _MANY:
        warn_of_few(size_of(section), name)
    click.echo(f"Next: langmill new recipe NAME --corpus {name}{'' if roles.task is None else _asked_for(roles.task)}")


def _decided(found: Survey, origin: Place, said: Mapping[Role, Sequence[str]], format_name: str | None) -> Decision:
    """What the corpus says of its files, asked for where it can't be told; and the table of what was found, printed.

    Raises LangmillError where it can't be told, and nobody can be asked; or a field that was named is in no row.
    """
    from langmill.cli.new.asking import answered, chosen_format, given_in
    from langmill.cli.new.decision import decide
    from langmill.cli.new.table import lines_of_survey, sentence_of_formats

    known: dict[str | None, Sequence[str]] = {None: found.fields()}
    known |= {pattern: found.fields(pattern) for kind in found.kinds for pattern in kind.patterns}
    given = given_in(said, known, any_name=format_name is not None)
    decision = decide(found, given, format_name)
    for line in lines_of_survey(found, decision, origin.title):
        click.echo(line)
    if decision.formats:
        several = sentence_of_formats(list(decision.formats.items()))
        format_name = chosen_format(f"The files have several shapes: {several}.", list(decision.formats))
        decision = decide(found, given, format_name)
    decision = answered(found, given, format_name, decision)
    if len(labels := {roles.fields["label"] for _, roles in decision.tables if "label" in roles.fields}) > 1:
        listed = ", ".join(sorted(labels))
        click.echo(
            f"Warning: labels are of several fields ({listed}). Where these do not say the same thing, give --label "
            "none, or --label 'PATTERN=none' for the files whose labels are not meant.",
            err=True,
        )
    for kind in decision.without_text:
        click.echo(f"Warning: {kind.first} has no field with text; its rows will be quarantined.", err=True)
    return decision


def _asked_for(task: str) -> str:
    """The options of `langmill new recipe` that a task wants."""
    from langmill.cli.new.choices import task_of

    return f" --task {task}{' --base BASE' if task_of(task)[1].needs_base else ''}"
