"""What a new corpus says of its files: the format that reads them, and which of their fields is what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from langmill.cli.new.field_roles import ROLES, Role, Roles, roles_of
from langmill.cli.new.survey import WHERE, Kind, Survey
from langmill.config.sections import FormatSection
from langmill.data.diagnosis.diagnose import why_no_text
from langmill.data.formats.base import FORMATS, Shape, build_format
from langmill.errors import LangmillError


@dataclass(frozen=True)
class Decision:
    """What a new corpus says of its format and its fields; or what can't be decided."""

    format_name: str
    options: Mapping[str, object]
    roles: Roles
    shape: Shape | None = None
    tables: bool = False
    """Whether there are files whose rows have fields."""
    formats: Mapping[str, Kind] = field(default_factory=dict)
    """The formats among which nothing decides, each with a kind of files that it reads; empty where it is decided."""
    rows_differ: tuple[Kind, ...] = ()
    """Kinds of files whose texts stand in fields of other names."""
    without_text: tuple[Kind, ...] = ()
    """Kinds of files without any text: their rows will be quarantined."""


def decide(found: Survey, given: Mapping[Role, str | None], format_name: str | None = None) -> Decision:
    """Decide on the format and the fields of a corpus.

    Args:
        found: What its files are.
        given: Fields that a person has named, by role; None for a role that no field has.
        format_name: The format, where a person has named it.

    Raises:
        LangmillError: No field holds text.
    """
    named = {kind.format_name if kind.shape is not None else "auto": kind for kind in reversed(found.kinds)}
    if format_name is None and len(named) > 1:
        return Decision("auto", {}, Roles({}, {}), formats=dict(reversed(list(named.items()))))
    chosen = format_name or _one_format(found)
    options = _options(found, chosen)
    shape = FORMATS.find(chosen).shape
    if shape is not None and not given:
        fields: dict[Role, str] = {"text": shape.text, "target": shape.target}
        return Decision(chosen, options, Roles(fields, dict.fromkeys(fields, chosen), task=shape.task), shape)
    tables = [kind for kind in found.kinds if not kind.plain and not (kind.document and chosen == "auto")]
    if not tables:
        roles = Roles({**_said(given), "text": "text"}, {"text": "the whole file"})
        return Decision(chosen, options, roles)
    return _of_tables(found, tables, given, chosen, options)


def _said(given: Mapping[Role, str | None]) -> dict[Role, str]:
    return {role: name for role, name in given.items() if name is not None}


def _of_tables(
    found: Survey,
    tables: Sequence[Kind],
    given: Mapping[Role, str | None],
    format_name: str,
    options: Mapping[str, object],
) -> Decision:
    judged = [(kind, roles_of(kind.rows, given)) for kind in tables]
    without = tuple(kind for kind, roles in judged if not {"text"} & (set(roles.fields) | set(roles.near)))
    if len(without) == len(tables):
        kind = tables[0]
        raise LangmillError(f"{found.named(kind.first)}: {why_no_text(kind.rows)}", "missing")
    judged = [(kind, roles) for kind, roles in judged if kind not in without]
    fields: dict[Role, str] = {}
    why: dict[Role, str] = {}
    near: dict[Role, tuple[str, ...]] = {}
    for role in ROLES:
        names = dict.fromkeys(roles.fields[role] for _, roles in judged if role in roles.fields)
        unsure = [roles.near[role] for _, roles in judged if role in roles.near]
        if unsure:
            near[role] = tuple(dict.fromkeys([*names, *(name for each in unsure for name in each)]))
        elif len(names) > 1 and role != "id":
            near[role] = tuple(names)
        elif names:
            fields[role] = next(iter(names))
            why[role] = next(roles.why[role] for _, roles in judged if role in roles.why)
    tasks = {roles.task for _, roles in judged}
    roles = Roles(fields, why, near, tasks.pop() if len(tasks) == 1 else None)
    differ = tuple({roles.fields["text"]: kind for kind, roles in judged if "text" in roles.fields}.values())
    return Decision(
        format_name, options, roles, tables=True, rows_differ=differ if len(differ) > 1 else (), without_text=without
    )


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
