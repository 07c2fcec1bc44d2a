# ruff: noqa: RUF001
"""What cleaning knows of languages: thresholds of the papers' rules and stop words, by ISO 639-1 code.

The thresholds are those of FineWeb-2 (Penedo et al., 2025, https://github.com/huggingface/fineweb-2, the files in
`configs/`), which carries Gopher's and FineWeb's rules over from English by the distribution of each measure in a
language's Wikipedia and crawl. English is not in here: the steps' own defaults are those of the papers. Stop words are
the commonest words of a language that carry grammar; English has Gopher's eight (Rae et al., 2021, appendix A).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from langmill.config.constraints import require
from langmill.data.cleaning.base import Draft

LANGUAGE = "language"
"""The metadata field with a document's language, ISO 639-1 or `und`; the step `language` writes it."""
UNDETERMINED = "und"
"""The language of a document that is too short to tell, or of none; ISO 639-2's code for that."""
OptionsT = TypeVar("OptionsT")


_MEASURES = (
    "max_duplicate_lines",
    "max_top_2_gram",
    "max_top_3_gram",
    "max_top_4_gram",
    "max_duplicate_5_grams",
    "max_duplicate_6_grams",
    "max_duplicate_7_grams",
    "max_duplicate_8_grams",
    "max_duplicate_9_grams",
    "max_duplicate_10_grams",
    "min_ended_lines",
    "max_new_lines_per_word",
    "min_mean_word_length",
    "max_mean_word_length",
    "min_alphabetic_words",
)
_BY_LANGUAGE = {
    "de": (0.263, 0.169, 0.153, 0.137, 0.141, 0.134, 0.126, 0.117, 0.108, 0.098, 0.0, 0.152, 0, 15, 0.774),
    "fr": (0.264, 0.161, 0.149, 0.134, 0.15, 0.141, 0.131, 0.121, 0.111, 0.1, 0.1, 0.185, 2, 11, 0.812),
    "es": (0.252, 0.156, 0.14, 0.125, 0.145, 0.136, 0.127, 0.117, 0.108, 0.099, 0.182, 0.138, 3, 14, 0.825),
    "it": (0.246, 0.198, 0.156, 0.133, 0.144, 0.136, 0.127, 0.118, 0.109, 0.1, 0.025, 0.2, 3, 21, 0.807),
    "pt": (0.287, 0.371, 0.191, 0.163, 0.163, 0.153, 0.141, 0.13, 0.119, 0.108, 0.077, 0.186, 3, 13, 0.814),
    "nl": (0.296, 0.213, 0.182, 0.158, 0.156, 0.146, 0.136, 0.126, 0.115, 0.104, 0.102, 0.154, 3, 17, 0.828),
    "pl": (0.32, 0.222, 0.198, 0.176, 0.172, 0.16, 0.148, 0.136, 0.123, 0.111, 0.087, 0.158, 3, 12, 0.726),
    "cs": (0.311, 0.206, 0.183, 0.165, 0.168, 0.157, 0.145, 0.133, 0.121, 0.109, 0.06, 0.182, 3, 11, 0.781),
    "sv": (0.292, 0.242, 0.195, 0.174, 0.156, 0.147, 0.136, 0.125, 0.116, 0.105, 0.2, 0.135, 3, 12, 0.841),
    "da": (0.305, 0.367, 0.297, 0.232, 0.169, 0.158, 0.147, 0.134, 0.123, 0.112, 0.1, 0.182, 3, 11, 0.798),
    "no": (0.283, 0.204, 0.175, 0.15, 0.146, 0.139, 0.128, 0.119, 0.11, 0.099, 0.107, 0.167, 3, 12, 0.783),
    "fi": (0.293, 0.253, 0.202, 0.179, 0.153, 0.143, 0.133, 0.122, 0.112, 0.101, 0.114, 0.161, 3, 14, 0.755),
    "hu": (0.322, 0.226, 0.198, 0.172, 0.169, 0.159, 0.148, 0.136, 0.124, 0.112, 0.067, 0.231, 3, 15, 0.766),
    "ro": (0.289, 0.161, 0.146, 0.131, 0.16, 0.149, 0.138, 0.127, 0.117, 0.106, 0.081, 0.207, 1, 14, 0.779),
    "el": (0.31, 0.194, 0.175, 0.156, 0.174, 0.163, 0.153, 0.142, 0.13, 0.119, 0.167, 0.116, 3, 11, 0.809),
    "ru": (0.322, 0.184, 0.164, 0.146, 0.168, 0.156, 0.145, 0.133, 0.121, 0.109, 0.231, 0.139, 3, 11, 0.713),
    "uk": (0.3, 0.189, 0.172, 0.153, 0.16, 0.148, 0.136, 0.124, 0.113, 0.102, 0.167, 0.175, 3, 11, 0.694),
    "bg": (0.317, 0.173, 0.157, 0.139, 0.17, 0.158, 0.144, 0.131, 0.12, 0.108, 0.154, 0.142, 3, 10, 0.756),
    "tr": (0.272, 0.214, 0.168, 0.147, 0.154, 0.144, 0.134, 0.124, 0.113, 0.103, 0.091, 0.222, 3, 21, 0.773),
    "ar": (0.304, 0.197, 0.172, 0.146, 0.165, 0.153, 0.142, 0.131, 0.12, 0.109, 0.143, 0.189, 2, 9, 0.787),
    "fa": (0.246, 0.189, 0.164, 0.143, 0.157, 0.147, 0.137, 0.127, 0.117, 0.107, 0.2, 0.15, 2, 9, 0.812),
    "he": (0.34, 0.239, 0.202, 0.173, 0.16, 0.151, 0.14, 0.129, 0.118, 0.108, 0.2, 0.126, 2, 9, 0.799),
    "hi": (0.206, 0.208, 0.198, 0.161, 0.135, 0.125, 0.116, 0.108, 0.099, 0.09, 0.091, 0.316, 2, 21, 0.837),
    "bn": (0.203, 0.177, 0.158, 0.147, 0.118, 0.108, 0.099, 0.09, 0.082, 0.073, 0.125, 0.171, 3, 24, 0.8),
    "ta": (0.276, 0.23, 0.212, 0.19, 0.149, 0.14, 0.132, 0.123, 0.114, 0.104, 0.125, 0.195, 4, 37, 0.779),
    "vi": (0.293, 0.223, 0.197, 0.171, 0.178, 0.163, 0.15, 0.136, 0.124, 0.111, 0.333, 0.103, 3, 11, 0.803),
    "id": (0.241, 0.194, 0.166, 0.145, 0.166, 0.155, 0.144, 0.133, 0.122, 0.111, 0.111, 0.157, 3, 12, 0.805),
    "ko": (0.374, 0.282, 0.228, 0.185, 0.201, 0.184, 0.168, 0.154, 0.14, 0.127, 0.062, 0.196, 1, 6, 0.791),
    "ja": (0.328, 0.239, 0.196, 0.172, 0.243, 0.225, 0.207, 0.19, 0.175, 0.159, 0.096, 0.13, 1, 6, 0.759),
    "zh": (0.287, 0.256, 0.201, 0.171, 0.198, 0.182, 0.167, 0.154, 0.14, 0.127, 0.106, 0.178, 1, 5, 0.735),
    "th": (0.349, 0.221, 0.197, 0.162, 0.185, 0.168, 0.152, 0.137, 0.124, 0.111, 0.0, 0.153, 2, 10, 0.9),
    "lo": (0.327, 0.198, 0.175, 0.143, 0.187, 0.175, 0.163, 0.149, 0.135, 0.123, 0.0, 0.2, 2, 9, 0.85),
    "my": (0.278, 0.161, 0.152, 0.133, 0.167, 0.155, 0.145, 0.134, 0.124, 0.113, 0.0, 0.07, 2, 21, 0.75),
    "km": (0.917, 0.594, 0.523, 0.438, 0.175, 0.16, 0.148, 0.135, 0.121, 0.109, 0.0, 0.361, 2, 13, 0.905),
}
THRESHOLDS: Mapping[str, Mapping[str, float | None]] = {
    # FineWeb-2 has the rule on short lines off.
    language: {**dict(zip(_MEASURES, shares, strict=True)), "max_short_lines": None}
    for language, shares in _BY_LANGUAGE.items()
}
"""By language and option: those of `gopher_repetition`, `gopher_quality` and `fineweb`, by the options' names."""

_LANGUAGE_SCORES = """
    ace 0.3, af 0.3, am 0.3, an 0.3, ar 0.711, as 0.699, az 0.3, ba 0.9, bcl 0.3, be 0.892, bg 0.9, bn 0.872, br
    0.809, bs 0.516, ca 0.815, crh 0.3, cs 0.88, cy 0.745, da 0.3, de 0.821, dz 0.32, el 0.826, eo 0.837, es 0.84,
    et 0.638, eu 0.701, ext 0.3, fa 0.85, fi 0.764, fo 0.431, fr 0.824, fuv 0.3, fy 0.723, ga 0.3, gcf 0.677, gcr
    0.3, gd 0.637, gl 0.3, gn 0.3, gom 0.72, grc 0.814, gu 0.728, guw 0.3, ha 0.3, hbo 0.657, he 0.9, hi 0.692, hr
    0.467, ht 0.3, hu 0.744, hy 0.678, id 0.685, ig 0.3, is 0.863, it 0.817, ja 0.886, jv 0.3, ka 0.9, kab 0.645, ki
    0.3, kk 0.844, km 0.3, kn 0.9, ko 0.842, ku 0.858, ky 0.756, la 0.727, lb 0.3, lg 0.3, lij 0.3, ln 0.3, lo
    0.691, lt 0.699, ltg 0.3, lv 0.3, mg 0.619, mk 0.88, ml 0.9, mn 0.889, mr 0.9, ms 0.618, mt 0.3, my 0.839, ne
    0.896, nl 0.689, no 0.813, nso 0.3, oc 0.3, om 0.3, or 0.3, pa 0.84, pcm 0.3, pl 0.689, ps 0.795, pt 0.799, qu
    0.3, ro 0.822, ru 0.9, rw 0.575, sa 0.797, se 0.3, si 0.798, sk 0.667, sl 0.6, sn 0.3, so 0.3, sq 0.757, sr
    0.872, st 0.3, sv 0.629, sw 0.3, ta 0.888, te 0.722, tg 0.766, th 0.9, tk 0.666, tl 0.68, tr 0.875, tt 0.86, ug
    0.874, uk 0.9, ur 0.847, uz 0.631, vec 0.3, vi 0.802, vo 0.68, wa 0.535, xh 0.3, yo 0.3, zh 0.692, zu 0.3
"""
LANGUAGE_SCORES: Mapping[str, float] = {
    language: float(score) for language, score in (pair.split() for pair in _LANGUAGE_SCORES.split(","))
}
"""FineWeb-2's `language_score`: the probability that GlotLID must give a language. English has none there."""

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


def check_languages(options: Any) -> None:
    """Refuse thresholds of a language that the step does not have, in the `__post_init__` of the step's options.

    Raises FieldError where a language's table has another key than the options have, or an impossible value.
    """
    names = sorted(field.name for field in dataclasses.fields(options) if field.name.startswith(("min_", "max_")))
    for language, values in options.languages.items():
        for name in values:
            require(name in names, f"languages.{language}.{name}", values[name], ", ".join(names), "unknown")
        dataclasses.replace(options, languages={}, **values)


def for_language(options: OptionsT, language: str) -> OptionsT:
    """A step's options for documents of a language.

    What the options say of that very language goes first, then FineWeb-2's, if `per_language` is on, then what the
    options say in general.
    """
    told: Any = options
    known: set[str] = {field.name for field in dataclasses.fields(told)}
    table = THRESHOLDS.get(language, {}) if told.per_language else {}
    values = {name: value for name, value in table.items() if name in known} | told.languages.get(language, {})
    changed: OptionsT = dataclasses.replace(told, languages={}, **values)
    return changed
