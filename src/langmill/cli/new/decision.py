"""What a new corpus says of its files: the format that reads them, and which of their fields is what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from langmill.cli.new.field_roles import ROLES, Role, Roles, roles_of
from langmill.cli.new.file_patterns import OfFiles, patterns_of
from langmill.cli.new.survey import WHERE, Kind, Survey
from langmill.config.sections import FormatSection
from langmill.data.diagnosis.diagnose import why_no_text
from langmill.data.formats.base import FORMATS, Shape, build_format
from langmill.errors import LangmillError


@dataclass(frozen=True)
class Given:
    """What a person has said of fields: a name by its role, None for a role that no field has."""

    everywhere: Mapping[Role, str | None] = field(default_factory=dict)
    """Of every file whose rows have such a field."""
    by_pattern: Mapping[str, Mapping[Role, str | None]] = field(default_factory=dict)
    """Of the files that a pattern fits; the survey was told the patterns."""
    by_kind: Mapping[PurePosixPath, Mapping[Role, str | None]] = field(default_factory=dict)
    """Of a kind of files, by its first one."""

    @property
    def names(self) -> set[str]:
        """The fields that are named."""
        said = (self.everywhere, *self.by_pattern.values(), *self.by_kind.values())
        return {name for each in said for name in each.values() if name is not None}

    def of(self, kind: Kind, *, known: bool) -> dict[Role, str | None]:
        """What was said of a kind of files.

        Args:
            kind: The files.
            known: Whether the rows of any kind have the fields that were named for all.
        """
        names = {name for row in kind.rows for name in row}
        said = {role: name for role, name in self.everywhere.items() if name is None or name in names or not known}
        for pattern in kind.patterns:
            said.update(self.by_pattern.get(pattern, {}))
        said.update(self.by_kind.get(kind.first, {}))
        return said


@dataclass(frozen=True)
class Question:
    """A role that nothing decides, in files that are alike in it."""

    role: Role
    names: tuple[str, ...]
    """The fields that are nearly as good as each other, the best first."""
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Decision:
    """What a new corpus says of its format and its fields; or what can't be decided."""

    format_name: str
    options: Mapping[str, object]
    roles: Roles
    """The fields of most rows."""
    shape: Shape | None = None
    tables: Sequence[tuple[Kind, Roles]] = ()
    """The kinds of files whose rows have fields, and which of them is what."""
    files: Mapping[str, Roles] = field(default_factory=dict)
    """The fields of files that call them otherwise, by a pattern of their paths."""
    formats: Mapping[str, Kind] = field(default_factory=dict)
    """The formats among which nothing decides, each with a kind of files that it reads; empty where it is decided."""
    questions: tuple[Question, ...] = ()
    without_text: tuple[Kind, ...] = ()
    """Kinds of files without any text: their rows will be quarantined."""

    @property
    def ids(self) -> list[str]:
        """The fields that are ids, of any files."""
        return list(dict.fromkeys(roles.fields["id"] for _, roles in self.tables if "id" in roles.fields))


def decide(found: Survey, given: Given | Mapping[Role, str | None], format_name: str | None = None) -> Decision:
    """Decide on the format and the fields of a corpus.

    Args:
        found: What its files are.
        given: Fields that a person has named; a plain mapping is of every file.
        format_name: The format, where a person has named it.

    Raises:
        LangmillError: No field holds text.
    """
    given = given if isinstance(given, Given) else Given(given)
    named = {kind.format_name if kind.shape is not None else "auto": kind for kind in reversed(found.kinds)}
    if format_name is None and len(named) > 1:
        return Decision("auto", {}, Roles({}, {}), formats=dict(reversed(list(named.items()))))
    chosen = format_name or _one_format(found)
    if format_name is None and FORMATS.find(chosen).shape is not None and given.names:
        chosen = "auto"  # the fields that a person sees are those of the rows as they stand
    options = _options(found, chosen)
    shape = FORMATS.find(chosen).shape
    if shape is not None and not given.names:
        fields: dict[Role, str] = {"text": shape.text, "target": shape.target}
        return Decision(chosen, options, Roles(fields, dict.fromkeys(fields, chosen), task=shape.task), shape)
    tables = [kind for kind in found.kinds if not kind.plain and not (kind.document and not kind.patterns)]
    if not tables:
        said = {role: name for role, name in given.everywhere.items() if name is not None}
        return Decision(chosen, options, Roles({**said, "text": "text"}, {"text": "the whole file"}))
    return _of_tables(found, tables, given, chosen, options)


def _of_tables(
    found: Survey, tables: Sequence[Kind], given: Given, format_name: str, options: Mapping[str, object]
) -> Decision:
    every = {name for kind in tables for row in kind.rows for name in row}
    known = every >= {name for name in given.everywhere.values() if name is not None}
    judged = _agreed([(kind, roles_of(kind.rows, given.of(kind, known=known))) for kind in tables])
    without = tuple(kind for kind, roles in judged if not {"text"} & (set(roles.fields) | set(roles.near)))
    if len(without) == len(tables):
        kind = tables[0]
        raise LangmillError(f"{found.named(kind.first)}: {why_no_text(kind.rows)}", "missing")
    judged = [(kind, roles) for kind, roles in judged if kind not in without]
    questions: dict[tuple[Role, tuple[str, ...]], list[Kind]] = {}
    for kind, roles in judged:
        for role, names in roles.near.items():
            questions.setdefault((role, names), []).append(kind)
    roles, files = patterns_of([OfFiles(kind, roles) for kind, roles in judged])
    tasks = {each.task for _, each in judged}
    return Decision(
        format_name,
        options,
        dataclasses.replace(roles, task=tasks.pop() if len(tasks) == 1 else None),
        tables=judged,
        files=files,
        questions=tuple(Question(role, names, tuple(kinds)) for (role, names), kinds in questions.items()),
        without_text=without,
    )


def _agreed(judged: Sequence[tuple[Kind, Roles]]) -> list[tuple[Kind, Roles]]:
    """The roles of each kind; where one can't tell between fields, and others have one of them, that is it."""
    settled = []
    for kind, roles in judged:
        fields, why, near = dict(roles.fields), dict(roles.why), dict(roles.near)
        for role, names in roles.near.items():
            others = {each.fields[role] for _, each in judged if role in each.fields} & set(names)
            if len(others) == 1:
                fields[role], why[role] = others.pop(), "as in other files"
                del near[role]
        settled.append((kind, Roles({role: fields[role] for role in ROLES if role in fields}, why, near, roles.task)))
    return settled


def _one_format(found: Survey) -> str:
    """The format of all files: their own where they have one alone, else `auto`, which goes by their endings."""
    names = {kind.format_name for kind in found.kinds}
    auto = build_format(FormatSection("auto", {}), WHERE)
    if len(names) > 1 and all(auto.ending(kind.first) is not None for kind in found.kinds):
        return "auto"
    return found.kinds[0].format_name


def _options(found: Survey, format_name: str) -> dict[str, object]:
    """What the format must be told: what all files that it matters for want alike; `auto` finds the rest out."""
    known = {each.name for each in dataclasses.fields(FORMATS.find(format_name).options_class)}
    options: dict[str, object] = {}
    for key in dict.fromkeys(key for kind in found.kinds for key in kind.detected.options):
        values = [kind.detected.options.get(key) for kind in found.kinds if _matters(key, kind)]
        if key in known and all(value == values[0] for value in values):
            options[key] = values[0]
    return options


def _matters(key: str, kind: Kind) -> bool:
    """Whether an option is of any use to files of a kind."""
    detected = kind.detected
    used = {"encoding": detected.encoding, "delimiter": detected.delimiter, "header": detected.has_header}
    return used.get(key, True) is not None
