"""HTML out of texts."""

from __future__ import annotations

import html
import re

from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft

_LINE_TAGS = (
    "address|article|aside|blockquote|body|br|caption|center|dd|details|dir|div|dl|dt|fieldset|figcaption|figure|footer|"
    "form|h[1-6]|head|header|hr|html|legend|li|main|menu|nav|ol|optgroup|option|p|pre|section|select|summary|table|"
    "tbody|tfoot|thead|title|tr|ul"
)
_CELL_TAGS = "td|th"
_INLINE_TAGS = (
    "a|abbr|acronym|audio|b|base|bdi|bdo|big|button|canvas|cite|code|col|colgroup|data|datalist|del|dfn|em|embed|font|"
    "frame|frameset|i|iframe|img|input|ins|kbd|label|link|map|mark|meta|meter|noframes|noscript|object|output|param|"
    "picture|progress|q|rp|rt|ruby|s|samp|script|small|source|span|strike|strong|style|sub|sup|svg|template|textarea|"
    "time|track|tt|u|var|video|wbr"
)
_FLAGS = (
    "allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer|disabled|hidden|loop|multiple|"
    "muted|nohref|noshade|nowrap|open|readonly|required|reversed|selected"
)
_VALUE = r"""(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+)"""
_ATTRIBUTE = rf"\s+(?:[A-Za-z_:@][\w:.-]*\s*=\s*{_VALUE}|(?:{_FLAGS})(?=[\s/>]))"
# Only HTML's own elements with well-formed attributes, so that "i <3 u", "a < b" and "x <y and y> z" stay as they are.
_TAG = re.compile(
    rf"</?(?:(?P<line>{_LINE_TAGS})|(?P<cell>{_CELL_TAGS})|{_INLINE_TAGS})(?:{_ATTRIBUTE})*\s*/?>", re.IGNORECASE
)
# What hides something, and what ends that. Two patterns and not one with `.*?` between them: where the end is missing,
# such a pattern looks for it from every beginning to the end of the text.
_HIDING = re.compile(
    r"(?P<comment><!--)|<!doctype\b[^<>]*>|<(?:(?P<script>script)|(?P<style>style))\b[^<>]*>", re.IGNORECASE
)
_HIDING_ENDS = {
    "comment": re.compile("-->"),
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
}
# With the semicolon only: "?a=1&region=2" holds no registered sign.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def strip_markup(text: str) -> str:
    """Take HTML out: comments, scripts and styles with their content, tags, and entities one level deep.

    A tag of a block or a line break becomes a new line, one of a table cell a space, any other one nothing.
    """
    if "<" in text:
        text = _TAG.sub(_tag_text, without_hidden(text) if "<!" in text or "</" in text else text)
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text


def without_hidden(text: str) -> str:
    """The text without comments, document types, scripts and styles; one that does not end hides nothing."""
    parts: list[str] = []
    done = place = 0
    endless: set[str] = set()
    while found := _HIDING.search(text, place):
        kind, place = found.lastgroup, found.end()
        if kind in endless:
            continue
        if kind is not None:  # a document type is hidden by itself
            end = _HIDING_ENDS[kind].search(text, place)
            if end is None:
                endless.add(kind)
                continue
            place = end.end()
        parts.append(text[done : found.start()])
        done = place
    return "".join([*parts, text[done:]])


def _tag_text(tag: re.Match[str]) -> str:
    return "\n" if tag["line"] else " " if tag["cell"] else ""


@CLEANING_STEPS.register("markup")
class Markup(CleaningStep):
    """Take HTML tags out and turn entities into characters; a block or line-break tag becomes a new line."""

    def clean(self, document: Draft) -> Draft:
        """The document without mark-up."""
        return document.rewritten(strip_markup)
