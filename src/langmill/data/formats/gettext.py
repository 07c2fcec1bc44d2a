"""Message catalogs of GNU gettext (.po and .mo): a program's sentences and their translations."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

import polib

from langmill.data.formats.base import FORMATS, Format
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

# Zope's catalogs name a message by an identifier and keep its text in a comment: `#. Default: "Add a file"`.
_DEFAULT_START = re.compile('^Default: "', re.MULTILINE)
_DEFAULT_END = re.compile(r'"[^\S\n]*$', re.MULTILINE)
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)*")
_NOT_IN_PAGE_NAMES = re.compile(r"[\s{}%<>$]")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t"}
# What stands for something else in a message; an underscore in it is part of a name.
_PLACEHOLDER = re.compile(r"%\([^()]*\)|\$?\{[^{}]*\}|<[^<>]*>|\$\w+")
_NO_LETTER = re.compile("[^A-Za-z]")
_MNEMONIC = re.compile(r"_(?=[^\W\d_])")


@FORMATS.register("gettext")
class Gettext(Format):
    """Messages and their translations.

    Fields: `source`, `target`, `context`, `catalog` (the file's path) and `project` (the first word of it).

    Of a message with a plural only the singular is taken. What a translator left open (empty, or marked fuzzy) or no
    longer uses is quarantined as unfinished; so is a message of which only an identifier or a page's name is known. The
    header is no row. The underscore that marks a menu item's key (GTK: `_Save`, `Con_vert`) is taken out.
    """

    file_endings = frozenset({".po", ".mo"})
    auto_endings = file_endings
    diagnosable = False

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The messages of one catalog, placed by line (.po) or by number (.mo)."""
        with tempfile.NamedTemporaryFile(suffix=path.suffix) as copy:  # polib would take text that is a path for one
            size = copy.write(file.read())
            copy.flush()
            read = polib.mofile if self.ending(path) == ".mo" else polib.pofile
            try:
                catalog = read(copy.name)
            except (UnicodeDecodeError, LookupError) as error:
                yield 1, Unreadable(BadRowReason.undecodable, str(error), num_bytes=size)
                return
            except Exception as error:  # polib raises whatever a damaged file makes it stumble over
                words = f"{type(error).__name__}: {error}".replace(copy.name, path.name)
                yield 1, Unreadable(BadRowReason.unreadable_file, words, num_bytes=size)
                return
        identified = any(_default(entry) is not None for entry in catalog)
        places: set[int] = set()
        for number, entry in enumerate(catalog, start=1):
            place = entry.linenum if isinstance(entry, polib.POEntry) else number
            while place in places:
                place += 1
            places.add(place)
            yield place, _values(entry, path, identified=identified)


def _values(entry: polib.POEntry | polib.MOEntry, path: PurePosixPath, *, identified: bool) -> Values | Unreadable:
    """A message's fields; in an `identified` catalog a word in small letters is an identifier."""
    default = _default(entry)
    source = entry.msgid if default is None else default
    target = entry.msgstr_plural.get(0, "") if entry.msgid_plural else entry.msgstr
    left_open = isinstance(entry, polib.POEntry) and (entry.obsolete or entry.fuzzy)  # .mo files have only what is done
    key = identified and default is None and _IDENTIFIER.fullmatch(source) and source.islower()
    if left_open or key or _is_page_name(source) or not target.strip():
        return Unreadable(BadRowReason.unfinished, str(entry))
    source, target = _without_mnemonics(source, target)
    return {
        "source": source,
        "target": target,
        "context": entry.msgctxt or "",
        "catalog": path.as_posix(),
        "project": _NO_LETTER.split(path.parts[0], maxsplit=1)[0],
    }


def _default(entry: polib.POEntry | polib.MOEntry) -> str | None:
    """The text that a comment has for a message which is named by an identifier."""
    start = _DEFAULT_START.search(entry.comment) if isinstance(entry, polib.POEntry) else None
    ends = [end.start() for end in _DEFAULT_END.finditer(entry.comment, start.end())] if start else []
    if not start or not ends:
        return None
    return _ESCAPED.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), entry.comment[start.end() : ends[-1]])


def _is_page_name(source: str) -> bool:
    return source.count("_") >= 2 and not _NOT_IN_PAGE_NAMES.search(source)


def _without_mnemonics(source: str, target: str) -> tuple[str, str]:
    """Both without the underscore before a menu item's key; what both have alike is a name and stays."""
    names = {word for word in _masked(source).split() if "_" in word[1:]}
    if "_" not in source or names.intersection(target.split()):
        return source, target
    return _without_mnemonic(source), _without_mnemonic(target)


def _masked(text: str) -> str:
    return _PLACEHOLDER.sub(lambda found: " " * len(found[0]), text)


def _without_mnemonic(text: str) -> str:
    places = [found.start() for found in _MNEMONIC.finditer(_masked(text))]
    return text[: places[0]] + text[places[0] + 1 :] if len(places) == 1 else text
