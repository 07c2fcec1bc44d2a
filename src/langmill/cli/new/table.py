"""What was found where a new corpus shall come from, in a few lines for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import PurePosixPath

from langmill.cli.new.decision import Decision
from langmill.cli.new.field_roles import ROLES, Roles
from langmill.cli.new.survey import Kind, Survey
from langmill.data.formats.base import ABOUT
from langmill.data.rows import Values, portable, shown
from langmill.data.sources.folder import EMPTY, HIDDEN

_NAME_LINES = 3  # of fields
_SHOWN = 5
_PROBLEMS = 3
_LEFT_OUT = 6
_KINDS = 12
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def lines_of_survey(found: Survey, decision: Decision, title: str) -> Iterator[str]:
    """What was found: a line a kind of file, five rows, what is left out, what can't be read.

    Args:
        found: The files.
        decision: Which of their fields is what.
        title: Where they are.
    """
    width = max(40, shutil.get_terminal_size().columns)
    sampled = f"; {sum(kind.looked_at for kind in found.kinds):,} of them were looked at" if found.sampled else ""
    yield f"{portable(title)}: {_counted(found.files, 'file')}, {_size(found.size)}{sampled}."
    table = [_cells(kind, decision) for kind in found.kinds[:_KINDS]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    below = sum(widths) + 8 > width  # where names do not fit beside the rest, they stand under it
    for *cells, names in table:
        padded = [
            cell.rjust(size) if index == 2 else cell.ljust(size)
            for index, (cell, size) in enumerate(zip(cells, widths, strict=False))
        ]
        yield _shortened(f"  {'  '.join([*padded, '' if below else names])}".rstrip(), width)
        if below and names:
            yield textwrap.fill(
                names,
                width,
                initial_indent="      ",
                subsequent_indent="      ",
                max_lines=_NAME_LINES,
                placeholder=" …",
            )
    if len(found.kinds) > _KINDS:
        yield f"  and {len(found.kinds) - _KINDS} more kinds"
    yield from _fields(decision)
    yield from _rows(found, decision, width)
    if found.left_out:
        yield f"Left out: {_reasons(found.left_out)}."
    if found.pair is not None:
        ends = " and ".join(f".{found.pair.options[side]}" for side in ("source", "target"))
        yield f"Files ending in {ends} look like translations, line by line: --format moses begins a corpus of them."
    yield from _problems(found.problems, "Can't be read")
    yield from _problems(found.damages, "Can't be read to the end")
    if found.damages:
        yield "What stands before the damage is read; the rest is counted, and the corpus's contract stops at it."


def _cells(kind: Kind, decision: Decision) -> tuple[str, str, str, str]:
    detected = kind.detected
    how = [_encoding(detected.encoding)] if detected.encoding else []
    if detected.delimiter:
        how.append(f"cells between {_NAMES.get(detected.delimiter, repr(detected.delimiter))}")
    if detected.has_header is not None:
        how.append("a header" if detected.has_header else "no header")
    as_it_stands = kind.shape is not None and decision.format_name == "auto" and not decision.formats
    if kind.format_name != "auto" and not as_it_stands:
        how.append(f"the format {kind.format_name}")
    if kind.plain:
        how.append("one document a file")
    rows = "" if kind.num_rows is None else f"{'about ' if kind.estimated else ''}{_counted(kind.num_rows, 'row')}"
    names = "" if kind.plain else ", ".join(shown(name) for name in dict.fromkeys(chain(*kind.rows)))
    return f"{kind.files:,} {kind.ending}", ", ".join(how), rows, " ".join(names.split())


def _encoding(name: str) -> str:
    return {"utf-8": "UTF-8", "utf_8": "UTF-8", "utf-8-sig": "UTF-8 with a mark"}.get(name.lower(), name)


def _fields(decision: Decision) -> Iterator[str]:
    """Which field is what and why, in one line."""
    if decision.shape is not None:
        yield (
            f"Rows of the format {decision.format_name}: the text is {decision.shape.text}, the target "
            f"{decision.shape.target}."
        )
        return
    by_roles: dict[tuple[object, ...], list[tuple[Kind, Roles]]] = {}
    for kind, roles in decision.tables:
        key = tuple((roles.fields.get(role), roles.near.get(role)) for role in ROLES if role != "id")
        by_roles.setdefault(key, []).append((kind, roles))
    for those in by_roles.values():
        sentence = _sentence(those[0][1])
        if sentence and len(by_roles) > 1:
            yield f"In {_named(those, decision)}: {sentence}."
        elif sentence:
            yield f"{sentence[0].upper()}{sentence[1:]}."


def _named(those: Sequence[tuple[Kind, Roles]], decision: Decision) -> str:
    """What kinds of files are called: by their endings, or by a file where others have the same ending."""
    endings = {kind.ending for kind, _ in those}
    if any(kind.ending in endings for kind, roles in decision.tables if (kind, roles) not in those):
        return ", ".join(portable(kind.first.as_posix()) for kind, _ in those[:_PROBLEMS])
    return ", ".join(sorted(endings))


def _sentence(roles: Roles) -> str:
    said = [f"the {role} is {shown(roles.fields[role])} ({roles.why[role]})" for role in ROLES if role in roles.fields]
    none = [
        f"{role} ({shown(roles.why[role])})" if role in roles.why else role
        for role in ("label", "target")
        if role not in roles.fields and role not in roles.near
    ]
    return "; ".join(said) + (f"; no {' and no '.join(none)}" if none and said else "")


def _rows(found: Survey, decision: Decision, width: int) -> Iterator[str]:
    """Five rows, of each kind one after the other, shortened to the width of the terminal."""
    own = {kind.first: roles for kind, roles in decision.tables}
    each = ([(own.get(kind.first, decision.roles), row) for row in kind.rows] for kind in found.kinds)
    by_turns: Iterable[tuple[Roles, Values] | None] = chain.from_iterable(zip_longest(*each))
    first = list(islice((one for one in by_turns if one is not None), _SHOWN))
    if first:
        yield "First rows:" if len(first) > 1 else "The first row:"
    for roles, row in first:
        by_role = [roles.near.get(role, ()) or [roles.fields.get(role, "")] for role in ROLES]
        # A format makes its own text of the row, so all of it is shown.
        fields = [] if decision.shape is not None else [name for names in by_role for name in names if name]
        names = [name for name in fields if name in row] or list(row)
        room = max(8, (width - 4) // len(names) - 2) if names else width
        if len(names) > 1:
            cells = [f"{_one_line(name)}: {_one_line(row[name])}" for name in names]
            spare = sum(max(0, room - len(cell)) for cell in cells[1:])
            cells = [_shortened(cells[0], room + spare), *(_shortened(cell, room) for cell in cells[1:])]
        else:
            cells = [_one_line(row[name]) for name in names]
        yield _shortened(f"  {' | '.join(cells)}", width)


def _one_line(value: object) -> str:
    return shown(" ".join(str(value)[:1000].split()))


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def _reasons(left_out: Mapping[str, int]) -> str:
    """Reasons with their counts, the commonest first: `3 hidden, 2 empty, 4 .docx (not read)`."""
    ranked = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{count:,} {_reason(reason, count)}" for reason, count in ranked[:_LEFT_OUT]]
    rest = sum(count for _, count in ranked[_LEFT_OUT:])
    return ", ".join([*said, *([f"{rest:,} other{'s' * (rest > 1)}"] if rest else [])])


def _reason(reason: str, count: int) -> str:
    if reason.startswith("."):
        return f"{reason} (not read)"
    if reason == "no ending":
        return "without an ending"
    if reason in (HIDDEN, EMPTY, ABOUT) or count == 1:
        return reason
    first, _, rest = reason.partition(" ")
    plural = {"link": "links", "folder": "folders", "broken": "broken links"}.get(first)
    return reason if plural is None else f"{plural} {rest}".strip() if first != "broken" else plural


def _problems(problems: Mapping[PurePosixPath, str], what: str) -> Iterator[str]:
    for relative, sentence in islice(problems.items(), _PROBLEMS):
        yield f"{what}: {portable(relative.as_posix())}. {' '.join(sentence.split())}"
    if len(problems) > _PROBLEMS:
        yield f"{what}: {_counted(len(problems) - _PROBLEMS, 'more file')}."


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _size(size: int) -> str:
    for least, unit in _UNITS:
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return _counted(size, "byte")


def sentence_of_formats(formats: Sequence[tuple[str, Kind]]) -> str:
    """What rows of several shapes there are, each with a file that has it."""
    each = [
        f"{'rows of their own' if name == 'auto' else name} ({portable(kind.first.name)})" for name, kind in formats
    ]
    return ", ".join(each)
