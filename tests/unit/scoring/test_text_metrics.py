"""Figures of written texts: equal to the libraries' own, also under a bootstrap's weights."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.scoring.metrics.base import METRICS, text_metrics
from langmill.scoring.metrics.matching import normalised
from langmill.tasks.conditional_generation import references_of
from tests.refused import refused

pytestmark = pytest.mark.unit
WANTED = [
    "The cat sat on the mat.",
    "Eine Datei wurde nicht gefunden.",
    "Speichern",
    "Es gibt %d Nachrichten in {folder}.",
    "Was für ein schöner Tag!",
]
WRITTEN = [
    "The cat sits on the mat .",
    "Die Datei wurde nicht gefunden",
    "",
    "Es gibt {folder} %d.",
    "Was für ein Tag!",
]


def pairs(wanted: list[str] = WANTED) -> list[Document]:
    return [Document(f"d{number}", text, target=text) for number, text in enumerate(wanted)]


def figure(name: str, written: list[str], documents: list[Document], weights: np.ndarray | None = None) -> np.ndarray:
    (metric,) = text_metrics([name])
    scores = pa.table(metric.columns(written, documents))
    return metric.measure(scores, np.ones((1, len(documents))) if weights is None else weights)


@pytest.mark.parametrize(("name", "theirs"), [("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)])
def test_corpus_scores_are_sacrebleus(name: str, theirs: object) -> None:
    assert callable(theirs)
    assert figure(name, WRITTEN, pairs())[0] == pytest.approx(theirs(WRITTEN, [WANTED]).score, abs=1e-9)
    chosen = [0, 0, 3, 1, 4]
    weights = np.bincount(chosen, minlength=5)[None].astype(float)
    expected = theirs([WRITTEN[index] for index in chosen], [[WANTED[index] for index in chosen]]).score
    assert figure(name, WRITTEN, pairs(), weights)[0] == pytest.approx(expected, abs=1e-9)


def test_a_signature_says_how_it_was_computed() -> None:
    bleu, chrf, exact = text_metrics(["bleu", "chrf", "exact_match"])
    assert bleu.metric.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert "nc:6|nw:0" in chrf.metric.signature
    assert exact.metric.signature == ""
    for name in ("rouge_l", "token_f1", "squad_f1", "squad_exact_match"):
        assert text_metrics([name])[0].metric.signature.startswith("tok:")


# ruff: noqa: RUF001
SCRIPTS = {
    "zh": ["静夜思，床前明月光。", "疑是地上霜。"],
    "ja": ["東京タワーへ行きます。", "映画はおもしろかった。"],
    "th": ["สวัสดีครับ ยินดีต้อนรับ", "ภาพยนตร์เรื่องนี้ดีมาก"],
    "ru": ["Привет, большой мир!", "Фильм был очень хорош."],
    "de": ["Die Größe der Straße.", "Über den Fluss führt eine Brücke."],
    "hi": ["नमस्ते दुनिया, यह अच्छा है।", "फ़िल्म बहुत अच्छी थी।"],
    "ko": ["안녕하세요 세계 여러분 모두.", "영화가 정말 아주 좋았어요."],
    "ar": ["مرحبا بالعالم، هذا جيد.", "كان الفيلم جيدا جدا حقا."],
}
OTHERS = {
    "zh": ["春曉，春眠不覺。", "處處聞啼鳥。"],
    "ja": ["大阪", "本"],
    "th": ["ขอบ", "หนู"],
    "ru": ["Вечер", "Книга"],
    "de": ["Grüße", "Masse"],
    "hi": ["किताब", "पानी"],
    "ko": ["책", "물"],
    "ar": ["كتاب", "ماء"],
}
GENERAL = ["bleu", "bleu_zh", "chrf", "exact_match", "token_f1", "squad_exact_match", "squad_f1"]
GENERAL += ["rouge_1", "rouge_2", "rouge_l"]


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize("name", GENERAL)
def test_every_script_is_read(name: str, language: str) -> None:
    wanted = SCRIPTS[language]
    best = 100 if name.startswith(("bleu", "chrf")) else 1
    assert figure(name, wanted, pairs(wanted))[0] == pytest.approx(best)
    assert figure(name, OTHERS[language], pairs(wanted))[0] < (30 if best == 100 else 0.3)
    assert figure(name, wanted[:1], pairs(wanted[:1]))[0] == pytest.approx(best)  # one example


@pytest.mark.parametrize("name", ["rouge_1", "rouge_l", "token_f1", "squad_f1", "squad_exact_match"])
def test_other_words_are_other_words(name: str) -> None:
    assert figure(name, ["Größe"], pairs(["Grüße"]))[0] == 0
    assert figure(name, ["+"], pairs(["-"]))[0] == 0


def test_words_of_scripts_without_spaces_are_characters() -> None:
    wanted = pairs(["静夜思"])
    for name in ("rouge_1", "rouge_l", "token_f1", "squad_f1"):
        assert figure(name, ["静夜詩"], wanted)[0] == pytest.approx(2 / 3)
    assert figure("rouge_2", ["静夜詩"], wanted)[0] == pytest.approx(1 / 2)
    assert figure("token_f1", ["สวัสดี"], pairs(["สวัส"]))[0] == pytest.approx(6 / 7)  # four characters and three


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [("zh", "zh"), ("ja", "char"), ("th", "char"), ("ru", "13a"), ("de", "13a"), ("ko", "13a")],
)
def test_bleu_takes_the_tokenizer_that_the_references_need_and_says_so(language: str, tokenizer: str) -> None:
    wanted = SCRIPTS[language]
    written = [wanted[0], wanted[1][::-1]]
    (metric,) = text_metrics(["bleu"])
    scores = pa.table(metric.columns(written, pairs(wanted)))
    expected = sacrebleu.corpus_bleu(written, [wanted], tokenize=tokenizer).score
    assert metric.measure(scores, np.ones((1, 2)))[0] == pytest.approx(expected, abs=1e-9)
    assert f"|tok:{tokenizer}|" in metric.metric_of(scores).signature
    assert "|tok:13a|" in metric.metric_of(scores.drop_columns(["bleu_tokenizer"])).signature  # an older table


def test_a_foreign_word_does_not_change_the_tokenizer() -> None:
    (metric,) = text_metrics(["bleu"])
    assert (
        "tok:13a"
        in metric.metric_of(pa.table(metric.columns(WRITTEN, pairs([*WANTED[:4], "Das heißt 明."])))).signature
    )


def test_a_reference_without_words_says_nothing_of_words() -> None:
    assert figure("rouge_l", ["…", "good"], pairs(["%", "good"]))[0] == 1


def test_squads_punctuation_is_that_of_every_script() -> None:
    assert normalised("„Straße“, ¿qué? 你好。") == "straße qué 你好"
    assert normalised("A") == "a" and normalised("+") == "+"  # what is left of an answer may be nothing


@pytest.mark.parametrize(("name", "kind"), [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")])
def test_rouge_is_the_mean_of_the_packages_f_measure(name: str, kind: str) -> None:
    scorer = RougeScorer([kind])  # its tokenizer keeps a to z alone, so the texts that both can read are compared
    expected = [scorer.score(w, h)[kind].fmeasure for w, h in zip(WANTED[:4], WRITTEN[:4], strict=True)]
    assert figure(name, WRITTEN[:4], pairs(WANTED[:4]))[0] == pytest.approx(np.mean(expected))
    found = {"rouge_1": 2 * 4 / (4 + 5), "rouge_2": 2 * 2 / (3 + 4), "rouge_l": 2 * 4 / (4 + 5)}
    assert figure(name, WRITTEN[4:], pairs(WANTED[4:]))[0] == pytest.approx(found[name])


def test_squads_normalisation_and_best_answer() -> None:
    assert normalised("  The  Eiffel-Tower, a tower!") == "eiffeltower tower"
    document = Document("q", "?", target="Paris", metadata={"answers": json.dumps(["Paris", "the city of Paris"])})
    assert references_of(document) == ["Paris", "the city of Paris"]
    assert figure("squad_exact_match", ["The city of Paris."], [document])[0] == 1
    assert figure("squad_f1", ["city Paris"], [document])[0] == pytest.approx(2 * 2 / (2 + 3))
    assert figure("squad_f1", ["Berlin"], [document])[0] == 0
    assert figure("exact_match", ["paris"], [document])[0] == 0


POEM = "白日依山盡，\n黃河入海流。\n欲窮千里目，\n更上一層樓。"


@pytest.mark.parametrize(
    ("written", "form", "share"),
    [
        (POEM, "五言绝句", 1),
        (POEM.replace("\n", ""), "五言绝句", 1),
        (POEM.replace("白", ""), "五言绝句", 0),
        (POEM, "七言绝句", 0),
        (POEM + "\n" + POEM, "五言律诗", 1),
        ("", "五言绝句", 0),
    ],
)
def test_a_poem_keeps_its_form(written: str, form: str, share: int) -> None:
    assert figure("poem_form", [written], [Document("p", "t", target="t", metadata={"form": form})])[0] == share


def test_documents_without_a_fixed_form_do_not_count() -> None:
    documents = [
        Document("a", "t", target="t", metadata={"form": "其他"}),
        Document("b", "t", target="t", metadata={"form": "五言绝句"}),
    ]
    assert figure("poem_form", ["x", POEM], documents)[0] == 1
    assert figure("poem_form", ["x", POEM], documents, np.array([[1.0, 0.0], [1.0, 1.0]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("body", "parses"),
    [
        ("return a + b", 1),
        ("    if a:\n        return b\n    return a", 1),
        ("return (a", 0),
        ("", 0),
        ("  return a\nreturn b\n   x", 0),
    ],
)
def test_a_body_parses_below_its_signature(body: str, parses: int) -> None:
    document = Document("f", 'def add(a, b):\n    """Add."""', target="return a + b")
    assert figure("valid_python", [body], [document])[0] == parses


@pytest.mark.parametrize(
    ("source", "written", "kept"),
    [
        ("%d of %s", "%s von %d", 1),
        ("%(name)s", "%(Name)s", 0),
        ("Hello {name}", "Hallo {name}", 1),
        ("Hello {name}", "Hallo", 0),
        ("&File", "&Datei", 1),
        ("&File", "Datei", 0),
        ("<b>Bold</b>", "<b>Fett</b>", 1),
        ("100%", "100 %", None),
        ("Tom & Jerry", "Tom und Jerry", None),
        ("${count} items", "${count} Stück", 1),
    ],
)
def test_placeholders_survive(source: str, written: str, kept: int | None) -> None:
    (metric,) = text_metrics(["placeholders"])
    columns = metric.columns([written], [Document("m", source, target=source)])
    assert columns["placeholders_score"].to_pylist() == [kept]


def test_what_the_reference_translates_is_no_placeholder() -> None:
    (metric,) = text_metrics(["placeholders"])
    columns = metric.columns(["<no name>"], [Document("m", "<no name>", target="<kein Name>")])
    assert columns["placeholders_score"].to_pylist() == [None]


def test_unknown_figures_are_refused() -> None:
    with refused(ConfigError, "unknown", "scoring.options.metrics: bleurt", "bleu, bleu_zh"):
        text_metrics(["bleurt"])
    with refused(ConfigError, "impossible", "scoring.options.metrics", "bleu, bleu"):
        text_metrics(["bleu", "bleu"])


@pytest.mark.parametrize("name", METRICS.names())
def test_a_perfect_text_gets_the_best_figure(name: str) -> None:
    documents = {
        "poem_form": [Document("p", "t", target=POEM, metadata={"form": "五言绝句"})],
        "valid_python": [Document("f", "def f():", target="return 1")],
        "placeholders": [Document("m", "%s is gone", target="%s ist weg")],
    }.get(name, pairs(["The cat sat on the mat today.", "Where is the file that I wanted?"]))
    value = figure(name, [str(document.target) for document in documents], documents)[0]
    assert value == pytest.approx(100 if name.startswith(("bleu", "chrf")) else 1)
