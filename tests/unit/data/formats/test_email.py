"""Messages of all the shapes that mail comes in."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from langmill.data.formats import email
from langmill.data.rows import Unreadable
from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit


def row(content: str | bytes, path: str = "data/easy-ham-1/0001.txt") -> dict[str, Any]:
    [(_, values)] = good(read("email", content, path))
    return values


def part(content_type: str, body: str) -> str:
    return f"--x\nContent-Type: {content_type}\n\n{body}\n"


def multipart(kind: str, *parts: str) -> str:
    return f"Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=x\n\n{''.join(parts)}--x--\n"


def test_subject_and_body_and_nothing_else() -> None:
    message = (
        "From a@b.c Thu Aug 22 2002\nReceived: from there\nX-Spam-Status: Yes\nSubject: Good\n  news\n\nHello\nyou\n"
    )
    assert row(message) == {
        "subject": "Good news",
        "body": "Hello\nyou\n",
        "text": "Good news\n\nHello\nyou\n",
        "folder": "easy-ham-1",
        "label": "ham",
    }


@pytest.mark.parametrize(
    ("folder", "label"),
    [("spam-2", "spam"), ("hard-ham-1", "ham"), ("spammers", None), ("SPAM", "spam"), ("hamlet", None)],
)
def test_the_label_is_a_word_of_the_folders_name(folder: str, label: str | None) -> None:
    assert row("Subject: s\n\nb", f"x/{folder}/1.eml")["label"] == label


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (
            multipart("mixed", part("text/plain", "one"), part("image/gif", "GIF"), part("text/plain", "two")),
            "one\n\ntwo",
        ),
        (multipart("alternative", part("text/html", "<b>x</b>"), part("text/plain", "x")), "x"),
        (multipart("alternative", part("text/html", "<b>x</b>"), part("text/enriched", "y")), "<b>x</b>"),
        (multipart("mixed", "--x\nContent-Disposition: attachment\n\nfile\n", part("text/plain", "text")), "text"),
        ("Subject: s\nContent-Type: image/png\n\nPNG", ""),
        (f"Content-Transfer-Encoding: base64\n\n{base64.b64encode(b'hidden').decode()}", "hidden"),
        ("Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=utf-8\n\n=C3=A4\r\nb", "ä\nb"),
    ],
)
def test_bodies(message: str, body: str) -> None:
    assert row(message)["body"].strip() == body


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("", "ä".encode(), "ä"),
        ("", b"\x93quoted\x94", "“quoted”"),
        ("iso-8859-1", b"\x80 5", "€ 5"),
        ("us-ascii", b"caf\xe9", "café"),
        ("default_charset", b"caf\xe9", "café"),
        ("koi8-r", "привет".encode("koi8-r"), "привет"),
        ("GB2312", "你好".encode("gb2312"), "你好"),
    ],
)
def test_charsets(charset: str, data: bytes, text: str) -> None:
    head = f"Content-Type: text/plain; charset={charset}\n\n" if charset else "Subject: s\n\n"
    assert row(head.encode() + data)["body"] == text


@pytest.mark.parametrize(
    "message",
    [
        b"Content-Type: text/plain; charset=utf-8\n\n\xff\xfe",
        b"Content-Type: text/plain; charset=klingon\n\nx",
        b"Subject: s\n\n\x81",
        b"Subject: =?utf-8?q?=ff?=\n\nx",
    ],
)
def test_bytes_that_their_charset_can_not_mean(message: bytes) -> None:
    assert bad(read("email", message, "spam/1.txt")) == [(1, "undecodable")]


def test_encoded_subjects() -> None:
    assert row("Subject: =?iso-8859-1?q?Gr=FC=DFe?= from\n =?utf-8?b?w4Q=?=\n\nx")["subject"] == "Grüße from Ä"


@pytest.mark.parametrize(
    ("raw", "subject"), [(b"caf\xe9 \x80", "café €"), ("ä\\u0041 b".encode(), "ä\\u0041 b"), (b"=?x", "=?x")]
)
def test_raw_subjects(raw: bytes, subject: str) -> None:
    assert row(b"Subject: " + raw + b"\n\nx")["subject"] == subject


def test_a_filters_verdict_is_taken_out() -> None:
    verdict = "SPAM: ---- Start SpamAssassin results\nSPAM: 12 hits\nSPAM: ---- End of SpamAssassin results ----\n"
    message = f"Subject: *****SPAM***** Buy\n\n{verdict}now"
    assert (row(message)["subject"], row(message)["body"]) == ("Buy", "now")


def test_a_verdict_that_does_not_end_stays() -> None:
    start, end = "SPAM: -- Start SpamAssassin results\n", "SPAM: -- End of SpamAssassin results --\n"
    assert row(f"Subject: s\n\na\n{start}b\n{end}c\n{start}d")["body"] == f"a\nc\n{start}d"


def test_a_header_without_end_is_quarantined() -> None:
    assert bad(read("email", "Subject: " + "=?x?q?" * 2000 + "\n\nx", "spam/1.txt")) == [(1, "too_large")]
    assert row("Received: " + "x" * 10_000 + "\nSubject: s\n\nx")["subject"] == "s"


def test_a_message_too_large_to_be_held_is_quarantined(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "Subject: s\n\nbody"
    monkeypatch.setattr(email, "_MOST_BYTES", len(message))
    assert row(message)["body"] == "body"
    rows = read("email", message + "x" * 10**6, "a.eml")
    assert bad(rows) == [(1, "too_large")]
    assert [values.num_bytes for _, values in rows if isinstance(values, Unreadable)] == [len(message) + 10**6]
