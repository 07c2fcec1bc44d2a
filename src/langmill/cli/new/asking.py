"""What a person says of the fields of a new corpus: by options, or when asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import click

from langmill.cli.new.decision import Decision, Given, Question, decide
from langmill.cli.new.file_patterns import names_of
from langmill.config.core_yaml import as_written
from langmill.config.names import did_you_mean
from langmill.data.rows import portable, shown
from langmill.errors import LangmillError

if TYPE_CHECKING:
    from langmill.cli.new.field_roles import Role
    from langmill.cli.new.survey import Kind, Survey

NONE = "none"


def patterns_in(said: Mapping[Role, Sequence[str]]) -> list[str]:
    """The patterns of files that options begin with (`*.tmx=source`), as they stand there."""
    parts = [value.partition("=") for values in said.values() for value in values]
    return list(dict.fromkeys(pattern for pattern, equals, _ in parts if equals))


def given_in(
    said: Mapping[Role, Sequence[str]], known: Mapping[str | None, Sequence[str]], *, any_name: bool = False
) -> Given:
    """What options say of fields.

    Args:
        said: Their values by role, each a field, or a pattern of files and a field.
        known: The fields of the first rows, by the pattern that their files fit; None has those of all.
        any_name: Whether a field may be one that no row has.

    Raises:
        LangmillError: A field is in no row, a pattern fits no file, or a role is said twice of the same files.
    """
    everywhere: dict[Role, str | None] = {}
    by_pattern: dict[str, dict[Role, str | None]] = {}
    for role, values in said.items():
        for value in values:
            before, equals, after = value.partition("=")
            pattern, name = (None, value) if not equals or value in known[None] else (before, after)
            option = f"--{role} {as_written(value)}"
            if pattern is not None and pattern not in known:
                raise LangmillError(f"{option}: no file that has fields fits {pattern}.", "unknown")
            into = everywhere if pattern is None else by_pattern.setdefault(pattern, {})
            if role in into:
                files = "each of several kinds of files" if pattern is None else pattern
                said_so = f"--{role} is given twice for {pattern or 'all files'}"
                raise LangmillError(f"{said_so}; of {files} it can be said as --{role} 'PATTERN=FIELD'.", "duplicate")
            into[role] = _field(role, name, known[pattern], option, any_name=any_name)
    return Given(everywhere, by_pattern)


def _field(role: Role, name: str, known: Sequence[str], option: str, *, any_name: bool) -> str | None:
    if name == NONE and NONE not in known and role != "text":
        return None
    if name in known or any_name:
        return name
    listed = shown(", ".join(known[:20]))
    raise LangmillError(
        f"{option}: none of the first rows has a field of this name; they have {listed}.{did_you_mean(name, known)}",
        "unknown",
    )


def answered(found: Survey, given: Given, format_name: str | None, decision: Decision) -> Decision:
    """The decision with what a person says to its questions.

    Raises:
        LangmillError: Nobody sits at a terminal; the message has every question, and the options that answer it.
    """
    by_kind: dict[PurePosixPath, dict[Role, str | None]] = {}
    while decision.questions:
        if not sys.stdin.isatty():
            said = " ".join(_refusal(question, decision) for question in decision.questions)
            raise LangmillError(f"{said} Nothing was written.", "undecided")
        question = decision.questions[0]
        click.echo(_sentence(question, decision))
        options = _options(question)
        answer = str(click.prompt(f"Which one is the {question.role}?", type=click.Choice(options)))
        for kind in question.kinds:
            none = answer == NONE and NONE not in question.names
            by_kind.setdefault(kind.first, {})[question.role] = None if none else answer
        decision = decide(found, Given(given.everywhere, given.by_pattern, by_kind), format_name)
    return decision


def chosen_format(why: str, options: Sequence[str]) -> str:
    """The format that a person names.

    Raises:
        LangmillError: Nobody sits at a terminal.
    """
    if not sys.stdin.isatty():
        choices = " or ".join(f"--format {option}" for option in options)
        raise LangmillError(f"{why} Say which one it is: {choices}. Nothing was written.", "undecided")
    click.echo(why)
    return str(click.prompt("Which one is the format?", type=click.Choice(list(options))))


def _options(question: Question) -> list[str]:
    return [*question.names, *([NONE] if question.role in ("label", "target") and NONE not in question.names else [])]


def _sentence(question: Question, decision: Decision) -> str:
    of = "" if _asks_about_every_kind(question, decision) else f" of {_files(question.kinds)}"
    return f"Several fields{of} may be the {question.role}: {', '.join(question.names)}."


def _refusal(question: Question, decision: Decision) -> str:
    """The question and the options that answer it."""
    patterns: list[str] = []
    if not _asks_about_every_kind(question, decision):
        patterns = names_of(question.kinds, [kind for kind, _ in decision.tables])
    each = [
        " ".join(_option(question.role, option, pattern) for pattern in patterns or [""])
        for option in _options(question)
    ]
    return f"{_sentence(question, decision)} Say which one it is: {' or '.join(each)}."


def _option(role: Role, field: str, pattern: str) -> str:
    if pattern:
        return f"--{role} '{pattern}={field}'"
    return f"--{role} {field}"


def _asks_about_every_kind(question: Question, decision: Decision) -> bool:
    return len(question.kinds) == len(decision.tables)


def _files(kinds: Sequence[Kind]) -> str:
    """What files are called in a sentence: `the .csv files (a.csv)`."""
    endings = ", ".join(dict.fromkeys(kind.ending for kind in kinds))
    return f"the {endings} files ({', '.join(portable(kind.first.as_posix()) for kind in kinds[:3])})"
