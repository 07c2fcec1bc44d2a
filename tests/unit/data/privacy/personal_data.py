"""Seeded texts with personal data and secrets in many formats, and with what only looks like them.

Check digits are made here as their issuers describe it, by other code than the detectors', so that a mistake in one is
seen. `test_detection.py` beside this file holds floors on what is found, `benchmarks/privacy.py` prints the table.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from tests.unit.data.privacy.identities import ID_MAKERS
from tests.unit.data.privacy.lookalikes import LOOKALIKES
from tests.unit.data.privacy.secret_values import SECRET_MAKERS

LETTERS, DIGITS = string.ascii_lowercase, string.digits


@dataclass(frozen=True)
class Sample:
    """A text, and the one value in it that must be found; neither kind nor value where nothing must."""

    text: str
    kind: str | None
    value: str


def email(rng: random.Random) -> str:
    """An address."""
    first, last = rng.choice(FIRST), rng.choice(LAST)
    local = rng.choice(
        [
            f"{first}.{last}",
            f"{first[0]}{last}",
            f"{first}_{last}{rng.randint(1, 99)}",
            f"{last}-{first}",
            f"{first}+news",
            f"{first.title()}.{last.title()}",
            f"{first}{rng.randint(1950, 2010)}",
            f"o'{last}",
        ]
    )
    host = rng.choice(
        [
            "gmail.com",
            "web.de",
            "mail.example.co.uk",
            "uni-koeln.de",
            "sub.domain.museum",
            "x.io",
            "bücher.ch",
            "xn--bcher-kva.ch",
            "company.consulting",
            "EXAMPLE.ORG",
        ]
    )
    address = f"{local}@{host}"
    if rng.random() < 0.08:
        return address.replace("@", " [at] ").replace(".", " [dot] ")
    return address.replace("@", "(at)") if rng.random() < 0.04 else address


FIRST = ["anna", "bob", "chidi", "dolores", "emil", "fatima", "grace", "hiro", "ines", "jörg", "katarzyna", "liam"]
LAST = ["miller", "garcia", "schmidt", "okafor", "tanaka", "rossi", "dubois", "novak", "haddad", "lindqvist"]


def ip(rng: random.Random) -> str:
    """An address of the public internet."""
    if rng.random() < 0.35:
        groups = [rng.choice(["2001", "2a00", "2400", "2607", "2a02"]), f"{rng.randint(0x400, 0xCFF):x}"]
        groups += [f"{rng.randint(0, 0xFFFF):x}" for _ in range(6)]
        if rng.random() < 0.5:
            return ":".join(groups[:3]) + "::" + groups[-1]
        return ":".join(groups)
    first = rng.choice([23, 31, 45, 62, 78, 81, 91, 93, 104, 142, 151, 176, 185, 193, 212])
    return f"{first}.{rng.randint(1, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


MAKERS: dict[str, Callable[[random.Random], str]] = {"email": email, "ip": ip, **ID_MAKERS, **SECRET_MAKERS}
"""What makes a value of each kind."""

PLAIN = [
    "{}",
    "It is {}.",
    "Please note: {}",
    "({})",
    "{}, as agreed",
    "Ihre Angabe: {} \u2013 danke",
    "« {} »",
    '"{}"',
    "first line\n{}\nlast line",
    "name: Jane; value: {}; since 2019",
    "| 17 | {} | yes |",
    "see {} or ask",
]
"""What may stand around a value."""
AROUND: dict[str, list[str]] = {
    "email": [*PLAIN, "mailto:{}", "<{}>", "请联系{}谢谢", "Mail:{}!", "cc={};", "Write to {}?", "contact {}: urgent"],
    "ip": [
        "client {} connected",
        "ping {}",
        "http://{}/index.html",
        '{} - - [10/Oct/2023:13:55:36] "GET / HTTP/1.1"',
        "from {} port 22",
        "ip={}",
        "({})",
        "Host {} is down.",
        "{}",
        "[{}]",
    ],
    "phone": [*PLAIN, "Tel. {}", "call me at {} after six", "Fax: {}", "phone={}", "{} (mobile)", "WhatsApp {}"],
    "card": [*PLAIN, "Visa {} 12/27", "card number {} CVV 123", "paid with {}", "cc: {}"],
    "iban": [*PLAIN, "IBAN: {}", "auf das Konto {} überweisen", "{} BIC DEUTDEFF"],
    "us_ssn": [*PLAIN, "SSN: {}", "social security number {}"],
    "de_tax_id": [*PLAIN, "Steuer-ID {}", "IdNr. {}"],
    "es_dni": [*PLAIN, "DNI {}", "con NIE {}, vecino de Madrid"],
    "it_codice_fiscale": [*PLAIN, "C.F. {}", "codice fiscale: {}"],
    "fr_nir": [*PLAIN, "NIR {}", "n° de sécurité sociale {}"],
    "nl_bsn": ["BSN {}", "burgerservicenummer: {}", "Mijn BSN is {}.", "bsn={}", "{} (BSN)"],
    "uk_nino": [*PLAIN, "NI number {}", "National Insurance: {}"],
    "uk_nhs": ["NHS number {}", "NHS No: {}", "nhs {}", "her NHS number is {}.", "{} (NHS)"],
    "br_cpf": [*PLAIN, "CPF {}", "CPF nº {}"],
    "in_aadhaar": ["Aadhaar {}", "UIDAI: {}", "aadhaar no. {}", "My aadhar number is {}."],
    "key": [*PLAIN, "export TOKEN={}", '"apiKey": "{}",', "curl -H 'X-Key: {}'", "token={}&x=1", "# {}"],
    "password": [
        "password={}",
        'api_key = "{}"',
        "PASSWORD: {}",
        '{{"secret": "{}"}}',
        "Authorization: Bearer {}",
        "db_password='{}'",
        "Login: admin, Passwort: {}",
        "https://admin:{}@db.example.org/x",
        "auth_token: {}",
        "ACCESS_KEY={}",
        "the token: {}",
    ],
}
"""The same by kind."""


def samples(kind: str, count: int, seed: int = 0) -> list[Sample]:
    """Texts with a value of a kind."""
    rng = random.Random(f"{seed} {kind}")
    made = []
    for _ in range(count):
        value = MAKERS[kind](rng)
        text = rng.choice(AROUND[kind])
        made.append(Sample(text.replace("{}", value).replace("{{", "{").replace("}}", "}"), kind, value))
    return made


def lookalikes(count: int, seed: int = 0) -> list[Sample]:
    """Texts with nothing to find, each sort as often as the others."""
    rng = random.Random(f"{seed} lookalikes")
    return [Sample(LOOKALIKES[number % len(LOOKALIKES)](rng), None, "") for number in range(count)]
