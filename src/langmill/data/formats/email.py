"""Messages as mail systems keep them (RFC 5322, .eml or .txt): subject and readable body, headers left out."""

from __future__ import annotations

import email
import email.errors
import email.header
import email.message
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.base import FORMATS, Format
from langmill.data.rows import BadRowReason, Raw, Unreadable, escaped

_LABELS = ("spam", "ham")
# What a filter of the collector's wrote into a message it had judged: the answer, not the question.
_VERDICT_START = re.compile(r"^SPAM: -+ Start SpamAssassin results", re.MULTILINE)
_VERDICT_END = re.compile(r"^SPAM: -+ End of SpamAssassin results -*\n?", re.MULTILINE)
_TAGGED_SUBJECT = re.compile(r"^\s*(?:\*{3,}\s*SPAM\s*\*{3,}|\[SPAM\])\s*", re.IGNORECASE)
_FOLDER_WORDS = re.compile("[^a-z]+")
_HEADER_CHARACTERS = 2**13
"""Of a header that is read: far more than programs write, and Python's own parsers take the square of its length."""
_READ_HEADERS = ("subject", "content-type", "content-disposition", "content-transfer-encoding")
_UNNAMED_CHARSETS = {"default", "default_charset", "unknown-8bit", "x-unknown", "gb2312_charset"}


@FORMATS.register("email")
class Email(Format):
    """One row a file, with the fields `subject`, `body`, `text` (both), `folder` and `label`.

    The body is the message's plain text, or its HTML where it has no other (the step `markup` takes that out).
    All other headers are left out: paths, dates and list names would reveal a label by the origin of the mail. The
    label is `spam` or `ham` if that is a word of the folder's name. Bytes that their declared charset can't mean are
    quarantined as undecodable.
    """

    file_endings = frozenset({".eml", ".txt"})
    auto_endings = frozenset({".eml"})
    makes_documents = True
    diagnosable = False

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The one message of a file."""
        data = file.read()
        try:
            message = email.message_from_bytes(data)
            if header := _endless_header(message):
                yield 1, Unreadable(BadRowReason.too_large, f"{header}: {escaped(data)}", num_bytes=len(data))
                return
            subject = _TAGGED_SUBJECT.sub("", _subject(message))
            body = _without_verdict(_body(message))
        except (LookupError, UnicodeError) as error:
            yield 1, Unreadable(BadRowReason.undecodable, f"{error}: {escaped(data)}", num_bytes=len(data))
            return
        except (email.errors.MessageError, ValueError, RecursionError) as error:
            said = f"{type(error).__name__}: {error}"
            yield 1, Unreadable(BadRowReason.unreadable_file, said, num_bytes=len(data))
            return
        folder = path.parent.name
        words = _FOLDER_WORDS.split(folder.lower())
        yield (
            1,
            {
                "subject": subject,
                "body": body,
                "text": f"{subject}\n\n{body}",
                "folder": folder,
                "label": next((label for label in _LABELS if label in words), None),
            },
        )


def _endless_header(message: email.message.Message) -> str | None:
    """The name of a header that no program wrote, for its length."""
    headers = ((name, value) for part in message.walk() for name, value in part.raw_items())
    return next(
        (name for name, value in headers if name.lower() in _READ_HEADERS and len(str(value)) > _HEADER_CHARACTERS),
        None,
    )


def _without_verdict(body: str) -> str:
    """The body without a filter's words about it; words that do not end stay."""
    parts: list[str] = []
    place = 0
    while (start := _VERDICT_START.search(body, place)) and (end := _VERDICT_END.search(body, start.end())):
        parts.append(body[place : start.start()])
        place = end.end()
    return "".join([*parts, body[place:]])


def _subject(message: email.message.Message) -> str:
    """The subject's text, its encoded words (RFC 2047) decoded and its folds undone; empty where there is none.

    Raises:
        LookupError: An encoded word names an unknown charset.
        UnicodeError: It can't be read in its charset.
    """
    raw = next((str(value) for name, value in message.raw_items() if name.lower() == "subject"), "")
    line = " ".join(_decode(raw.encode("utf-8", "surrogateescape"), None).split())
    parts = [
        # Python gives what stands between encoded words in this encoding.
        (
            part
            if isinstance(part, str)
            else part.decode("raw-unicode-escape")
            if charset is None
            else _decode(part, charset)
        )
        for part, charset in email.header.decode_header(line)
    ]
    return " ".join("".join(parts).split())


def _body(message: email.message.Message) -> str:
    """The text of the parts that are meant to be read.

    Raises:
        LookupError: A part names an unknown charset.
        UnicodeError: It can't be read in its charset.
    """
    if message.is_multipart():
        parts = [part for part in message.get_payload() if isinstance(part, email.message.Message)]
        if message.get_content_subtype() == "alternative":  # the same thing in several forms: the plainest one
            readable = [part for part in parts if part.get_content_maintype() in ("text", "multipart")]
            plain = [part for part in readable if part.get_content_type() == "text/plain"]
            parts = (plain or readable)[:1]
        return "\n\n".join(filter(None, (_body(part) for part in parts)))
    if message.get_content_maintype() != "text" or message.get_content_disposition() == "attachment":
        return ""
    payload = message.get_payload(decode=True)
    return _decode(payload, message.get_content_charset()) if isinstance(payload, bytes) else ""


def _decode(data: bytes, charset: str | None) -> str:
    """Bytes as text; without a declared charset they must be ASCII, UTF-8 or, as mail of the time was, Windows-1252.

    Raises:
        LookupError: There is no such charset.
        UnicodeError: The bytes are nothing in it.
    """
    name = (charset or "").lower()
    if not name or name in _UNNAMED_CHARSETS or name in ("us-ascii", "ascii", "iso-8859-1"):
        # Programs that declared ASCII or Latin-1 wrote Windows-1252, as the WHATWG's encoding standard has it too.
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252")
    else:
        text = data.decode(name)
    return text.replace("\r\n", "\n").replace("\r", "\n")
