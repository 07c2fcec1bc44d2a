"""E-mail addresses."""

from __future__ import annotations

import re

from langmill.data.cleaning.detectors.base import DETECTORS, PatternDetector

# Letters of scripts that part their words by spaces: before an address in Chinese no space need stand, and none of that
# is part of it.
_LETTER = "A-Za-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u052f"
_LOCAL = rf"{_LETTER}_.+'\-"
_AT = r"(?:@|\uff20|%40| ?(?:\[(?:(?i:at)|@)\]|\((?:(?i:at)|@)\)|\{(?i:at)\}|<(?i:at)>) ?)"
_WRITTEN_DOT = r" ?(?:\[(?:(?i:dot)|\.)\]|\((?:(?i:dot)|\.)\)|\{(?i:dot)\}|<(?i:dot)>) ?"
_DOT = rf"(?:\.|{_WRITTEN_DOT})"
_HOST = rf"[{_LETTER}](?:[{_LETTER}\-]{{0,61}}[{_LETTER}])?"
_ADDRESS = re.compile(
    # The look behind makes each run of characters be tried once, and not from each of its characters.
    rf"(?<![{_LOCAL}])(?P<local>[{_LOCAL}]{{1,64}}+(?:{_WRITTEN_DOT}[{_LOCAL}]{{1,64}}+){{0,3}}){_AT}(?:{_HOST}{_DOT}){{1,8}}"
    r"(?P<top>xn--[A-Za-z0-9\-]{2,59}|[A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f]{2,24})(?![A-Za-z0-9])"
)
_WRITTEN_OUT = re.compile(r"[\[({<](?i:at)[\])}>]")
_AT_SIGN, _DOT_SIGN = re.compile(_AT), re.compile(_DOT)
_FILE_ENDING = re.compile(
    "avif|bmp|css|gif|heic|html?|ico|jpe?g|js|json|less|pdf|png|scss|svg|tiff?|ts|txt|webp|ya?ml", re.IGNORECASE
)
_REPOSITORY = re.compile(r":(?!//)[\w.~/-]")  # what follows `git@host` in an address of one

_USER_INFO = re.compile(r"://[^\s/@:]{0,64}:(?![0-9]{1,5}[/?#])[^\s@]{0,128}\Z")  # of `https://user:secret@host`


@DETECTORS.register("email")
class Email(PatternDetector):
    """Addresses as RFC 5321 has them in practice, international ones too (RFC 6531), and `name [at] host [dot] org`."""

    label = "EMAIL"
    hints = ("@", "\uff20", "%40", _WRITTEN_OUT)
    pattern = _ADDRESS

    def holds(self, match: re.Match[str]) -> bool:
        """Not `image@2x.png`, the `git@host:path` of a repository, or the end of `https://user:secret@host`."""
        if _FILE_ENDING.fullmatch(match["top"]) or not match["local"].strip("._-+'"):
            return False
        text, start = match.string, match.start()
        if text.find(":", start - 128 if start > 128 else 0, start) >= 0 and _USER_INFO.search(
            text, max(0, start - 192), start
        ):
            return False
        return match["local"] != "git" or not _REPOSITORY.match(match.string, match.end())

    def normal(self, value: str) -> str:
        """An address in small letters, its signs not written out."""
        return _DOT_SIGN.sub(".", _AT_SIGN.sub("@", value)).casefold()
