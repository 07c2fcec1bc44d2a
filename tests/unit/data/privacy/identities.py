"""Made-up telephones, cards, accounts and identity numbers whose check digits are right."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

import phonenumbers

Maker = Callable[[random.Random], str]


def digits(rng: random.Random, count: int, first: str = string.digits) -> str:
    return rng.choice(first) + "".join(rng.choices(string.digits, k=count - 1))


REGIONS = ["US", "GB", "DE"]


def phone(rng: random.Random) -> str:
    """A number as people write it: of any country with its code, of `REGIONS` as at home."""
    home = rng.random() < 0.6
    region = rng.choice(REGIONS if home else ["FR", "IT", "ES", "PL", "NL", "IN", "JP", "BR", "AU", "CH", "SE", "ZA"])
    while True:
        example = phonenumbers.example_number_for_type(
            region, rng.choice([phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
        )
        assert example is not None
        keep = len(str(example.national_number)) - 6
        number = phonenumbers.PhoneNumber(
            country_code=example.country_code,
            national_number=int(str(example.national_number)[:keep] + digits(rng, 6)),
            italian_leading_zero=example.italian_leading_zero,
        )
        if phonenumbers.is_valid_number(number):
            break
    form = phonenumbers.PhoneNumberFormat
    if not home:
        written = phonenumbers.format_number(number, rng.choice([form.INTERNATIONAL, form.E164]))
        return written.replace(" ", rng.choice([" ", " ", "-", "."]))
    written = phonenumbers.format_number(number, rng.choice([form.NATIONAL, form.NATIONAL, form.INTERNATIONAL]))
    if region == "US" and rng.random() < 0.4:
        national = str(number.national_number)
        return rng.choice(["{}.{}.{}", "({}){}-{}", "1-{}-{}-{}", "+1 {} {} {}", "{}-{}-{}"]).format(
            national[:3], national[3:6], national[6:]
        )
    return written.replace(" ", "/", 1) if region == "DE" and rng.random() < 0.3 else written


def luhn_digit(number: str) -> str:
    """The digit that makes the number right: doubled from the right, beginning with the last."""
    total = 0
    for place, sign in enumerate(reversed(number)):
        value = int(sign) * (2 if place % 2 == 0 else 1)
        total += value if value < 10 else value - 9
    return str(-total % 10)


def card(rng: random.Random) -> str:
    start, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("2720", 16),
            ("34", 15),
            ("37", 15),
            ("36", 14),
            ("6011", 16),
            ("649", 16),
            ("3528", 16),
            ("6200", 16),
            ("2200", 16),
            ("4", 13),
            ("4", 19),
        ]
    )
    number = start + digits(rng, length - len(start) - 1)
    number += luhn_digit(number)
    separator = rng.choice(["", " ", "-"])
    if not separator or length == 13:
        return number
    groups = {14: (4, 6, 4), 15: (4, 6, 5), 16: (4, 4, 4, 4), 19: (4, 4, 4, 4, 3)}[length]
    return separator.join(grouped(number, groups))


def grouped(text: str, lengths: tuple[int, ...]) -> list[str]:
    parts, at = [], 0
    for length in lengths:
        parts.append(text[at : at + length])
        at += length
    return parts


def iban(rng: random.Random) -> str:
    country, pattern = rng.choice(
        [
            ("DE", "9" * 18),
            ("FR", "9" * 10 + "X" * 11 + "99"),
            ("GB", "AAAA" + "9" * 14),
            ("NL", "AAAA" + "9" * 10),
            ("ES", "9" * 20),
            ("IT", "A" + "9" * 10 + "X" * 12),
            ("AT", "9" * 16),
            ("CH", "9" * 5 + "X" * 12),
            ("NO", "9" * 11),
            ("PL", "9" * 24),
            ("MT", "AAAA" + "99999" + "X" * 18),
            ("SE", "9" * 20),
            ("BR", "9" * 23 + "AX"),
        ]
    )
    sets = {"9": string.digits, "A": string.ascii_uppercase, "X": string.digits + string.ascii_uppercase}
    account = "".join(rng.choice(sets[sign]) for sign in pattern)
    number = "".join(str(string.digits.find(sign) if sign.isdigit() else ord(sign) - 55) for sign in account + country)
    written = f"{country}{98 - int(number + '00') % 97:02d}{account}"
    form = rng.random()
    if form < 0.5:
        return " ".join(written[at : at + 4] for at in range(0, len(written), 4))
    return written.lower() if form < 0.55 else written


def us_ssn(rng: random.Random) -> str:
    area = rng.choice([number for number in range(1, 900) if number != 666])
    return f"{area:03d}-{rng.randint(1, 99):02d}-{rng.randint(1, 9999):04d}"


def de_tax_id(rng: random.Random) -> str:
    chosen = rng.sample(string.digits, 9)
    ten = [*chosen, rng.choice(chosen)]
    rng.shuffle(ten)
    if ten[0] == "0":
        return de_tax_id(rng)
    remainder = 10
    for sign in ten:
        total = (int(sign) + remainder) % 10
        remainder = (total if total else 10) * 2 % 11
    number = "".join(ten) + str((11 - remainder) % 10)
    return rng.choice([number, " ".join(grouped(number, (2, 3, 3, 3)))])


def es_dni(rng: random.Random) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if rng.random() < 0.4:
        first, rest = rng.choice("XYZ"), digits(rng, 7)
        letter = letters[int(str("XYZ".index(first)) + rest) % 23]
        return rng.choice([f"{first}{rest}{letter}", f"{first}-{rest}-{letter}"])
    number = digits(rng, 8)
    letter = letters[int(number) % 23]
    dotted = f"{number[:2]}.{number[2:5]}.{number[5:]}-{letter}"
    return rng.choice([number + letter, f"{number}-{letter}", f"{number} {letter}", dotted])


ODD = {
    **dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)),
    **dict(zip("ABCDEFGHIJ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)),
    **dict(zip("KLMNOPQRSTUVWXYZ", (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True)),
}


def it_codice_fiscale(rng: random.Random) -> str:
    name = "".join(rng.choices(string.ascii_uppercase, k=6))
    day = rng.randint(1, 31) + rng.choice([0, 40])
    code = (
        f"{name}{rng.randint(0, 99):02d}{rng.choice('ABCDEHLMPRST')}{day:02d}{rng.choice('ABCDEFGHIL')}{digits(rng, 3)}"
    )
    total = sum(ODD[sign] for sign in code[0::2])
    total += sum(int(sign) if sign.isdigit() else ord(sign) - ord("A") for sign in code[1::2])
    return code + chr(ord("A") + total % 26)


def fr_nir(rng: random.Random) -> str:
    department = rng.choice(["75", "13", "59", "2A", "2B", "97"])
    number = f"{rng.choice('12')}{digits(rng, 2)}{rng.randint(1, 12):02d}{department}{digits(rng, 6)}"
    value = int(number.replace("A", "0").replace("B", "0")) - {"2A": 1_000_000, "2B": 2_000_000}.get(department, 0)
    whole = number + f"{97 - value % 97:02d}"
    return rng.choice([whole, " ".join(grouped(whole, (1, 2, 2, 2, 3, 3, 2)))])


def nl_bsn(rng: random.Random) -> str:
    while True:
        eight = digits(rng, 8, "123456789")
        check = sum(int(sign) * (9 - place) for place, sign in enumerate(eight)) % 11
        if check < 10:
            return rng.choice([f"{eight}{check}", f"{eight[:4]}.{eight[4:6]}.{eight[6:]}{check}"])


def uk_nino(rng: random.Random) -> str:
    prefix = rng.choice("ABCEGHJKLMOPRSTWXYZ") + rng.choice("ABCEGHJKLMPRSTWXYZ")
    if prefix in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}:
        return uk_nino(rng)
    six, suffix = digits(rng, 6), rng.choice("ABCD")
    return rng.choice([prefix + six + suffix, f"{prefix} {six[:2]} {six[2:4]} {six[4:]} {suffix}"])


def uk_nhs(rng: random.Random) -> str:
    while True:
        nine = digits(rng, 9, "4679")
        check = 11 - sum(int(sign) * (10 - place) for place, sign in enumerate(nine)) % 11
        if check != 10:
            number = nine + str(check % 11)
            return rng.choice([number, " ".join(grouped(number, (3, 3, 4))), "-".join(grouped(number, (3, 3, 4)))])


def br_cpf(rng: random.Random) -> str:
    number = digits(rng, 9)
    for _ in range(2):
        rest = sum(int(sign) * (len(number) + 1 - place) for place, sign in enumerate(number)) * 10 % 11
        number += str(rest % 10)
    return f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"


INVERSE = "0432156789"
TABLE = [
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
]
MIXED = ["0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"]


def in_aadhaar(rng: random.Random) -> str:
    eleven = digits(rng, 11, "23456789")
    check = 0
    for place, sign in enumerate(reversed(eleven)):
        check = int(TABLE[check][int(MIXED[(place + 1) % 8][int(sign)])])
    number = eleven + INVERSE[check]
    return rng.choice([number, " ".join(grouped(number, (4, 4, 4))), "-".join(grouped(number, (4, 4, 4)))])


ID_MAKERS: dict[str, Maker] = {
    "phone": phone,
    "card": card,
    "iban": iban,
    "us_ssn": us_ssn,
    "de_tax_id": de_tax_id,
    "es_dni": es_dni,
    "it_codice_fiscale": it_codice_fiscale,
    "fr_nir": fr_nir,
    "nl_bsn": nl_bsn,
    "uk_nino": uk_nino,
    "uk_nhs": uk_nhs,
    "br_cpf": br_cpf,
    "in_aadhaar": in_aadhaar,
}
