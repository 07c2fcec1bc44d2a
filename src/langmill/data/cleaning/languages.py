# ruff: noqa: RUF001
"""Rules of cleaning that go by the language: stop words, and which thresholds a document is judged by.

Stop words are the commonest words of a language that carry grammar; English has Gopher's eight (Rae et al., 2021,
appendix A).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from langmill.config.constraints import require
from langmill.data.cleaning.base import CleaningStep, Draft, Dropped
from langmill.data.cleaning.language_thresholds import LOOSEST, THRESHOLDS

LANGUAGE = "language"
"""The metadata field with a document's language, ISO 639-1 or `und`; the step `language` writes it."""
UNDETERMINED = "und"
"""The language of a document that is too short to tell, or of none; ISO 639-2's code for that."""
OptionsT = TypeVar("OptionsT")


STOP_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.casefold().split())
    for language, words in {
        "en": "the be to of and that have with",
        "de": "der die das und in zu den mit von ist nicht ein eine für auf sich dem es im als auch an werden aus wird",
        "fr": "de la le et les des en un une du est que dans qui pour pas au sur ne par plus ce avec il",
        "es": "de la que el en y los se del las un por con una su para es al lo como más no",
        "it": "di e che la il un a per in una non è del i le con si da al della sono",
        "pt": "de a o que e do da em um para com não uma os no se na por mais as dos",
        "nl": "de van het een en in is dat op te zijn met voor niet aan er om ook als",
        "pl": "w i na z się nie do to że jest o jak po co od za przez dla",
        "cs": "a v se na je že s z do o i to jako za by pro ve",
        "sv": "och i att det som en på är av för med till den inte om ett",
        "da": "og i at det en den til er som på de med af for ikke der",
        "no": "og i å det som en på er av for med til at den ikke de",
        "fi": "ja on ei se että oli joka mutta hän myös kun ovat tai kuin mukaan",
        "hu": "a az és hogy nem is egy van meg azt volt de ez csak",
        "ro": "de și în la a cu pe din că nu o un care se mai pentru este",
        "el": "και το να του η της με για από την τα είναι που ο στην",
        "ru": "и в не на что с он как по это к но из у за от для а же так",
        "uk": "і в не на що з як та до у за від для це а по також",
        "bg": "и на да в за се не от е с че са до по като",
        "tr": "ve bir bu da de için ile çok olarak daha ne gibi var olan",
        "ar": "في من على أن إلى التي عن لا ما هذا الذي هذه مع كان",
        "fa": "و در به از که این را با است برای آن یک تا",
        "he": "של את על לא הוא זה עם היא כי גם או אל",
        "hi": "के में की है और से का को पर यह हैं एक ने कि",
        "bn": "ও এবং এই করে থেকে এর না একটি হয় তার জন্য",
        "ta": "மற்றும் ஒரு என்று இந்த அந்த என்ற இது தான்",
        "vi": "và của là có cho được trong các một không với những để",
        "id": "yang dan di dengan untuk dari ini itu pada dalam tidak adalah ke",
        "ko": "이 그 수 및 등 것 있는 있다 한 더",
        "ja": "の に は を た が で て と し れ さ",
        "zh": "的 一 是 在 不 了 有 和 人 这 這 中 为 為 上 个 個 我 以 他",
        "th": "ที่ และ ใน เป็น ของ การ มี ได้ ไม่ ให้ ว่า",
        "lo": "ທີ່ ແລະ ໃນ ເປັນ ຂອງ ການ ມີ ໄດ້",
        "my": "သည် များ နှင့် ကို တွင် မှာ ၏ က",
        "km": "នៅ និង ជា ការ បាន ដែល មាន ក្នុង នេះ",
    }.items()
}
"""By language, case-folded."""

LETTERS_PER_WORD: Mapping[str, int] = {"zh": 2, "ja": 2, "th": 4, "lo": 4, "my": 4, "km": 4}
"""Of languages that put no space between words, about how many letters a word has. `split_words` gives each letter as a
word there, so that as many of them are counted as one."""


def language_of(document: Draft, told: str | None) -> str:
    """The language by which a document is judged.

    Args:
        document: The document; the step `language` has written its language into it, if it stands before.
        told: What the options say.
    """
    return told or document.metadata.get(LANGUAGE) or "en"


def check_language(language: str | None, *others: str) -> None:
    """Refuse a language that no rule knows, in the `__post_init__` of a step's options.

    Args:
        language: The option `language`.
        others: Languages for which the options have thresholds of their own.

    Raises:
        FieldError: It is neither a known language nor `und`.
    """
    known = {"en", UNDETERMINED, *THRESHOLDS, *others}
    require(
        language is None or language in known,
        "language",
        language,
        f"{' '.join(sorted(known))}; {UNDETERMINED} judges any other language",
    )


def check_languages(options: Any) -> None:
    """Refuse a language that is not known, and thresholds of one that the step does not have.

    It is called in the `__post_init__` of the options of a step `ByLanguage`.

    Raises FieldError where `check_language` does, or where a language's table has another key than the options have, or
    an impossible value.
    """
    check_language(options.language, *options.languages)
    names = sorted(field.name for field in dataclasses.fields(options) if field.name.startswith(("min_", "max_")))
    for language, values in options.languages.items():
        for name in values:
            require(name in names, f"languages.{language}.{name}", values[name], ", ".join(names), "unknown")
        dataclasses.replace(options, language=None, languages={}, **values)


def for_language(options: OptionsT, language: str) -> OptionsT:
    """A step's options for documents of a language.

    What the options say of that very language goes first, then FineWeb-2's, if `per_language` is on, then what the
    options say in general. Of a language that FineWeb-2's thresholds are not known of, and of documents whose language
    could not be told, the loosest of all languages' hold: FineWeb-2 has thresholds for whatever language it keeps, so
    what it would do with these nobody can say, and what breaks the loosest breaks those of every language.
    """
    told: Any = options
    known: set[str] = {field.name for field in dataclasses.fields(told)}
    by_language = told.per_language and language != "en"
    table = THRESHOLDS.get(language, LOOSEST) if by_language else {}
    values = {name: value for name, value in table.items() if name in known} | told.languages.get(language, {})
    changed: OptionsT = dataclasses.replace(told, language=None, languages={}, **values)
    return changed


class ByLanguage(CleaningStep):
    """A step that drops documents by rules whose thresholds hang on the language.

    Its options have `language`, `per_language` and `languages` beside the thresholds. A document's language is what the
    options say, else what its metadata say, where the step `language` writes it, else English; its thresholds are those
    of `for_language`. The report counts the documents that were judged by the loosest ones.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._rules: dict[str, Callable[[str], Dropped | None]] = {}

    @abstractmethod
    def rules(self, options: Any, language: str) -> Callable[[str], Dropped | None]:
        """What gives the first rule that a text breaks, as a reason with what was measured.

        Args:
            options: The thresholds for documents of the language.
            language: The language, which decides what a word is too.
        """

    def clean(self, document: Draft) -> Draft | Dropped:
        """The document as it is, unless its text breaks a rule."""
        language = language_of(document, self.options.language)
        broken = self._rules.get(language)
        if broken is None:
            broken = self._rules[language] = self.rules(for_language(self.options, language), language)
        return broken(document.text) or document

    def takes_loosest(self, language: str) -> bool:
        """Whether documents of a language are judged by the loosest thresholds of all."""
        told = self.options
        return bool(told.per_language) and told.language is None and language not in {"en", *THRESHOLDS}
