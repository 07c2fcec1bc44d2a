"""Passwords and other secrets that only the word beside them, and their own randomness, give away."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from langmill.data.cleaning.detectors.base import DETECTORS, Certainty, Detector, Span

_ASSIGNED = re.compile(
    # The value is looked at and not stepped over: it may itself hold a word and a value, as `login: password=…` does.
    r"(?:=>|:=|[=:])[ \t]*+(?:(?:Bearer|Basic|Token|bearer|basic|token)[ ]++)?"
    r"(?=(?P<quote>[\"'`])(?P<quoted>[^\"'`\r\n]{6,128}+)[\"'`]|(?![:=]|//)(?P<bare>[^\s\"'`,;<>(){}\[\]|&]{6,128}+))"
)
_BEARER = re.compile(r"\b(?:Bearer|bearer)[ ]+(?P<bare>[A-Za-z0-9._~+/=-]{16,512}+)")
_BEFORE = 48
_WORD = re.compile(
    r"(?:pass(?:word|wd|phrase|code)?|passwort|kennwort|contrase(?:ñ|n)a|mot[_ ]de[_ ]passe|senha|wachtwoord|pwd|"
    r"secret|token|api[_ -]?key|access[_ -]?key|private[_ -]?key|"
    r"auth(?!ors?\b|enti)(?:orization|[_-]?key)?|credentials?|"
    r"encryption[_ -]?key|signing[_ -]?key|account[_ -]?key|密码|パスワード|пароль)"
    r"\w{0,12}[\"'`\]]{0,2}[ \t]{0,8}\Z"  # of the small letters before a value
)
_IN_ADDRESS = re.compile(
    r"://[^\s/?#@:\"'<>]{0,128}+:(?![0-9]{1,5}[/?#])(?P<secret>[^\s@\"'<>]{1,256}+)@(?=[A-Za-z0-9\[])"
)
# What a template, a program or a person writes where the secret would be.
_NO_SECRET = re.compile(
    r"example|placeholder|change_?me|redacted|dummy|sample|your[_ -]|insert|undefined|required|optional|"
    r"my[_ -]?(?:password|secret|token|key)|x{4}|\*{3}|\.{3}|_{4}|<|>|\$\{|\{\{"
)
_FORMAT = re.compile(r"\$[a-z_(]+|%\(.*|%s|none|null|true|false", re.DOTALL)
_CODE = re.compile(r"(?<![\w$])[A-Za-z_$][\w$]*+(?:(?:\.|->|::)[\w$]*+)++")  # `self.token`, `config.api_key2`
_PATH = re.compile(r"(?:https?:)?//|[./~][\w.-]{0,64}/|[A-Za-z]:\\")
_BITS = 2.5  # per character: of ten different ones 3.3, of a word written twice below it
# A part of a path that is no name: base64 has slashes too.
_RANDOM_NAME = re.compile(r"(?<![A-Za-z0-9])(?=[a-z0-9]*+[A-Z])(?=[A-Z0-9]*+[a-z])(?=[A-Za-z]*+[0-9])[A-Za-z0-9]{12}")
_SHORTEST = 6  # characters of a secret
_TOLD_BY = 80  # characters of a value in which a word may say that it is none


@DETECTORS.register("password")
class Password(Detector):
    """What follows `password=`, `api_key: "…"` or `Bearer`, where it is as random as a secret; and `user:secret@host`.

    Random is what mixes sorts of characters and has 2.5 bits a character by Shannon's entropy of its own characters;
    names, paths, calls and what says that it is a placeholder are no secrets.
    """

    label = "PASSWORD"
    certainty = Certainty.likely
    hints = ("=", ":", "earer ")

    def find(self, text: str) -> Iterator[Span]:
        """The value alone, without its name and quotation marks."""
        for match in _ASSIGNED.finditer(text):
            group = "quoted" if match["quote"] else "bare"
            value = match[group] if match["quote"] else match[group].rstrip(".:")  # of the sentence, not of the secret
            if len(value) < _SHORTEST or value.replace("_", "").replace(".", "").isalpha():  # as most are
                continue
            named = _WORD.search(text[max(0, match.start() - _BEFORE) : match.start()].casefold())
            if named and is_secret(value, quoted=group == "quoted"):
                yield match.start(group), match.start(group) + len(value)
        if "earer " in text:
            for match in _BEARER.finditer(text):
                if is_secret(match["bare"], quoted=False):
                    yield match.span("bare")
        if "://" in text:
            for match in _IN_ADDRESS.finditer(text):
                if not is_template(match["secret"]):
                    yield match.span("secret")

    def normal(self, value: str) -> str:
        """The secret itself: case means something."""
        return value


def entropy(text: str) -> float:
    """Bits per character, of the frequencies of a text's own characters (Shannon, 1948)."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def is_template(value: str) -> bool:
    """Whether a value says that a secret is to be put in its place."""
    beginning = value[:_TOLD_BY].casefold()
    return _NO_SECRET.search(beginning) is not None or _FORMAT.fullmatch(beginning) is not None


def is_secret(value: str, *, quoted: bool) -> bool:
    """Whether a value is random enough for a secret.

    Args:
        value: What stands beside a word such as `password`.
        quoted: Whether it stands in quotation marks; a bare one may be the name of a variable.
    """
    named = is_template(value) or (_PATH.match(value) and not _RANDOM_NAME.search(value))
    if len(value) < _SHORTEST or " " in value.strip() or named:
        return False
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    others = len(value) - letters - digits
    small, large = any(map(str.islower, value)), any(map(str.isupper, value))
    sorts = small + large + bool(digits) + bool(others)
    if sorts < 2 or not letters or entropy(value) < _BITS:
        return False
    if not digits:  # words are joined by points, hyphens and capitals: `user-token`, `accessKey`
        return others > 0 and small and large and bool(re.search(r"[!#$%&*+@^?~]", value)) and len(value) >= 8
    if quoted:
        return True
    if _CODE.fullmatch(value) and not any(len(part) >= 16 for part in re.split(r"\W+", value)):
        return False
    return digits >= 3 or (sorts >= 3 and digits >= 1 and not re.fullmatch(r"[A-Za-z_]+[0-9]{1,2}", value))
