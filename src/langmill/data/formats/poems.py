# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""Chinese poems as the chinese-poetry collection keeps them (.json): arrays of title, author and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.base import FORMATS, Format
from langmill.data.formats.json_rows import read_json_array
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

_FORMS = {
    (4, 5): "五言绝句",
    (4, 7): "七言绝句",
    (8, 5): "五言律诗",
    (8, 7): "七言律诗",
}
"""Regulated forms by their number of verse lines and of characters in each."""
_OTHER_FORM = "其他"
_DYNASTIES = {"tang": "唐", "song": "宋"}

_HAN = "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U000323af\uf900-\ufaff〇"
_VERSE = re.compile("[^。，！？；]+[。，！？；][」』]*|[^。，！？；]+$")
_SIGNS = re.compile(f"[^{_HAN}]")
# Anything else is an editor's mark: gaps (□ ○ ●), variants in brackets, the number of a note, a character that the
# collection could only describe ({上休下鳥}) or that lies in a private area.
_POEM = re.compile(f"[{_HAN}。，！？；、：「」『』]+")
# A title may name a book or a piece of music (《文選》), and ○ stands in it for a zero.
_TITLE = re.compile(f"[{_HAN}。，、：·？《》\\s○]+")
_NOTE_IN_TITLE = re.compile("（[^（）]*）")
_CATALOGUE_ENTRY = re.compile("詩題：|首句：|^(?:無正文|空|缺)。$")  # of a poem that is lost: no verse
_FRAGMENT = re.compile("[殘斷佚]?句(?=$|[\\s（])|存目")  # titles of what is left of a poem


@FORMATS.register("poems")
class Poems(Format):
    """Whole poems with the fields `title`, `author`, `dynasty` (from the file's name), `form`, `poem` and `prompt`.

    `form` is one of the four regulated forms where the number of verse lines and their length say so, else 其他. `poem`
    has one verse line a line, with its punctuation; `prompt` is form and title. Lines and single couplets of lost poems
    (their title is 句) are quarantined as unfinished, poems with gaps, brackets or notes in them as damaged. An
    editor's note behind a title is left out.
    """

    file_endings = frozenset({".json"})
    text = True

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The poems of one file, placed by number."""
        dynasty = next((name for word, name in _DYNASTIES.items() if word in path.name.lower().split(".")), "")
        for number, values in read_json_array(file):
            yield number, values if isinstance(values, Unreadable) else _poem(values, dynasty)


def _poem(values: Values, dynasty: str) -> Values | Unreadable:
    title, author, paragraphs = values.get("title"), values.get("author"), values.get("paragraphs")
    if not (
        isinstance(title, str)
        and isinstance(author, str)
        and isinstance(paragraphs, list)
        and all(isinstance(paragraph, str) for paragraph in paragraphs)
    ):
        return Unreadable(BadRowReason.unexpected_shape, str(dict(values)))
    text = "".join("".join(paragraphs).split())
    title = " ".join(_NOTE_IN_TITLE.sub("", title).split())
    shown = f"{title}: {text}"
    if not text or _FRAGMENT.match(title):
        return Unreadable(BadRowReason.unfinished, shown)
    if not _POEM.fullmatch(text) or not _TITLE.fullmatch(title) or _CATALOGUE_ENTRY.search(text):
        return Unreadable(BadRowReason.damaged_text, shown)
    lines = _VERSE.findall(text)
    if not lines:
        return Unreadable(BadRowReason.unfinished, shown)  # punctuation alone
    form = form_of(lines)
    return {
        "title": title,
        "author": author,
        "dynasty": dynasty,
        "form": form,
        "poem": "\n".join(lines),
        "prompt": f"{form}：{title}",
    }


def form_of(lines: list[str]) -> str:
    """The form of a poem by its verse lines, punctuation aside."""
    lengths = {len(_SIGNS.sub("", line)) for line in lines}
    return _FORMS.get((len(lines), lengths.pop()), _OTHER_FORM) if len(lengths) == 1 else _OTHER_FORM
