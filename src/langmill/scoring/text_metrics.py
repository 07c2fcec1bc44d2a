"""Figures of a written text against the text that was wanted.

Each figure comes in two steps: what it needs of every example, as columns of the score table, and the figure itself
from weighted sums of these. So a bootstrap of a thousand resamples looks at each text once.

BLEU (Papineni et al., 2002) and chrF (Popović, 2015) are sacreBLEU's (Post, 2018), with its signature; ROUGE (Lin,
2004) is the `rouge-score` package's F-measure; exact match and token F1 are those of SQuAD (Rajpurkar et al., 2016).
All of them read any script: BLEU's tokenizer is chosen by the references, the words of the others are those of
`langmill.scoring.words`. docs/decisions/0404-figures-of-written-text.md says why.

Shape suffixes: N examples, R resamples, C statistics of one example.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import string
import textwrap
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from langmill.config.sections import require
from langmill.data.document import Document
from langmill.tasks.base import Metric
from langmill.scoring.words import pieces, unspaced_scripts, words

ANSWERS = "answers"
"""The metadata field with all answers that count as right, a JSON list of texts; without it only the target does."""
FORMS = {"五言绝句": (4, 5), "七言绝句": (4, 7), "五言律诗": (8, 5), "七言律诗": (8, 7)}
"""Lines of a poem, and characters of a line, by the form's name in the metadata field `form`."""


class TextMetric(ABC):
    """One figure."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    @property
    def name(self) -> str:
        """The name by which a recipe asks for it."""
        return self.metric.name

    def metric_of(self, scores: pa.Table) -> Metric:
        """The metric with the signature that it has for these scores."""
        del scores
        return self.metric

    @abstractmethod
    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """What the figure needs of each example; the columns' names begin with the figure's."""

    @abstractmethod
    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> np.ndarray:
        """The figure under each row of example weights, `(resamples,)` in float64."""


def references_of(document: Document) -> list[str]:
    """The texts that count as right: the metadata field `answers`, or else the target alone.

    Raises:
        ValueError: The field is no JSON list of texts (or numbers, which are read as texts).
    """
    answers = json.loads(document.metadata.get(ANSWERS) or "[]")
    if not (isinstance(answers, list) and all(type(answer) in (str, int, float) for answer in answers)):
        raise ValueError(f"{ANSWERS} is {answers!r}")
    return [str(answer) for answer in answers] or [document.target or ""]


# Figures of a whole corpus -------------------------------------------------------------------------------------------


class SacreBleu(TextMetric):
    """A figure of sacreBLEU, computed from its own statistics by its own formula."""

    def __init__(self, metric: Metric, scorer: Callable[[], object]) -> None:
        super().__init__(metric)
        self._scorer = scorer

    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """SacreBLEU's counts of each example, as one list column."""
        references = [references_of(document) for document in documents]
        most = max(map(len, references), default=1)
        streams = [[each[k] if k < len(each) else None for each in references] for k in range(most)]
        statistics = self._scorer()._extract_corpus_statistics(list(produced), streams)  # type: ignore[attr-defined]
        return {f"{self.name}_counts": pa.array(statistics, pa.list_(pa.int64()))}

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> np.ndarray:
        """The corpus's score, 0 to 100."""
        counts_NC = np.array(scores[f"{self.name}_counts"].to_pylist(), dtype=np.float64)
        scorer = self._scorer()
        compute = scorer._compute_score_from_stats  # type: ignore[attr-defined]
        return np.array([compute(sums.tolist()).score for sums in weights_RN @ counts_NC])


class Bleu(SacreBleu):
    """BLEU with the tokenizer that the references need: never one that takes a sentence without spaces for a word.

    `char` where a tenth or more of the references' letters are Japanese, Thai or of another script without spaces, `zh`
    where they are Chinese, else the one for words between spaces.

    Args:
        metric: What it is called.
        spaced: SacreBLEU's tokenizer for other scripts.
    """

    def __init__(self, metric: Metric, spaced: str) -> None:
        super().__init__(metric, lambda: _bleu(spaced))
        self._spaced = spaced
        self.metric = replace(metric, signature=_signature(_bleu(spaced)))

    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """SacreBLEU's counts of each example, and the tokenizer, the same for all."""
        unspaced, not_chinese = unspaced_scripts(each for document in documents for each in references_of(document))
        tokenizer = self._spaced if not unspaced else "char" if not_chinese else "zh"
        counts = SacreBleu(self.metric, lambda: _bleu(tokenizer)).columns(produced, documents)
        return {**counts, self._column: pa.array([tokenizer] * len(documents), pa.string())}

    @property
    def _column(self) -> str:
        return f"{self.name}_tokenizer"

    def metric_of(self, scores: pa.Table) -> Metric:
        """With the tokenizer that was taken; older tables do not name it, they have the one for words."""
        if self._column not in scores.column_names or not scores.num_rows:
            return self.metric
        return replace(self.metric, signature=_signature(_bleu(scores[self._column][0].as_py())))


@functools.cache
def _bleu(tokenize: str) -> object:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, force=True)  # force: no advice about detokenizing on the terminal


@functools.cache
def _chrf() -> object:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _signature(scorer: object) -> str:
    scorer.corpus_score([""], [[""]])  # type: ignore[attr-defined]  # the signature is known after a first use
    return str(scorer.get_signature())  # type: ignore[attr-defined]


def _made_chrf() -> TextMetric:
    return SacreBleu(Metric("chrf", "chrF", higher_is_better=True, signature=_signature(_chrf())), _chrf)


# Means over the examples ---------------------------------------------------------------------------------------------


class Mean(TextMetric):
    """The mean of a number that each example has, or has not: those without count neither way."""

    def __init__(self, metric: Metric, score: Callable[[str, Document], float | None]) -> None:
        super().__init__(metric)
        self._score = score

    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """The number of each example; null for one without."""
        values = [self._score(text, document) for text, document in zip(produced, documents, strict=True)]
        return {f"{self.name}_score": pa.array(values, pa.float64())}

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> np.ndarray:
        """The weighted mean; 0 where no example counts."""
        column = scores[f"{self.name}_score"]
        there_N = np.asarray(column.is_valid(), dtype=np.float64)
        values_N = np.asarray(column.fill_null(0.0), dtype=np.float64)
        total_R = weights_RN @ there_N
        return np.divide(weights_RN @ values_N, total_R, out=np.zeros(len(weights_RN)), where=total_R > 0)


def normalised(answer: str) -> str:
    """An answer as SQuAD's evaluation compares it: lower case, no punctuation, no articles, single spaces.

    Punctuation of every script, where SQuAD's script knows ASCII's alone. An answer of nothing else stays as it is.
    """
    lower = unicodedata.normalize("NFC", answer.lower())
    plain = "".join(character for character in lower if not _is_punctuation(character))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split()) or lower.strip()


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or (not character.isascii() and unicodedata.category(character)[0] == "P")


def f1(produced: Sequence[str], wanted: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of words; 1 if both are empty, 0 if one is."""
    if not produced or not wanted:
        return float(produced == wanted)
    common = sum((Counter(produced) & Counter(wanted)).values())
    return 2 * common / (len(produced) + len(wanted))


def _best(score: Callable[[str, str], float | None]) -> Callable[[str, Document], float | None]:
    """The best of a score over all references; None where it says nothing of any."""

    def best(produced: str, document: Document) -> float | None:
        found = (score(produced, reference) for reference in references_of(document))
        return max((value for value in found if value is not None), default=None)

    return best


def _exact(produced: str, wanted: str) -> float:
    return float(produced.strip() == wanted.strip())


def _token_f1(produced: str, wanted: str) -> float:
    return f1(pieces(produced), pieces(wanted))


def _squad_exact(produced: str, wanted: str) -> float:
    return float(normalised(produced) == normalised(wanted))


def _squad_f1(produced: str, wanted: str) -> float:
    return f1(pieces(normalised(produced)), pieces(normalised(wanted)))


def _rouge(kind: str) -> Callable[[str, str], float | None]:
    def score(produced: str, wanted: str) -> float | None:
        if not words(wanted):
            return None  # signs alone have no words to be found again
        return float(_rouge_scorer(kind).score(wanted, produced)[kind].fmeasure)  # type: ignore[attr-defined]

    return score


@functools.cache
def _rouge_scorer(kind: str) -> object:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=SimpleNamespace(tokenize=words))  # its own keeps a to z and 0 to 9 alone


_CLAUSE_END = re.compile("[\n，。？！；、,.?!;]")  # noqa: RUF001 - Chinese punctuation
_PUNCTUATION = re.compile(r"[\s\W]")


def poem_form(produced: str, document: Document) -> float | None:
    """Whether a poem has the lines and characters that its form fixes; None for a document of no such form.

    Punctuation does not count. A verse line ends at a new line or at a sign that ends a clause.
    """
    form = FORMS.get(document.metadata.get("form", ""))
    if form is None:
        return None
    lines = [_PUNCTUATION.sub("", line) for line in _CLAUSE_END.split(produced)]
    lengths = [len(line) for line in lines if line]
    return float(lengths == [form[1]] * form[0])


def valid_python(produced: str, document: Document) -> float:
    """Whether a function parses: the document's text (signature and docstring) and the produced body below it.

    The body's first line decides its indentation, as a body is stored without the function's own.
    """
    body = textwrap.indent(textwrap.dedent(produced), "    ")
    try:
        ast.parse(f"{document.text.rstrip()}\n{body}\n")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0
    return float(bool(produced.strip()))


PLACEHOLDER = re.compile(
    r"%(?:\([A-Za-z0-9_]+\))?(?:[0-9]+\$)?[-+#0]*+[0-9]*+(?:\.[0-9]+)?[sdifgxXcrou]"  # printf
    r"|\$\{[^{}\s]+\}"  # shell and zope
    r"|\{[A-Za-z0-9_.:!\[\]]*\}"  # str.format
    r"|</?[A-Za-z][^<>]*>"  # markup
    r"|&[A-Za-z]+;|&#[0-9]+;"  # entities
    r"|&(?=[^\W_])"  # the accelerator of a menu: which letter it stands at may change
)


def placeholders_in(text: str) -> Counter[str]:
    """How often each placeholder stands in a text."""
    return Counter(PLACEHOLDER.findall(text))


def placeholders(produced: str, document: Document) -> float | None:
    """Whether a translation holds its source's placeholders, each as often, in any order.

    None where there are none, or where the reference does not hold them either: what looks like markup may be words
    to be translated, as in `<no name>`.
    """
    wanted = placeholders_in(document.text)
    if not wanted or placeholders_in(document.target or "") != wanted:
        return None
    return float(placeholders_in(produced) == wanted)


def _mean(
    name: str, title: str, score: Callable[[str, Document], float | None], signature: str = ""
) -> Callable[[], TextMetric]:
    return lambda: Mean(Metric(name, title, higher_is_better=True, signature=signature), score)


_PIECES = "tok:spaces, characters of scripts without them"
_SQUAD = f"{_PIECES}|punctuation:Unicode"


def _rouge_mean(name: str, title: str, kind: str) -> Callable[[], TextMetric]:
    tokenizer = "letters and digits, characters of scripts without spaces"
    signature = f"tok:{tokenizer}|stemmer:no|rouge-score:{version('rouge-score')}"
    return _mean(name, title, _best(_rouge(kind)), signature)


_METRICS: dict[str, Callable[[], TextMetric]] = {
    "bleu": lambda: Bleu(Metric("bleu", "BLEU", higher_is_better=True), "13a"),
    "bleu_zh": lambda: Bleu(Metric("bleu_zh", "BLEU (Chinese characters as words)", higher_is_better=True), "zh"),
    "chrf": _made_chrf,
    "exact_match": _mean("exact_match", "Exact match", _best(_exact)),
    "token_f1": _mean("token_f1", "Token F1", _best(_token_f1), _PIECES),
    "squad_exact_match": _mean("squad_exact_match", "Exact match (SQuAD's)", _best(_squad_exact), _SQUAD),
    "squad_f1": _mean("squad_f1", "Token F1 (SQuAD's)", _best(_squad_f1), _SQUAD),
    "rouge_1": _rouge_mean("rouge_1", "ROUGE-1", "rouge1"),
    "rouge_2": _rouge_mean("rouge_2", "ROUGE-2", "rouge2"),
    "rouge_l": _rouge_mean("rouge_l", "ROUGE-L", "rougeL"),
    "poem_form": _mean("poem_form", "Poems in their form", poem_form),
    "valid_python": _mean("valid_python", "Functions that parse", valid_python),
    "placeholders": _mean("placeholders", "Placeholders kept", placeholders),
}


def known_text_metrics() -> list[str]:
    """The names that `text_metrics` takes, sorted."""
    return sorted(_METRICS)


def text_metrics(names: Iterable[str]) -> tuple[TextMetric, ...]:
    """The figures of some names, in their order.

    Raises:
        ConfigError: There is no figure of such a name, or one is named twice.
    """
    wanted = list(names)
    for name in wanted:
        require(name in _METRICS, "task.options.metrics", name, f"some of {', '.join(known_text_metrics())}")
    require(len(set(wanted)) == len(wanted), "task.options.metrics", wanted, "each name once")
    return tuple(_made(name) for name in wanted)


@functools.cache
def _made(name: str) -> TextMetric:
    return _METRICS[name]()
