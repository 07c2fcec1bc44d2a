"""What looks like personal data or a secret and is none."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable

from tests.unit.data.privacy.identities import card, digits, iban

HEX = "0123456789abcdef"


def hexadecimal(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(HEX, k=count))


def version(rng: random.Random, parts: int = 4) -> str:
    return ".".join(str(rng.randint(0, 20)) for _ in range(parts))


def isbn_13(rng: random.Random) -> str:
    twelve = "978" + digits(rng, 9)
    check = -sum(int(sign) * (1 + 2 * (place % 2)) for place, sign in enumerate(twelve)) % 10
    return f"978-{twelve[3]}-{twelve[4:7]}-{twelve[7:12]}-{check}"


def isbn_10(rng: random.Random) -> str:
    nine = digits(rng, 9)
    check = sum(int(sign) * (place + 1) for place, sign in enumerate(nine)) % 11
    return f"{nine[0]}-{nine[1:5]}-{nine[5:]}-{'X' if check == 10 else check}"


def wrong_card(rng: random.Random) -> str:
    number = card(rng)
    return number[:-1] + str((int(number[-1]) + rng.randint(1, 9)) % 10)


def wrong_iban(rng: random.Random) -> str:
    number = iban(rng).upper()
    return number[:2] + f"{(int(number[2:4]) + rng.randint(1, 90)) % 97:02d}" + number[4:]


def date(rng: random.Random) -> str:
    year, month, day = rng.randint(1800, 2030), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice(
        [
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            f"{month}/{day}/{year}",
            f"{year}{month:02d}{day:02d}",
            f"{year}-{month:02d}-{day:02d} 12:30:45",
            f"{year}-{month:02d}-{day:02d}T08:15:00Z",
            f"{year}\u2013{year + 4}",
            f"{year}-{year + 4}",
            f"{day:02d}-{month:02d}-{year}",
        ]
    )


def money(rng: random.Random) -> str:
    whole = rng.randint(10**5, 10**9)
    return rng.choice(
        [
            f"${whole:,}.00",
            f"{whole:,}",
            f"{whole:,}".replace(",", ".") + " €",
            f"{whole:,}".replace(",", " ") + " €",
            f"€{whole}",
            f"{whole:,}".replace(",", "'"),
        ]
    )


Maker = Callable[[random.Random], str]
LOOKALIKES: list[Maker] = [
    # e-mail
    lambda rng: f"logo@{rng.randint(2, 3)}x.png and icon-small@2x.webp",
    lambda rng: f"git@github.com:someone/project{rng.randint(1, 99)}.git",
    lambda rng: f"npm install left-pad@{version(rng, 3)} @babel/core@^7.{rng.randint(1, 30)}.0",
    lambda rng: "@property\ndef name(self): return self.x @ self.y",
    lambda rng: f"root@server{rng.randint(1, 99)}:~# ls, and 5 apples @ 3 each",
    # numbers with points
    lambda rng: f"version {version(rng)} of the firmware",
    lambda rng: f"numpy-{version(rng)}.tar.gz and torch=={version(rng)}",
    lambda rng: f"see section {version(rng)} and OID 1.3.6.1.4.1.{rng.randint(100, 50000)}",
    lambda rng: f"Chrome/{rng.randint(60, 120)}.0.{rng.randint(1000, 6000)}.{rng.randint(1, 200)} Safari/537.36",
    lambda rng: f"Build {version(rng)} ({date(rng)})",
    lambda rng: f"{version(rng)} is out",
    lambda rng: (
        f"listening on 127.0.0.1:{rng.randint(1000, 9999)} and 192.168.{rng.randint(0, 9)}.{rng.randint(1, 254)}"
    ),
    lambda rng: (
        f"{rng.randint(256, 999)}.{rng.randint(256, 999)}.1.1 and 10.0.{rng.randint(0, 255)}.{rng.randint(0, 255)}"
    ),
    # colons
    lambda rng: (
        f"std::vector<face::Id> and abc::def at {rng.randint(0, 23)}:{rng.randint(10, 59)}:{rng.randint(10, 59)}"
    ),
    lambda rng: "mac " + ":".join(hexadecimal(rng, 2) for _ in range(6)),
    # long numbers
    lambda rng: f"Order {digits(rng, 10, '23456789')} has been sent.",
    lambda rng: f"order no. {digits(rng, 3)}-{digits(rng, 7)}-{digits(rng, 7)}",
    lambda rng: f"ISBN {isbn_13(rng)}",
    lambda rng: f"ISBN: {isbn_10(rng)}, paperback",
    lambda rng: f"ISBN {isbn_13(rng).replace('-', '')}",
    date,
    lambda rng: f"from {date(rng)} to {date(rng)}",
    lambda rng: f"a total of {money(rng)} in {rng.randint(1900, 2030)}",
    lambda rng: f"{rng.randint(100, 999)} {rng.randint(100, 999)} {rng.randint(100, 999)} inhabitants",
    lambda rng: f"{rng.random()} and {rng.random() * 1e6} and -{rng.random()}",
    lambda rng: f"{rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}",
    lambda rng: f"1Z{''.join(rng.choices(string.ascii_uppercase + string.digits, k=16))}",
    lambda rng: f"unix time {rng.randint(1_000_000_000, 1_900_000_000)}, in ms {rng.randint(10**12, 2 * 10**12)}",
    lambda rng: f"doi:10.{rng.randint(1000, 9999)}/s{digits(rng, 5)}-0{digits(rng, 2)}-{digits(rng, 5)}-1",
    lambda rng: f"arXiv:{rng.randint(10, 25)}{rng.randint(10, 12)}.{digits(rng, 5)}v{rng.randint(1, 9)}",
    lambda rng: "scores " + " ".join(f"{rng.randint(0, 30)}-{rng.randint(0, 30)}" for _ in range(5)),
    lambda rng: " ".join(str(rng.randint(0, 999)) for _ in range(12)),
    lambda rng: "3.14159265358979323846 and 2.718281828459045",
    lambda rng: f"SSN-like {rng.choice(['000', '666', '912'])}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}",
    lambda rng: f"card {wrong_card(rng)}",
    wrong_iban,
    lambda rng: f"part AB{digits(rng, 6)}X and item {digits(rng, 8)}",
    lambda rng: f"EAN {digits(rng, 13)} SKU {digits(rng, 8)}",
    # identifiers
    lambda rng: f"commit {hexadecimal(rng, 40)}",
    lambda rng: f"sha256:{hexadecimal(rng, 64)}",
    lambda rng: f"md5 {hexadecimal(rng, 32)}  file.tar.gz",
    lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    lambda rng: f"id={uuid.UUID(int=rng.getrandbits(128))}",
    lambda rng: f"#{hexadecimal(rng, 6)} and #{hexadecimal(rng, 8)}",
    lambda rng: "data:image/png;base64," + "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=80)),
    # secrets
    lambda rng: rng.choice(
        [
            "password=your_password",
            "password: ********",
            "api_key=<YOUR_API_KEY>",
            "token = get_token()",
            "PASSWORD=${DB_PASSWORD}",
            "secret: {{ vault_secret }}",
            "password = os.environ['PW']",
            "token = self.tokens[i + 1]",
            "password=None",
            "password: required",
            "the password: ask the administrator",
            "api_key: str = field()",
            'password="changeme123"',
            "token: Optional[str] = None",
            "key=value, token=identifier",
            "access_token=access_token_2",
            "secret = config.secret_v2",
            "tokens: 1024",
            "password=example-password-1",
            "auth: required",
            "tokenizer=bert-base-uncased",
            "passwords: at least 8 characters",
            "token = tokenizer.encode",
        ]
    ),
    lambda rng: "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----",
    lambda rng: f"sk-{rng.choice(['learn', 'estimator', 'image'])} and hf_hub and npm_config, sk_test",
]
