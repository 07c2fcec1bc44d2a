"""Check digits of card, account and identity numbers. Each takes the number without its separators."""

from __future__ import annotations

from collections.abc import Sequence

# The dihedral group of order ten, its permutation, as in J. Verhoeff, Error Detecting Decimal Codes (1969).
_DIHEDRAL = tuple(
    tuple((a + b) % 5 + 5 * (b > 4) if a < 5 else (a - b) % 5 + 5 * (b < 5) for b in range(10)) for a in range(10)
)
_PERMUTED = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _PERMUTED.append([_PERMUTED[1][digit] for digit in _PERMUTED[-1]])


def digits_of(text: str) -> list[int]:
    """The digits 0 to 9 in a text."""
    return [ord(sign) - 48 for sign in text if "0" <= sign <= "9"]


def luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit is right by ISO/IEC 7812-1, annex B: every second digit doubled, its digits added up."""
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def mod_97(text: str) -> bool:
    """Whether an IBAN's check digits are right by ISO/IEC 7064 MOD 97-10: letters are 10 to 35, the rest is 1."""
    moved = text[4:] + text[:4]
    return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def mod_11_10(digits: Sequence[int]) -> bool:
    """Whether the last digit is right by ISO/IEC 7064 MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (product + digits[-1]) % 10 == 1


def weighted(digits: Sequence[int], weights: Sequence[int], modulus: int = 11) -> int:
    """The weighted sum of the digits, modulo a number."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=True)) % modulus


def verhoeff(digits: Sequence[int]) -> bool:
    """Whether the last digit is right by J. Verhoeff's scheme."""
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = _DIHEDRAL[check][_PERMUTED[position % 8][digit]]
    return check == 0
