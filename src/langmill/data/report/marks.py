"""Texts of a corpus as they can be shown on a page: nothing in them acts, and what differs between two is marked."""

from __future__ import annotations

import difflib
import re

from markupsafe import Markup, escape

# Controls but for tab and line end; marks that turn the direction of what follows; what fills no space but parts words,
# save for the joiners that scripts and emoji need; lone surrogates; tags; code points that stand for no character.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u202a-\u202e\u2028\u2029\u2060-\u2064\u2066-\u2069"
    "\u115f\u1160\u2800\u3164\uffa0\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_WORDS = re.compile(r"\s|\w+|[^\w\s]")
_LONGEST = 2000  # characters of any text on a page
_NAME = 80  # characters of a name


def shown(text: str) -> Markup:
    """Escape a text; characters that act on others or can't be seen are written out, as `U+202E`."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    parts, last = [], 0
    for match in _ACTING.finditer(cut):
        parts += [escape(cut[last : match.start()]), Markup('<span class="code">U+{:04X}</span>').format(ord(match[0]))]
        last = match.end()
    return Markup("").join([*parts, escape(cut[last:])])


def name(text: str) -> Markup:
    """The same of a name (of a file, a label, a source): in one line, and shortened in its middle."""
    line = " ".join(text.split()) or "(empty)"
    if len(line) > _NAME:
        line = f"{line[: _NAME // 2]}…{line[-_NAME // 2 :]}"
    return shown(line)


def changed(before: str, after: str) -> Markup:
    """One text in which what was taken out and what was put in are marked."""
    return Markup("").join(
        [
            shown(old) if kind == "equal" else Markup("{}{}").format(_marked("del", old), _marked("ins", new))
            for kind, old, new in _differences(before, after)
        ]
    )


def within(text: str, part: str) -> Markup:
    """A text in which a part of it is marked."""
    before, found, after = text.partition(part) if part else (text, "", "")
    return Markup("{}<mark>{}</mark>{}").format(shown(before), shown(found), shown(after)) if found else shown(text)


def beside(one: str, other: str) -> tuple[Markup, Markup]:
    """Two texts, in each of which is marked what the other has not."""
    found = _differences(one, other)
    left = Markup("").join([shown(old) if kind == "equal" else _marked("del", old) for kind, old, _ in found])
    right = Markup("").join([shown(new) if kind == "equal" else _marked("ins", new) for kind, _, new in found])
    return left, right


def _marked(tag: str, text: str) -> Markup:
    seen = text.replace("\n", "↵\n").replace("\t", "⇥\t").replace("\r", "␍")
    if text.isspace():  # dots that are struck out are no dots
        seen = seen.replace(" ", "·").replace("\xa0", "⍽")
        marked = Markup('<del class="space">{}</del>') if tag == "del" else Markup("<ins>{}</ins>")
    else:
        marked = Markup("<del>{}</del>") if tag == "del" else Markup("<ins>{}</ins>")
    return marked.format(shown(seen)) if text else Markup("")


def _differences(before: str, after: str) -> list[tuple[str, str, str]]:
    """The parts of two texts: `equal` or not, and what each has there."""
    cut = before.endswith("…") and after.endswith("…")
    old, new = (_WORDS.findall(text.removesuffix("…" * cut)[:_LONGEST]) for text in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    found: list[tuple[str, str, str]] = [
        (kind, "".join(old[a:b]), "".join(new[c:d])) for kind, a, b, c, d in matcher.get_opcodes()
    ]
    if cut:  # at the same length, not at the same word: what differs at the very end says nothing
        if len(found) > 1 and found[-1][0] != "equal":
            found.pop()
        found.append(("equal", "…", "…"))
    return found
