"""Lines that belong to a web page and not to its text: notices, links, menus, and what the template repeats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from pydantic import Field, PositiveInt

from langmill.config.constraints import Allowed
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, LINE_CHARACTERS, CleaningStep, Draft
from langmill.data.cleaning.boilerplate_phrases import LINKS, NOTICES
from langmill.data.cleaning.words import bare

_SEPARATOR = re.compile(r"[|\u2022\u00b7\u203a\u00bb\u25b8\u2192]")
_SENTENCE_ENDS = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f", ":", ";")
_LINK_CHARACTERS = 50  # the longest phrase that is a line by itself is shorter
Phrases = Annotated[list[str], Allowed("phrases with something in them", lambda phrases: all(map(str.strip, phrases)))]


@settings
class BoilerplateOptions:
    """Which lines are taken out."""

    links: bool = True
    """Lines that are nothing but a link's words, as `read more`, `share`, `next page`."""
    notices: bool = True
    """Lines that speak of cookies, rights or JavaScript, as `This site uses cookies`."""
    max_notice_characters: PositiveInt = 300
    """Characters up to which a line is a notice; a longer one may be an article on them."""
    navigation: bool = True
    """Lines that are menus: three words or fewer between separators (`Home | News | Contact`), again and again."""
    min_navigation_items: Annotated[int, Field(ge=2)] = 4
    """Items from which on such a line is a menu."""
    max_repeats: Annotated[int, Field(ge=1)] | None = 3
    """How often a line may stand in a document; of one that stands there more often, the first stays. null sets no
    limit."""
    min_repeated_characters: PositiveInt = 4
    """Characters from which on a line is counted as repeated; shorter ones are brackets, numbers, rules."""
    lines: Phrases = field(default_factory=list)
    """Further lines to take out, case and the punctuation around them aside."""
    phrases: Phrases = field(default_factory=list)
    """Further phrases of notices, case aside."""


@CLEANING_STEPS.register("boilerplate")
class Boilerplate(CleaningStep):
    """Take lines out that a web page's template put there, as C4 and FineWeb do line by line.

    A document of which nothing is left is empty. What was taken out is counted by kind (`link`, `notice`, `navigation`,
    `repeated`), and the report lists the most frequent lines.
    """

    options_class = BoilerplateOptions
    options: BoilerplateOptions

    def __init__(self, options: BoilerplateOptions) -> None:
        super().__init__(options)
        links = [*_all(LINKS)] if options.links else []
        notices = [*_all(NOTICES)] if options.notices else []
        self._links = frozenset(map(_plain, [*links, *options.lines]))
        self._longest = max([_LINK_CHARACTERS, *map(len, self._links)])
        phrases = [phrase.strip().casefold() for phrase in [*notices, *options.phrases]]
        self._notice = re.compile("|".join(map(re.escape, sorted(phrases)))) if phrases else None

    def clean(self, document: Draft) -> Draft:
        """The document without its boilerplate; the same one if it has none."""
        text, changes, removed = self.without(document.text)
        target, more, others = (None, [], []) if document.target is None else self.without(document.target)
        if not changes and not more:
            return document
        return document._replace(text=text, target=target, changes=(*changes, *more), removed_lines=(*removed, *others))

    def without(self, text: str) -> tuple[str, list[str], list[str]]:
        """A text without its boilerplate, the kinds of the lines that were taken out, and these lines."""
        lines = text.split("\n")
        often = self._often(lines)
        kept: list[str] = []
        kinds: list[str] = []
        removed: list[str] = []
        for line in lines:
            shown = line.strip()
            kind = self.kind(shown) if shown else None
            if kind is None and shown in often:
                kind = "repeated" if often[shown] else None
                often[shown] = True
            if kind is None:
                if shown or not (kinds and kept and not kept[-1].strip()):  # no gap where lines are taken out
                    kept.append(line)
            else:
                kinds.append(kind)
                removed.append(shown[:LINE_CHARACTERS])
        return ("\n".join(kept).strip("\n"), kinds, removed) if kinds else (text, [], [])

    def _often(self, lines: list[str]) -> dict[str, bool]:
        """The lines that stand among these too often, and whether the first was met, which is not yet."""
        options = self.options
        if options.max_repeats is None or len(lines) <= options.max_repeats:
            return {}
        counts = Counter(map(str.strip, lines))
        return {
            line: False
            for line, count in counts.items()
            if count > options.max_repeats and len(line) >= options.min_repeated_characters
        }

    def kind(self, line: str) -> str | None:
        """What kind of boilerplate a line is by itself; None if it is none."""
        if len(line) <= self._longest and _plain(line) in self._links:
            return "link"
        if len(line) > self.options.max_notice_characters:
            return None
        if self._notice is not None and self._notice.search(line.casefold()):
            return "notice"
        return "navigation" if self.options.navigation and self._is_menu(line) else None

    def _is_menu(self, line: str) -> bool:
        if line.endswith(_SENTENCE_ENDS) or line.startswith("|"):  # a table in Markdown begins so
            return False
        items = [item.split() for item in _SEPARATOR.split(line)]
        return len(items) >= self.options.min_navigation_items and all(1 <= len(item) <= 3 for item in items if item)


def _all(phrases: Mapping[str, str]) -> list[str]:
    return [phrase for listed in phrases.values() for phrase in listed.split("|")]


def _plain(line: str) -> str:
    return " ".join(bare(line.split(" "))).casefold()
