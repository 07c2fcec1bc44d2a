"""From raw rows to clean text: Unicode NFC, no mark-up, no control characters, even white space.

Cleaning one text is a pure function of it, so batches are cleaned in several processes and come back in their order:
the number of workers has no influence on the result.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import resource_tracker
from typing import TypeVar

from langmill.config.sections import Cleaning
from langmill.data.folding import key_of, nfc, pair_key_of
from langmill.errors import DataError

_BATCH_ROWS = 2000
_BATCH_CHARACTERS = 1_000_000

# Mark-up -------------------------------------------------------------------------------------------------------------

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
        text = _TAG.sub(_tag_text, _without_hidden(text) if "<!" in text or "</" in text else text)
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text


def _without_hidden(text: str) -> str:
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


# Characters ----------------------------------------------------------------------------------------------------------

# Cc but tab and the ends of lines; lone surrogates; soft hyphen, zero-width space, word joiner, byte-order mark;
# non-characters.
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ODD_SPACE = re.compile("[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SPACES = re.compile(" {2,}")
_SPACED_LINE_END = re.compile(" ?\n ?")
_MANY_LINE_ENDS = re.compile("\n{3,}")
_OUTER_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")  # before the first line with something on it


def clean_text(text: str, *, markup: bool, layout: bool = False) -> str:
    """One text made clean; cleaning it again without `markup` changes nothing.

    Args:
        text: Any text.
        markup: Take HTML out.
        layout: Keep white space as it is, but for the ends of lines and empty lines around the text.
    """
    if markup:
        text = strip_markup(text)
    if layout:
        text = _NOT_TEXT.sub("", _LINE_END.sub("\n", text))
        text = _OUTER_LINES.sub("", text.rstrip())
        return nfc(text)
    if not text.replace("\n", "").isprintable():  # printable text has no control characters and no space but " "
        text = _LINE_END.sub("\n", text)
        text = _NOT_TEXT.sub("", text)
        text = _ODD_SPACE.sub(" ", text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if " \n" in text or "\n " in text:
        text = _SPACED_LINE_END.sub("\n", text)
    if "\n\n\n" in text:
        text = _MANY_LINE_ENDS.sub("\n\n", text)
    return nfc(text.strip(" \n"))


# Documents -----------------------------------------------------------------------------------------------------------


class DropReason(StrEnum):
    """Why a document is left out of the corpus."""

    empty = "empty"
    """No text is left of it."""
    too_short = "too_short"
    too_long = "too_long"
    same = "same"
    """The target reads like the text."""
    duplicate = "duplicate"
    """Another document reads alike, and so does its target."""
    other_side = "other_side"
    """Its text stands on another side of the split too, where `split.by` put it."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What cleaning makes of one row."""

    text: str
    target: str | None
    dropped: DropReason | None
    """Why the document is left out, by its text alone (duplicates show only among documents)."""
    key: bytes
    """Equal for texts that are alike (`folding.key_of`)."""
    pair_key: bytes
    """Equal for documents whose texts and targets are alike."""


def clean_one(text: str, target: str | None, cleaning: Cleaning) -> Cleaned:
    """Clean a row's text and target, and judge its length."""
    text = _clean(text, cleaning)
    target = None if target is None else _clean(target, cleaning) or None
    key = key_of(text)
    target_key = None if target is None else key_of(target)
    dropped = None
    if not text:
        dropped = DropReason.empty
    elif len(text) < cleaning.min_characters:
        dropped = DropReason.too_short
    elif len(text) > cleaning.max_characters:
        dropped = DropReason.too_long
    elif cleaning.drop_same and key == target_key:
        dropped = DropReason.same
    return Cleaned(text, target, dropped, key, key if target_key is None else pair_key_of(key, target_key))


def _clean(text: str, cleaning: Cleaning) -> str:
    return clean_text(text, markup=cleaning.strip_markup, layout=cleaning.keep_layout)


Row = TypeVar("Row")


def clean_rows(
    rows: Iterable[Row], texts: Callable[[Row], tuple[str, str | None]], cleaning: Cleaning
) -> Iterator[tuple[Row, Cleaned]]:
    """Clean rows in their order, in `cleaning.workers` processes if there are enough of them to be worth it.

    Args:
        rows: What to clean; read only a few batches ahead.
        texts: A row's text and target.
        cleaning: The settings.
    """
    batches = _batches(rows, texts)
    first = list(itertools.islice(batches, 2))
    if cleaning.workers == 1 or len(first) < 2:
        for batch in itertools.chain(first, batches):
            yield from zip(batch, _clean_batch([texts(row) for row in batch], cleaning), strict=True)
        return
    # Started afresh, not forked: a fork copies the locks of threads that it does not copy.
    pool = ProcessPoolExecutor(cleaning.workers, multiprocessing.get_context("spawn"), initializer=_begin_worker)
    under_way: deque[tuple[list[Row], Future[list[Cleaned]]]] = deque()
    try:
        with _interrupts_held_back():
            _start_workers(pool, cleaning.workers)
        for batch in itertools.chain(first, batches):
            under_way.append((batch, pool.submit(_clean_batch, [texts(row) for row in batch], cleaning)))
            if len(under_way) > 2 * cleaning.workers:
                done, future = under_way.popleft()
                yield from zip(done, future.result(), strict=True)
        for done, future in under_way:
            yield from zip(done, future.result(), strict=True)
    except BrokenProcessPool as error:
        raise DataError(
            "A process that cleans was killed, most likely for want of memory; lower cleaning.workers and run again."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_workers(pool: ProcessPoolExecutor, workers: int) -> None:
    """Have the pool start all its processes: it starts one for each piece of work while none is idle."""
    for _ in range(workers):
        pool.submit(int)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends, and keep it for good from the processes that are started in it.

    They inherit what is held back. A terminal sends Ctrl-C to them too, and before `_begin_worker` is reached each
    would die of it with a stack trace.
    """
    resource_tracker.ensure_running()  # else the first start of a process lets Ctrl-C through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _clean_batch(batch: Sequence[tuple[str, str | None]], cleaning: Cleaning) -> list[Cleaned]:
    return [clean_one(text, target, cleaning) for text, target in batch]


def _batches(rows: Iterable[Row], texts: Callable[[Row], tuple[str, str | None]]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        text, target = texts(row)
        size += len(text) + len(target or "")
        if len(batch) == _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _begin_worker() -> None:
    """End when the parent ends, however it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
