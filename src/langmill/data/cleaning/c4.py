"""Lines and pages that are no sentences, by C4's rules (Raffel et al., 2020, https://arxiv.org/abs/1910.10683, 2.2).

Where the paper leaves room, the code that made C4 decides (`c4_utils.py` of TensorFlow Datasets): words for a line,
sentences for a page, citations, lines of policies.
"""

from __future__ import annotations

import re

from pydantic import NonNegativeInt, PositiveInt

from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, LINE_CHARACTERS, CleaningStep, Draft, Dropped
from langmill.data.cleaning.languages import LETTERS_PER_WORD, check_language, language_of
from langmill.data.cleaning.words import split_words

_ENDS = (".", "?", "!", '"', "\u201d", "\u3002", "\uff01", "\uff1f", "\u061f", "\u06d4", "\u0964", "\u17d4", "\u104b")
"""C4's own four, and those of other scripts."""
_ELLIPSES = ("...", "\u2026")
_CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
_SENTENCE_END = re.compile(
    r"[.!?\u2026\u061f\u06d4\u0964](?=[\s\"'\u201d\u2019)\]]|\Z)|[\u3002\uff01\uff1f\u17d4\u104b]"
)
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


@settings
class C4Options:
    """Which rules are applied; those on lines change documents, those on pages drop them."""

    require_end_punctuation: bool = True
    """Take lines out that do not end with a full stop, an exclamation or question mark, or a closing quotation mark."""
    min_words_per_line: NonNegativeInt = 5
    """Take shorter lines out; 0 takes none."""
    max_word_length: PositiveInt | None = 1000
    """Take lines out with a longer word, in characters; null takes none."""
    remove_citations: bool = True
    """Take `[1]`, `[edit]` and `[citation needed]` out of lines."""
    remove_javascript: bool = True
    """Take lines out that mention JavaScript: most ask the reader to turn it on."""
    remove_policies: bool = True
    """Take lines out that mention cookies, terms of use or a privacy policy."""
    drop_lorem_ipsum: bool = True
    """Drop documents with `lorem ipsum` in them."""
    drop_curly_brackets: bool = True
    """Drop documents with a `{` in them: most are code."""
    min_sentences: NonNegativeInt = 3
    """Drop documents of which fewer sentences are left; 0 drops none."""
    language: str | None = None
    """The language of all documents; null goes by each document's metadata, and takes English where it says none. It
    decides only how words are counted."""

    def __post_init__(self) -> None:
        check_language(self.language)


@CLEANING_STEPS.register("c4")
class C4(CleaningStep):
    """Keep the lines of a document that are sentences, and the documents that are made of them. The target stays."""

    options_class = C4Options
    options: C4Options

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document with its sentences, or why it is dropped."""
        options, lowered = self.options, document.text.lower()
        if options.drop_lorem_ipsum and "lorem ipsum" in lowered:
            return Dropped("lorem_ipsum")
        if options.drop_curly_brackets and "{" in lowered:
            return Dropped("curly_bracket")
        size = LETTERS_PER_WORD.get(language_of(document, options.language), 1)
        kept: list[str] = []
        changes: list[str] = []
        removed: list[str] = []
        for line in document.text.split("\n"):
            shown = _CITATION.sub("", line) if options.remove_citations and "[" in line else line
            if shown != line:
                changes.append("citation")
            if not shown or shown.isspace():
                kept.append("")
                continue
            reason = self._reason(shown.strip(), size)
            if reason is None:
                kept.append(shown)
            else:
                changes.append(reason)
                removed.append(line[:LINE_CHARACTERS])
        sentences = len(_SENTENCE_END.findall("\n".join(kept)))
        if sentences < options.min_sentences:
            return Dropped("too_few_sentences")
        if not changes:
            return document
        return document._replace(text="\n".join(kept).strip("\n"), changes=tuple(changes), removed_lines=tuple(removed))

    def _reason(self, line: str, letters_per_word: int) -> str | None:
        """Why a line is taken out, as a kind of change."""
        options, lowered = self.options, line.lower()
        words = split_words(line)
        reason = None
        if options.max_word_length is not None and max(map(len, words)) > options.max_word_length:
            reason = "long_word"
        elif options.require_end_punctuation and (not line.endswith(_ENDS) or line.endswith(_ELLIPSES)):
            reason = "no_end_punctuation"
        elif len(words) / letters_per_word < options.min_words_per_line:
            reason = "few_words"
        elif options.remove_javascript and "javascript" in lowered:
            reason = "javascript"
        elif options.remove_policies and any(phrase in lowered for phrase in _POLICY):
            reason = "policy"
        return reason
