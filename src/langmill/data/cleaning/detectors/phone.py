"""Telephone numbers."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any

from langmill.config.constraints import Allowed
from langmill.config.typed import settings
from langmill.data.cleaning.detectors.base import DETECTORS, LONG_NUMBER, Certainty, Detector, Span, named_near
from langmill.errors import ConfigError

# A stretch of digits and what may part them, at most as long as the longest number is written (ITU-T E.164: 15 digits).
# Not within a word, a decimal, an amount or an identifier.
_STRETCH = re.compile(
    r"[+(\uff0b0-9](?<![\w$€£¥#][+(\uff0b0-9])(?<![\w.,+\-][+(0-9])(?<![A-Za-z]/[0-9])"
    r"(?:[ \u00a0.\-/()]{0,3}[0-9]){6,}+"
    r"(?![\w%°€$£]|[.,:\-][0-9])"
)
_PART = re.compile(r"(?:\+|\b00)[0-9](?:[ .\-/()]{0,2}[0-9]){6,16}")
_LONGEST = 40  # characters of a number as it is written; a longer stretch is a table or a list
_MOST_DIGITS = 17
_MARKED = re.compile(r"[+\uff0b(]|00|[0-9][ .\-/()\u00a0]")  # a bare run of digits is no number but by a word beside it
_WORDS = re.compile(
    r"\b(?:tel|telephone|phone|ph|mobile|mob|cell|call|fax|whatsapp|sms|text|dial|hotline|contact|reach|telefon|handy|"
    r"mobil|rufnummer|anruf\w*|t[eé]l[eé]phone|portable|appel\w*|tel[eé]fono|m[oó]vil|celular|llam\w+|telefone|"
    r"cellulare|telefoon|mobiel|telefono)\b|\u260e|\u2706|\U0001f4de|电话|手机|電話|тел",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:1[5-9]|20)[0-9]{2}([-./ ])[01]?[0-9]\1[0-3]?[0-9](?:[^0-9].*)?|"
    r"[0-3]?[0-9]([-./ ])[0-3]?[0-9]\2(?:1[5-9]|20)?[0-9]{2}(?:[^0-9].*)?",
    re.DOTALL,
)
_YEARS = re.compile(r"(?:1[5-9]|20)[0-9]{2}(?:[ \-/.()]{1,3}(?:1[5-9]|20)[0-9]{2})+")
_GROUP = re.compile("[0-9]+")
_NUMBERS = re.compile(
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|(?<![0-9.])(?:[0-9]++\.[0-9]++|[0-9.]++/[0-9]{1,2})"
)  # addresses, a decimal
_NOT_PHONE = re.compile(
    r"\b(?:isbn|issn|doi|order|invoice|ticket|ref|reference|serial|sku|ean|upc|gtin|imei|asin|pmid|arxiv|id|nr|no|"
    r"version|build|rev|bestell\w*|auftrag\w*|rechnung\w*|tracking|case|article|item|part|model|account|acct|"
    r"konto\w*|patent)\b[^\n]{0,4}\Z",
    re.IGNORECASE,
)
_BEFORE = 24


def _are_regions(names: list[str]) -> bool:
    return all(len(name) == 2 and name.isascii() and name.isupper() for name in names)


@settings
class PhoneOptions:
    """Whose numbers are found."""

    regions: Annotated[list[str], Allowed("a list of regions by ISO 3166-1, as in [US, DE]", _are_regions)] = field(
        default_factory=lambda: ["US"]
    )
    """Regions whose numbers are found as they are written at home, by ISO 3166-1 (`[US, DE]`). International ones
    (`+49 …`) are found wherever they are from; an empty list finds these alone."""


@DETECTORS.register("phone")
class Phone(Detector):
    """Numbers that Google's libphonenumber holds valid (package `phonenumbers`).

    Its matcher takes half a millisecond a line, so that it sees only what a cheap pattern proposes. A run of digits
    with nothing between them is a number only beside a word that says so.
    """

    label = "PHONE"
    certainty = Certainty.likely
    hints = (LONG_NUMBER,)
    options_class = PhoneOptions
    options: PhoneOptions

    def __init__(self, options: PhoneOptions) -> None:
        super().__init__(options)
        import phonenumbers  # takes a tenth of a second

        unknown = sorted(set(options.regions) - phonenumbers.SUPPORTED_REGIONS)
        if unknown:
            raise ConfigError(
                f"cleaning.options.privacy.options.phone.regions has {unknown[0]}, a region that phonenumbers does not "
                "know; name those of ISO 3166-1.",
                "unknown",
            )
        self._matches = phonenumbers.PhoneNumberMatcher
        self._valid = phonenumbers.Leniency.VALID
        self._judged = functools.lru_cache(4096)(self._judge)

    def find(self, text: str) -> Iterator[Span]:
        """What libphonenumber finds in each stretch that looks like one or two numbers."""
        for stretch in _STRETCH.finditer(text):
            start, end = stretch.span()
            if text[start] == "(" and text.find(")", start, end) < 0:  # it is the sentence's
                start += 1
            parts = [(start, end)] if end - start <= _LONGEST else [p.span() for p in _PART.finditer(text, start, end)]
            for first, last in parts:
                if self._proposed(text, first, last):
                    for begin, length in self._judged(text[first:last]):
                        yield first + begin, first + begin + length

    @staticmethod
    def _proposed(text: str, start: int, end: int) -> bool:
        written = text[start:end]
        if sum(map(str.isdigit, written)) > _MOST_DIGITS and not written.startswith(("+", "00", "\uff0b")):
            return False
        groups = list(map(len, _GROUP.findall(written)))
        if groups.count(1) > 2:  # sections, scores, OIDs
            return False
        if _NUMBERS.fullmatch(written) or _YEARS.fullmatch(written) or _DATE.fullmatch(written):
            return False
        if written.startswith(("+", "\uff0b")):
            return True
        if named_near(_WORDS, text, (start, end)):
            return True
        return bool(_MARKED.match(written) or _MARKED.search(written)) and not _NOT_PHONE.search(
            text[max(0, start - _BEFORE) : start]
        )

    def _judge(self, written: str) -> tuple[Span, ...]:
        """Beginnings and lengths of the numbers in a stretch, by the first region that knows any."""
        regions: list[Any] = [None] if written.startswith(("+", "\uff0b")) else [*self.options.regions] or [None]
        for region in regions:
            found = tuple((m.start, m.end - m.start) for m in self._matches(written, region, leniency=self._valid))
            if found:
                return found
        return ()

    def normal(self, value: str) -> str:
        """The digits, and the plus before them."""
        return "+" * value.startswith(("+", "\uff0b")) + "".join(filter(str.isdigit, value))
