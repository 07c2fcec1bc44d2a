"""International bank account numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from langmill.data.cleaning.detectors.base import DETECTORS, Certainty, Detector, Span
from langmill.data.cleaning.detectors.checksums import mod_97

# Country and length in characters, as in SWIFT's IBAN Registry, release 99 (ISO 13616-1).
_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in (  # noqa: SIM905
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
        "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
        "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
        "YE30"
    ).split()
}
# Searched for by its digits, which are rarer than letters.
_CHECK_DIGITS = re.compile(r"[0-9]{2}(?:(?<=[A-Za-z][0-9]{2})|(?<=[A-Za-z][ \u00a0][0-9]{2}))[ \u00a0-]?[A-Za-z0-9]{4}")
_COUNTRY = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ \u00a0]?")


@DETECTORS.register("iban")
class Iban(Detector):
    """Account numbers whose country has that length, and whose check digits are right; grouped by spaces or hyphens."""

    label = "IBAN"
    certainty = Certainty.proved
    hints = (_CHECK_DIGITS,)

    def find(self, text: str) -> Iterator[Span]:
        """Wherever two letters of a country stand before two digits, as many characters as the country has."""
        for match in _CHECK_DIGITS.finditer(text):
            at = match.start()
            country = _COUNTRY.fullmatch(text, max(0, at - 3), at) or _COUNTRY.fullmatch(text, max(0, at - 2), at)
            length = _LENGTHS.get(country[0][:2].upper(), 0) if country is not None else 0
            if country is None or not length:
                continue
            end = at
            characters: list[str] = []
            while end < len(text) and len(characters) < length - 2:
                if text[end].isascii() and text[end].isalnum():
                    characters.append(text[end].upper())
                elif text[end] not in " \u00a0-" or text[end - 1] in " \u00a0-":
                    break
                end += 1
            whole = len(characters) == length - 2 and not text[end : end + 1].isalnum()
            if whole and mod_97(country[0][:2].upper() + "".join(characters)):
                yield country.start(), end
