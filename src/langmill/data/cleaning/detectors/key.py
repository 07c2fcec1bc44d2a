"""Keys and tokens of services, by what they begin with; private keys; JSON web tokens."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

from langmill.data.cleaning.detectors.base import DETECTORS, Certainty, Detector, Span

_KNOWN: tuple[tuple[str, str], ...] = (
    # What it begins with, and what follows; each issuer's own documentation, or GitHub's list of secret-scanning
    # patterns, https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns
    *((prefix, "[A-Z2-7]{16}") for prefix in ("AKIA", "ASIA", "ABIA", "ACCA", "AGPA", "AIDA", "AROA", "ANPA", "ANVA")),
    *((prefix, "[A-Za-z0-9]{36,251}") for prefix in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    ("github_pat_", "[A-Za-z0-9_]{36,251}"),
    *((prefix, "[A-Za-z0-9_-]{20,}") for prefix in ("glpat-", "gldt-", "glrt-", "glptt-", "glagent-", "gloas-")),
    *((prefix, "[A-Za-z0-9-]{10,250}") for prefix in ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-")),
    ("xoxe.", "xox[bp]-[A-Za-z0-9-]{10,250}"),
    ("hooks.slack.com/services/", "T[A-Za-z0-9_]{6,}/B[A-Za-z0-9_]{6,}/[A-Za-z0-9_]{16,}"),
    ("discord.com/api/webhooks/", "[0-9]{17,20}/[A-Za-z0-9_-]{60,80}"),
    *((f"{kind}_{mode}_", "[A-Za-z0-9]{16,250}") for kind in ("sk", "rk", "pk") for mode in ("live", "test")),
    ("whsec_", "[A-Za-z0-9+/=]{24,}"),
    ("sk-", "(?:(?:proj|svcacct|admin|ant|or-v1)-[A-Za-z0-9_-]{20,250}|[A-Za-z0-9]{20,64})"),
    ("AIza", "[A-Za-z0-9_-]{35}"),
    ("ya29.", "[A-Za-z0-9_-]{20,}"),
    ("GOCSPX-", "[A-Za-z0-9_-]{28}"),
    ("hf_", "[A-Za-z0-9]{34,40}"),
    ("npm_", "[A-Za-z0-9]{36}"),
    ("pypi-AgE", "[A-Za-z0-9_-]{50,}"),
    ("SG.", r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("dop_v1_", "[a-f0-9]{64}"),
    ("shpat_", "[a-fA-F0-9]{32}"),
    ("shpss_", "[a-fA-F0-9]{32}"),
    ("dckr_pat_", "[A-Za-z0-9_-]{27}"),
    ("rubygems_", "[a-f0-9]{48}"),
    ("sq0atp-", "[A-Za-z0-9_-]{22}"),
    ("EAAAE", "[A-Za-z0-9_-]{59}"),
    ("gsk_", "[A-Za-z0-9]{48,56}"),
    ("r8_", "[A-Za-z0-9]{37}"),
    ("lin_api_", "[A-Za-z0-9]{40}"),
    ("nvapi-", "[A-Za-z0-9_-]{60,70}"),
    ("AGE-SECRET-KEY-1", "[A-Z0-9]{58}"),
    ("AccountKey=", "[A-Za-z0-9+/]{86}=="),
)
# One pattern for each beginning, tried where that stands: one of all of them would be tried at every letter.
_TOKENS = {
    prefix: re.compile(rf"{re.escape(prefix)}(?<![A-Za-z0-9_]{re.escape(prefix)}){rest}(?![A-Za-z0-9])")
    for prefix, rest in _KNOWN
}
_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# What a key's lines hold, line ends written as in JSON or a string too; for one whose end is missing.
_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s]|\\[nr]|[\"'+>])*+")
_MOST_PEM = 20_000  # characters of the longest private key (RSA of 16,384 bits has 12,700)
_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])(?P<header>eyJ[A-Za-z0-9_-]{8,}+)\.[A-Za-z0-9_-]{2,}+(?:\.[A-Za-z0-9_-]++|\.(?=\.[A-Za-z0-9_-])){0,3}"
)


@DETECTORS.register("key")
class Key(Detector):
    """What is a key by what it begins with: tokens of services, private keys in PEM (RFC 7468), JWTs (RFC 7519)."""

    label = "KEY"
    certainty = Certainty.proved
    hints = ("_", *(prefix for prefix in _TOKENS if "_" not in prefix), "PRIVATE KEY", "eyJ")

    def find(self, text: str) -> Iterator[Span]:
        """Each sort in its turn."""
        for prefix, token in _TOKENS.items():
            if prefix in text:
                yield from (match.span() for match in token.finditer(text))
        if "PRIVATE KEY" in text:
            yield from _private_keys(text)
        if "eyJ" in text:
            yield from (match.span() for match in _JWT.finditer(text) if _is_header(match["header"]))

    def normal(self, value: str) -> str:
        """The key itself: case means something."""
        return value


def _private_keys(text: str) -> Iterator[Span]:
    at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        end = _END.search(text, begin.end(), begin.end() + _MOST_PEM)
        if end is not None:
            at = end.end()
        else:
            body = _BODY.match(text, begin.end(), begin.end() + _MOST_PEM)
            at = body.end() if body is not None else begin.end()
        stripped = len(text[begin.start() : at].rstrip())
        yield begin.start(), begin.start() + stripped


def _is_header(part: str) -> bool:
    """Whether the first part of a token is base64 of a JSON object that names an algorithm."""
    part = part[:2048]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, UnicodeDecodeError, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header
