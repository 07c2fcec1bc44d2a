"""Which files call their fields otherwise than the rest, as patterns of their paths, which conf/corpus/ names."""

from __future__ import annotations

import dataclasses
import glob
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from langmill.cli.new.field_roles import Role, Roles
from langmill.cli.new.survey import IN_ARCHIVE, Kind
from langmill.config.sections import fits
from langmill.data.rows import portable

_SAID: tuple[Role, ...] = ("text", "label", "target")


@dataclass(frozen=True)
class OfFiles:
    """Files of one kind and their fields."""

    kind: Kind
    roles: Roles

    @property
    def num_rows(self) -> float:
        """Their rows; very many where they were not counted."""
        return math.inf if self.kind.num_rows is None else self.kind.num_rows


def patterns_of(judged: Sequence[OfFiles]) -> tuple[Roles, dict[str, Roles]]:
    """The fields of most rows, and those of the files that call them otherwise, by patterns of their paths.

    Args:
        judged: Every kind of files whose rows have fields.
    """
    first = max(judged, key=lambda each: (not each.roles.near, each.num_rows, each.kind.size))
    common = _common(first, judged)
    kinds = [each.kind for each in judged]
    patterns: dict[str, Roles] = {}
    for each in sorted(judged, key=lambda each: not _differs(each, common)):
        taken = any(fits(pattern, portable(path.as_posix())) for pattern in patterns for path in each.kind.paths)
        if taken or _differs(each, common):  # the pattern of others may fit a file that needs none by itself
            patterns |= dict.fromkeys(each.kind.patterns or names_of([each.kind], kinds), each.roles)
    return common, patterns


def names_of(kinds: Sequence[Kind], among: Iterable[Kind]) -> list[str]:
    """Patterns that fit the files of some kinds, and no others of those among which they are.

    An ending where all files of it are meant; a folder where all files of the ending in it are; else paths.
    """
    others = [kind for kind in among if kind not in kinds]
    patterns: dict[str, None] = {}
    for kind in kinds:
        end, _, archive = kind.ending.partition(IN_ARCHIVE)
        rivals = [path for other in others if other.ending == kind.ending for path in other.paths]
        if not rivals:
            patterns[f"*{archive}/*{end}" if archive else f"*{end}"] = None
            continue
        for path in kind.paths:
            folder = path.parent
            alone = folder.name and not any(other.is_relative_to(folder) for other in rivals)
            many = alone and sum(other.is_relative_to(folder) for other in kind.paths) > 1
            escaped = glob.escape(portable((folder if many else path).as_posix()))
            patterns[f"{escaped}/*{end}" if many else escaped] = None
    return list(patterns)


def _common(first: OfFiles, judged: Sequence[OfFiles]) -> Roles:
    """The fields of one kind, with a label or a target of others of the same text whose name means that alone."""
    fields, why = dict(first.roles.fields), dict(first.roles.why)
    for role in ("label", "target"):
        for other in judged:
            name = other.roles.fields.get(role)
            same = other.roles.fields.get("text") == fields.get("text")
            elsewhere = any(name in _columns(each) and each.roles.fields.get(role) != name for each in judged)
            if role not in fields and name is not None and same and not elsewhere and role not in first.roles.near:
                fields[role], why[role] = name, other.roles.why[role]
    return dataclasses.replace(first.roles, fields=fields, why=why)


def _differs(each: OfFiles, common: Roles) -> bool:
    """Whether rows of these files would be read otherwise by the common fields."""
    columns = _columns(each)
    read: Mapping[str, str] = {role: name for role, name in common.fields.items() if name in columns}
    return any(read.get(role) != each.roles.fields.get(role) for role in _SAID)


def _columns(each: OfFiles) -> set[str]:
    return {name for row in each.kind.rows for name in row}
