"""The command `langmill new corpus`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import Command
from langmill.errors import LangmillError

if TYPE_CHECKING:
    from langmill.cli.new.decision import Decision
    from langmill.cli.new.field_roles import Role
    from langmill.cli.new.places import Place
    from langmill.cli.new.survey import Survey

_NONE = "none"
_MANY = 5000  # rows from which on nobody need count how many are tested


@click.command(
    cls=Command,
    example="langmill new corpus letters --from data/letters.csv\n"
    "langmill new corpus letters --from data/letters --text body --label topic\n"
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
@click.option("--text", help="The field that holds the text.")
@click.option("--label", help="The field that holds the label; none for no label.")
@click.option("--target", help="The field that holds the text to produce; none for no target.")
@click.option("--id", "id_", metavar="TEXT", help="A field to keep with each document, as its name among people.")
@click.option("--format", "format_name", help="The format that reads the files, instead of the one that is recognized.")
@click.option("--query", help="With --from sql:VARIABLE: the query, with an ORDER BY.")
def corpus(
    *,
    name: str,
    place: str | None,
    text: str | None,
    label: str | None,
    target: str | None,
    id_: str | None,
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

    given: dict[Role, str | None] = {}
    for role, value in (("text", text), ("label", label), ("target", target), ("id", id_)):
        if value is not None:
            given[role] = value  # type: ignore[index]  # these are the roles
    if place is None:
        _begin_empty(name, given, format_name)
        return
    origin = place_of(place, query)
    origin.require_writable(name)
    if origin.local is not None:
        _begin(name, origin, origin.local, given, format_name)
        return
    with temporary_folder() as folder:
        sample = folder / "sample"
        sample.mkdir()
        origin.sample(sample, format_name)
        _begin(name, origin, sample, given, format_name)


def _begin_empty(name: str, given: Mapping[Role, str | None], format_name: str | None) -> None:
    """Write a corpus of a folder that is to be filled."""
    from langmill.cli.new.files import Part, write
    from langmill.cli.new.graph_file import GRAPH_FILE
    from langmill.cli.new.places import LocalPlace
    from langmill.cli.new.templates import NewFields, corpus_text

    origin = LocalPlace(Path("data") / name)
    said = {role: value for role, value in given.items() if value not in (None, _NONE)}
    fields = NewFields(said.get("text") or "text", said.get("label"), said.get("target"), said.get("id"))
    text = corpus_text(name, origin.description, origin.lines(), fields, format_name=format_name or "auto")
    (written,) = write([Part("corpus", name, text, "corpora", {"source": origin.watched(name)})])
    click.echo(f"Wrote {written} and its line in {GRAPH_FILE}.")
    click.echo(f"Put the files into data/{name}/, and name their fields in {written}.")
    click.echo(f"Next: langmill new recipe NAME --corpus {name}")


def _begin(name: str, origin: Place, folder: Path, given: Mapping[Role, str | None], format_name: str | None) -> None:
    """Look at files, decide, write, and say what was done."""
    from langmill.cli.new.files import Part, write
    from langmill.cli.new.first_rows import warn_of_rows
    from langmill.cli.new.graph_file import GRAPH_FILE
    from langmill.cli.new.sizes import size_of, warn_of_few
    from langmill.cli.new.survey import survey
    from langmill.cli.new.templates import NewFields, corpus_text
    from langmill.config.compose import compose_corpus
    from langmill.config.sections import FormatSection

    told = None if format_name is None else FormatSection(format_name, {})
    found = survey(folder, told, is_sample=origin.local is None)
    decision = _decided(found, origin, given, format_name)
    roles = decision.roles
    fields = NewFields(
        roles.fields.get("text", "text"), roles.fields.get("label"), roles.fields.get("target"), roles.fields.get("id"),
        () if decision.shape is None else decision.shape.metadata,
        None if decision.shape is None else decision.shape.split_by,
    )  # fmt: skip
    others = (
        [] if decision.shape else [name for kind in found.kinds if not kind.plain for row in kind.rows for name in row]
    )
    text = corpus_text(
        name, origin.description, origin.lines(), fields, format_name=decision.format_name,
        options=decision.options, others=list(dict.fromkeys(others)), task=roles.task,
    )  # fmt: skip
    record = origin.record(name)
    (written,) = write([Part("corpus", name, text, "corpora", {"source": origin.watched(name)})], record)
    click.echo(f"Wrote {' and '.join(map(str, [written, *record]))}, and its line in {GRAPH_FILE}.")
    section = compose_corpus(name)
    warn_of_rows(section, folder)
    if origin.local is not None and sum(kind.num_rows or 0 for kind in found.kinds) < _MANY:
        warn_of_few(size_of(section), name)
    click.echo(f"Next: langmill new recipe NAME --corpus {name}{'' if roles.task is None else _asked_for(roles.task)}")


def _decided(found: Survey, origin: Place, given: Mapping[Role, str | None], format_name: str | None) -> Decision:
    """What the corpus says of its files, asked for where it can't be told; and the table of what was found, printed.

    Raises LangmillError where it can't be told, and nobody can be asked; or a field that was named is in no row.
    """
    from langmill.cli.new.decision import decide
    from langmill.cli.new.table import lines_of_survey, sentence_of_formats

    answers = _known(found, given, format_name)
    decision = decide(found, answers, format_name)
    for line in lines_of_survey(found, decision, origin.title):
        click.echo(line)
    if decision.formats:
        several = sentence_of_formats(list(decision.formats.items()))
        format_name = _ask("format", f"The files have several shapes: {several}.", list(decision.formats))
        decision = decide(found, answers, format_name)
    while decision.roles.near:
        role, names = next(iter(decision.roles.near.items()))
        options = [*names, _NONE] if role == "label" else list(names)
        answer = _ask(role, _why_asked(role, decision), options)
        answers[role] = None if answer == _NONE and _NONE not in names else answer
        decision = decide(found, answers, format_name)
    for kind in decision.without_text:
        click.echo(f"Warning: {kind.first} has no field with text; its rows will be quarantined.", err=True)
    return decision


def _known(found: Survey, given: Mapping[Role, str | None], format_name: str | None) -> dict[Role, str | None]:
    """The fields that were named, as far as a row has them; `none` for none."""
    from langmill.config.core_yaml import as_written
    from langmill.config.names import did_you_mean
    from langmill.data.rows import shown

    known = list(dict.fromkeys(name for kind in found.kinds for row in kind.rows for name in row))
    answers: dict[Role, str | None] = {}
    for role, name in given.items():
        if name == _NONE and _NONE not in known and role != "text":
            answers[role] = None
        elif name in known or format_name is not None:
            answers[role] = name
        else:
            listed = shown(", ".join(known[:20]))
            raise LangmillError(
                f"--{role} {as_written(name)}: none of the first rows has a field of this name; they have {listed}."
                f"{did_you_mean(str(name), known)}",
                "unknown",
            )
    return answers


def _why_asked(role: str, decision: Decision) -> str:
    from langmill.data.rows import portable

    names = decision.roles.near[role]  # type: ignore[index]  # it is one of its keys
    if role == "text" and decision.rows_differ:
        each = ", ".join(portable(kind.first.as_posix()) for kind in decision.rows_differ)
        return f"The files have rows of several kinds ({each}), whose texts stand in different fields."
    return f"Several fields may be the {role}: {', '.join(names)}."


def _ask(role: str, why: str, options: Sequence[str]) -> str:
    """Have a person choose. Raises LangmillError where nobody sits at a terminal."""
    if not sys.stdin.isatty():
        choices = " or ".join(f"--{role} {option}" for option in options)
        raise LangmillError(f"{why} Say which one it is: {choices}. Nothing was written.", "undecided")
    click.echo(why)
    return str(click.prompt(f"Which one is the {role}?", type=click.Choice(list(options))))


def _asked_for(task: str) -> str:
    """The options of `langmill new recipe` that a task wants."""
    from langmill.cli.new.choices import task_of

    return f" --task {task}{' --base BASE' if task_of(task)[1].needs_base else ''}"
