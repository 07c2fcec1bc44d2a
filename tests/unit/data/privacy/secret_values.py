"""Made-up keys, tokens and passwords, put together here so that no scanner takes this file for a leak."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

ALNUM = string.ascii_letters + string.digits
URL = ALNUM + "-_"
HEX = "0123456789abcdef"


def of(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


def ending(rng: random.Random, alphabet: str, count: int) -> str:
    """The same, but its last sign is a letter or a digit, so that nobody takes it for the sentence's."""
    return of(rng, alphabet, count - 1) + rng.choice(ALNUM)


def jwt(rng: random.Random) -> str:
    parts = [
        {"alg": rng.choice(["HS256", "RS256"]), "typ": "JWT"},
        {"sub": str(rng.randint(1, 10**9)), "iat": 1516239022},
    ]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, ending(rng, URL, 43)])


def pem(rng: random.Random) -> str:
    sort = rng.choice(["", "RSA ", "EC ", "OPENSSH "]) + "PRIVATE" + " KEY"
    end = rng.choice(["\n", "\n", "\\n", "\r\n"])
    lines = [of(rng, ALNUM + "+/", 64) for _ in range(rng.randint(3, 20))] + [of(rng, ALNUM, 20) + "=="]
    return end.join([f"-----BEGIN {sort}-----", *lines, f"-----END {sort}-----"])


FORMS: list[Callable[[random.Random], str]] = [
    lambda rng: rng.choice(["AKIA", "ASIA"]) + of(rng, string.ascii_uppercase + "234567", 16),
    lambda rng: rng.choice(["ghp", "gho", "ghs"]) + "_" + of(rng, ALNUM, 36),
    lambda rng: "github_" + "pat_" + of(rng, ALNUM, 22) + "_" + of(rng, ALNUM, 59),
    lambda rng: "gl" + "pat-" + ending(rng, URL, 20),
    lambda rng: "xox" + rng.choice("bp") + f"-{rng.randint(10**11, 10**12)}-" + of(rng, ALNUM, 24),
    lambda rng: rng.choice(["sk", "rk", "pk"]) + "_" + rng.choice(["live", "test"]) + "_" + of(rng, ALNUM, 24),
    lambda rng: "sk-" + of(rng, ALNUM, 20) + "T3Blbk" + "FJ" + of(rng, ALNUM, 20),
    lambda rng: "sk-" + "proj-" + ending(rng, URL, 48),
    lambda rng: "sk-" + "ant-api03-" + ending(rng, URL, 93),
    lambda rng: "AI" + "za" + ending(rng, URL, 35),
    lambda rng: "h" + "f_" + of(rng, ALNUM, 34),
    lambda rng: "np" + "m_" + of(rng, ALNUM, 36),
    lambda rng: "S" + "G." + of(rng, URL, 22) + "." + ending(rng, URL, 43),
    jwt,
    pem,
]


def key(rng: random.Random) -> str:
    return rng.choice(FORMS)(rng)


WORDS = ["Sommer", "dragon", "Berlin", "hunter", "monkey", "Passat", "sunshine", "qwertz", "Liverpool"]


def password(rng: random.Random) -> str:
    form = rng.randrange(5)
    if form == 0:
        return of(rng, HEX, rng.choice([32, 40, 64]))
    if form == 1:
        return ending(rng, ALNUM + "+/", 40)
    if form == 2:
        return f"{rng.choice(WORDS)}{rng.randint(100, 9999)}{rng.choice('!#$*')}"
    if form == 3:
        return ending(rng, ALNUM + "!#$%*+^~", rng.randint(12, 24))
    return of(rng, ALNUM, rng.randint(16, 32))


SECRET_MAKERS: dict[str, Callable[[random.Random], str]] = {"key": key, "password": password}
