"""Addresses of machines on the internet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from langmill.config.typed import settings
from langmill.data.cleaning.detectors.base import DETECTORS, Detector, Span, named_near

_V4 = re.compile(r"[0-9](?<![\w.][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])")
_V6_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:")
_V6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![\w:])"
)
_VERSION = re.compile(
    r"(?:\bv|\bver|versions?|release[ds]?|build|rev(?:ision)?|firmware|driver|sections?|chapter|clause|oid|§|[<>=~!]=)"
    r"[\s.:=v\"'#-]{0,8}\Z",
    re.IGNORECASE,
)
_PRODUCT = re.compile(r"[A-Za-z][\w+]{0,20}[-/@_]v?\Z")  # `Chrome/1.2.3.4`, `numpy-1.2.3.4`
_NETWORK = re.compile(
    r"\b(?:ip|ipv[46]|ips|host|hosts|server|client|address|addr|gateway|subnet|ping|ssh|dns|router|proxy|from|remote|"
    r"peer|port|listen|connect(?:ed|ion)?|login|logged|adresse?|indirizzo|direcci\w+)\b|://|::ffff:|[\[(]\Z",
    re.IGNORECASE,
)
_ATTACHED = re.compile(r":[0-9]{2,5}(?![\w.])|/[0-9]{1,2}(?![\w.])")  # a port, the length of a prefix
_BEFORE = 24
_SMALL = 32  # numbers of a version that grew by one at a time; an address has a larger one but for one in 4,000


@settings
class IpOptions:
    """Which addresses are found."""

    private: bool = False
    """Also those that are nobody's on the internet: private, loopback, link-local, multicast, documentation."""


@DETECTORS.register("ip")
class Ip(Detector):
    """IPv4 (dotted, RFC 791) and IPv6 (RFC 4291) addresses.

    `1.2.3.4` is an address and a version. A version is what follows a word that says so or the name of a product; four
    numbers below 32 are an address only where a word of networks, a port or a prefix's length stands beside them.
    """

    label = "IP"
    hints = (re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]"), _V6_HINT)
    options_class = IpOptions
    options: IpOptions

    def find(self, text: str) -> Iterator[Span]:
        """Both versions of the protocol."""
        for match in _V4.finditer(text):
            if self._is_public(match[0]) and not _is_version(match):
                yield match.span()
        if _V6_HINT.search(text):
            for match in _V6.finditer(text):
                if self._is_public(match[0]):
                    yield match.span()

    def _is_public(self, written: str) -> bool:
        try:
            address = ipaddress.ip_address(written)
        except ValueError:
            return False
        if self.options.private:
            return address.version == 4 or not address.is_unspecified
        return address.is_global and not address.is_multicast

    def normal(self, value: str) -> str:
        """The address in its canonical form."""
        try:
            return ipaddress.ip_address(value).compressed
        except ValueError:  # it was found together with its neighbours
            return super().normal(value)


def _is_version(match: re.Match[str]) -> bool:
    text, (start, end) = match.string, match.span()
    before = text[max(0, start - _BEFORE) : start]
    if _VERSION.search(before):
        return True
    if named_near(_NETWORK, text, (start, end)) or _ATTACHED.match(text, end):
        return False
    return _PRODUCT.search(before) is not None or max(map(int, match[0].split("."))) < _SMALL
