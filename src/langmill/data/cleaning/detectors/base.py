"""What a detector of personal data offers, and what finds several kinds in one text.

A detector is a class with `DETECTORS.register` over it, whose name is the kind. It proposes by a pattern and decides by
what can be checked: a checksum, the shape that an authority prescribes, a word beside it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

from langmill.errors import ConfigError, FieldError
from langmill.plugins import NoOptions, Registry

LONG_NUMBER = re.compile(r"[0-9](?:[ .\-/()\u00a0]{0,3}[0-9]){5}")
"""A text without it has no telephone, card or identity number: six digits, grouped or not."""
_REACH = 48  # characters before a number, and a third of that after it, in which a word may say what it is

Span = tuple[int, int]
"""Where a value begins and ends, in characters."""


class Certainty(IntEnum):
    """What a detector's word is worth where two of them claim the same characters; the smaller one wins."""

    proved = 0
    """By a checksum, a prefix that is given to nothing else, or a block's own marks."""
    shape = 1
    """By a shape that is rarely something else."""
    likely = 2
    """By the company it keeps, or by a model."""


class Detector(ABC):
    """Finds one kind of personal data. It is built once in each process, and depends on its options alone."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of its options, all of which have defaults."""
    label: ClassVar[str]
    """What its placeholder says, in capitals."""
    certainty: ClassVar[Certainty] = Certainty.shape
    hints: ClassVar[tuple[str | re.Pattern[str], ...]] = ()
    """What costs little to look for: a text with none of these is not searched. Empty: every text is searched."""
    needs_extra: ClassVar[bool] = False
    """Whether it is looked for only where it is named, because it needs packages of an extra."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def find(self, text: str) -> Iterator[Span]:
        """Where the text has such values, in any order; in time that grows with the text, whatever the text is."""

    def normal(self, value: str) -> str:
        """One form for values that are the same one however they are grouped."""
        return re.sub(r"[\s.\-/()]", "", value).casefold()


class PatternDetector(Detector):
    """Proposes by a pattern, and decides by `holds`."""

    pattern: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> Iterator[Span]:
        """What matches the pattern and holds."""
        for match in self.pattern.finditer(text):
            if self.holds(match):
                yield match.span()

    @abstractmethod
    def holds(self, match: re.Match[str]) -> bool:
        """Whether what the pattern matched is such a value."""


DETECTORS: Registry[Detector] = Registry(
    "detectors", Detector, "langmill.data.cleaning.detectors", "cleaning.options.privacy.kinds"
)


def named_near(words: re.Pattern[str], text: str, span: Span) -> bool:
    """Whether a word that says what a number is stands before it, or shortly after it."""
    start, end = span
    return words.search(text, max(0, start - _REACH), min(len(text), end + _REACH // 3)) is not None


class Found(NamedTuple):
    """A value in a text."""

    start: int
    end: int
    kind: str


class Finder:
    """Finds values of several kinds."""

    def __init__(self, detectors: Mapping[str, Detector]) -> None:
        self.detectors = dict(detectors)
        self._plan = [
            (kind, detector.find, tuple(_search(hint) for hint in detector.hints))
            for kind, detector in self.detectors.items()
        ]

    @property
    def kinds(self) -> list[str]:
        """What it looks for."""
        return list(self.detectors)

    def find(self, text: str) -> list[Found]:
        """The values in a text, in order and disjoint.

        Where values overlap, the whole stretch is one, of the most certain kind (the longest of equally certain ones):
        nothing of any of them stays.
        """
        seen: dict[Callable[[str], object], object] = {}
        spans: list[tuple[int, int, str]] = []
        for kind, find, hints in self._plan:
            if hints:
                for hint in hints:
                    if hint not in seen:
                        seen[hint] = hint(text)
                    if seen[hint]:
                        break
                else:
                    continue
            spans += [(start, end, kind) for start, end in find(text)]
        return self._disjoint(spans)

    def _disjoint(self, spans: list[tuple[int, int, str]]) -> list[Found]:
        found: list[Found] = []
        best: tuple[int, int] = (0, 0)
        for start, end, kind in sorted(spans):
            worth = (self.detectors[kind].certainty, start - end)
            if found and start < found[-1].end:
                last = found[-1]
                found[-1] = Found(last.start, max(end, last.end), kind if worth < best else last.kind)
                best = min(best, worth)
            else:
                found.append(Found(start, end, kind))
                best = worth
        return found


def _search(hint: str | re.Pattern[str]) -> Callable[[str], object]:
    """What looks for a hint; equal hints give equal functions, so that each is looked for once in a text."""
    if isinstance(hint, str):
        return _Contains(hint)
    search: Callable[[str], object] = hint.search
    return search


@dataclass(frozen=True)
class _Contains:
    part: str

    def __call__(self, text: str) -> bool:
        return self.part in text


def build_finder(kinds: Iterable[str] | None = None, options: Mapping[str, Mapping[str, Any]] | None = None) -> Finder:
    """What finds some kinds.

    Args:
        kinds: Their names; None takes all that need no extra.
        options: The options of each that has any, by its name.

    Raises:
        ConfigError: A kind is unknown, its options are refused, or it needs what is not installed.
    """
    return Finder({kind: DETECTORS.find(kind)(typed) for kind, typed in typed_kinds(kinds, options).items()})


def typed_kinds(
    kinds: Iterable[str] | None = None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The options of each kind, checked, by its name; arguments and errors as of `build_finder`."""
    names = list(default_kinds() if kinds is None else kinds)
    options = options or {}
    for name in options:
        if name not in names:
            listed = ", ".join(names)
            raise FieldError(
                f"options.{name} is of no kind that is looked for ({listed})", f"options.{name}", "unknown"
            )
    try:
        return {
            name: DETECTORS.options(name, options.get(name, {}), "", f"cleaning.options.privacy.options.{name}")
            for name in names
        }
    except FieldError:
        raise
    except ConfigError as error:
        raise FieldError(str(error), "options") from error


def default_kinds() -> list[str]:
    """The kinds that need no extra."""
    return [name for name in DETECTORS.names() if not DETECTORS.find(name).needs_extra]
