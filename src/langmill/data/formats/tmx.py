"""Translation memories in TMX 1.4b (LISA OSCAR, https://www.gala-global.org/tmx-14b), of CAT tools and of OPUS."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # expat since 2.4.1 stops entities that grow out of bounds, and fetches none
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from langmill.config.typed import settings
from langmill.data.formats.base import FORMATS, Chunks, Format
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

_CHUNK = 2**16
_UNIT_END = b"</tu>"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_ALL = "*all*"  # a header's source language where each unit has its own
_MARKED = "hi"  # the one inline element whose content is the text's own; the others hold a program's codes


@settings
class TmxOptions:
    """Which languages of a memory are read."""

    source: str | None = None
    """The source's language, as `en`, which takes en-GB too; null takes the one that the file's header names."""
    target: str | None = None
    """The target's language; null takes every other one, each as a row of its own."""


@FORMATS.register("tmx")
class Tmx(Format):
    """Translation units with the fields `source`, `target`, `source_language`, `target_language` and `id`.

    Formatting codes within a segment are left out. A unit without one of the two languages is quarantined as
    unfinished.
    """

    options_class = TmxOptions
    file_endings = frozenset({".tmx"})
    auto_endings = file_endings
    diagnosable = False
    options: TmxOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The units of one memory, placed by number, and by language where one has several translations."""
        del path
        parser: Any = ET.XMLPullParser(("start", "end"))
        number, source, above = 0, self.options.source, list[ET.Element]()
        chunks, units = Chunks(file), 0
        held = b""  # what stands behind the last whole unit
        try:
            while data := chunks.read(_CHUNK):
                held += data
                parser.feed(data)
                events: Iterator[tuple[str, ET.Element]] = parser.read_events()
                for event, element in events:
                    if event == "start":
                        above.append(element)
                        if element.tag == "header":
                            source = source or element.get("srclang")
                        continue
                    above.pop()
                    if element.tag == "tu":
                        number, units = number + 1, units + 1
                        yield from self._unit(number, element, source)
                        above[-1].clear()  # what has been read is not held
                held, units = _behind(held, units), 0
            parser.close()
        except ET.ParseError as error:
            lost = len(_behind(held, units)) + sum(map(len, iter(lambda: chunks.read(_CHUNK), b"")))
            yield number + 1, Unreadable(BadRowReason.unreadable_file, f"XML: {error}", num_bytes=max(1, lost))

    def _unit(self, number: int, unit: ET.Element, source: str | None) -> Iterator[Raw]:
        variants = [(each.get(_LANGUAGE) or each.get("lang") or "", each.find("seg")) for each in unit.findall("tuv")]
        segments = [(language, _text(segment)) for language, segment in variants if segment is not None]
        named = None if source in (None, _ALL) else source
        first = next((pair for pair in segments if named is None or _same(pair[0], named)), None)
        others = [
            pair
            for pair in segments
            if first is not None
            and not _same(pair[0], first[0])
            and (self.options.target is None or _same(pair[0], self.options.target))
            and pair[1].strip()
        ]
        if first is None or not others or not first[1].strip():
            wanted = f"{named or 'a source'} and {self.options.target or 'another language'}"
            told = "; ".join(f"{language}: {text}" for language, text in segments)
            size = len(ET.tostring(unit, "utf-8"))
            yield number, Unreadable(BadRowReason.unfinished, f"not {wanted}, but {told}", num_bytes=size)
            return
        for language, text in others:
            place = number if len(others) == 1 else f"{number}.{language}"
            yield place, _values(first, (language, text), unit.get("tuid") or "")


def _behind(data: bytes, units: int) -> bytes:
    """What stands behind so many units' ends; nothing where they are written otherwise, as in UTF-16."""
    *before, rest = data.split(_UNIT_END, units)
    return rest if len(before) == units else b""


def _values(source: tuple[str, str], target: tuple[str, str], name: str) -> Values:
    return {
        "source": source[1],
        "target": target[1],
        "source_language": source[0],
        "target_language": target[0],
        "id": name,
    }


def _same(language: str, wanted: str) -> bool:
    """Whether a language is the wanted one, or a regional form of it (BCP 47)."""
    found, asked = language.lower().replace("_", "-"), wanted.lower().replace("_", "-")
    return found == asked or found.startswith(f"{asked}-") or asked.startswith(f"{found}-")


def _text(segment: ET.Element) -> str:
    """A segment's text without the codes in it."""
    parts = [segment.text or ""]
    for inner in segment:
        if inner.tag == _MARKED:
            parts.append(_text(inner))
        parts.append(inner.tail or "")
    return "".join(parts)
