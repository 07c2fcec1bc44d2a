"""Numbers of payment cards."""

from __future__ import annotations

import re
from collections.abc import Iterator

from langmill.data.cleaning.detectors.base import DETECTORS, LONG_NUMBER, Certainty, Detector, Span
from langmill.data.cleaning.detectors.checksums import digits_of, luhn

# Not within a word, a decimal or an identifier; grouped as on the card, or not at all.
_BEGIN = r"[0-9](?<![\w.,][0-9])(?<!\w-[0-9])"
_NUMBER = re.compile(
    _BEGIN + r"(?:[0-9]{12,18}|[0-9]{3}(?P<separator>[ -])(?:[0-9]{4}(?P=separator)[0-9]{4}(?P=separator)[0-9]{1,4}"
    r"(?P<tail>(?P=separator)[0-9]{3}(?![0-9]))?|[0-9]{6}(?P=separator)[0-9]{4,5}))(?!\w|-\w|[.,][0-9])"
)
# First digits from and to, and the numbers of digits, as the issuers publish them (ISO/IEC 7812-1 gives out the
# ranges): Visa; Mastercard; American Express; Diners Club; Discover; JCB; UnionPay; Maestro; Dankort; Mir; RuPay; Troy.
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = tuple(
    (first, last, frozenset(lengths))
    for first, last, lengths in (
        (4, 4, (13, 16, 19)),
        (51, 55, (16,)),
        (2221, 2720, (16,)),
        (34, 34, (15,)),
        (37, 37, (15,)),
        (300, 305, (14, 16)),
        (3095, 3095, (14, 16)),
        (36, 36, (14,)),
        (38, 39, (14, 16)),
        (6011, 6011, (16, 19)),
        (644, 649, (16, 19)),
        (65, 65, (16, 19)),
        (3528, 3589, (16, 19)),
        (62, 62, (16, 17, 18, 19)),
        (5018, 5018, (16, 18, 19)),
        (5019, 5019, (16,)),
        (5020, 5020, (16, 18, 19)),
        (5038, 5038, (16, 18, 19)),
        (6304, 6304, (16, 18, 19)),
        (6759, 6763, (16, 18, 19)),
        (2200, 2204, (16,)),
        (508, 508, (16,)),
        (60, 60, (16,)),
        (81, 82, (16,)),
        (9792, 9792, (16,)),
    )
)


@DETECTORS.register("card")
class Card(Detector):
    """Card numbers whose check digit, issuer, length and grouping fit."""

    label = "CARD"
    certainty = Certainty.proved
    hints = (LONG_NUMBER,)

    def find(self, text: str) -> Iterator[Span]:
        """Also in a list of numbers, and before a security code of three digits."""
        at = 0
        while (match := _NUMBER.search(text, at)) is not None:
            start, end = match.span()
            if not is_card(match[0]) and match["tail"]:
                end = match.start("tail")
            if is_card(text[start:end]):
                yield start, end
                at = end
            else:
                at = start + 1


def is_card(written: str) -> bool:
    """Whether issuer, length and check digit fit, by ISO/IEC 7812-1."""
    digits = digits_of(written)
    first = "".join(map(str, digits[:4]))
    known = any(
        low <= int(first[: len(str(low))]) <= high and len(digits) in lengths for low, high, lengths in _ISSUERS
    )
    return known and len(set(digits)) > 1 and luhn(digits)
