"""Metrics of a whole corpus by sacreBLEU (Post, 2018): BLEU (Papineni et al., 2002) and chrF (Popović, 2015)."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from langmill.data.document import Document
from langmill.scoring.base import Metric
from langmill.scoring.metrics.base import METRICS, TextMetric
from langmill.scoring.words import unspaced_scripts
from langmill.tasks.conditional_generation import references_of


class SacreBleu(TextMetric):
    """A metric of sacreBLEU, computed from its own statistics by its own formula."""

    @property
    @abstractmethod
    def scorer(self) -> Any:
        """SacreBLEU's object."""

    @property
    def signature(self) -> str:
        """SacreBLEU's own."""
        return _signature(self.scorer)

    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """SacreBLEU's counts of each example, as one list column."""
        return {f"{self.name}_counts": _counts(self.scorer, produced, documents)}

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> np.ndarray:
        """The corpus's score, 0 to 100."""
        counts_NC = np.array(scores[f"{self.name}_counts"].to_pylist(), dtype=np.float64)
        compute = self.scorer._compute_score_from_stats
        return np.array([compute(sums.tolist()).score for sums in weights_RN @ counts_NC])


@METRICS.register("chrf")
class Chrf(SacreBleu):
    """The F-score of character n-grams."""

    title = "chrF"

    @property
    def scorer(self) -> Any:
        """SacreBLEU's chrF."""
        return _chrf()


@METRICS.register("bleu")
class Bleu(SacreBleu):
    """BLEU with the tokenizer that the references need: never one that takes a sentence without spaces for a word.

    `char` where a tenth or more of the references' letters are Japanese, Thai or of another script without spaces, `zh`
    where they are Chinese, else the one for words between spaces.
    """

    title = "BLEU"
    spaced: ClassVar[str] = "13a"
    """SacreBLEU's tokenizer for other scripts."""

    @property
    def scorer(self) -> Any:
        """SacreBLEU's BLEU; its formula is the same for every tokenizer."""
        return _bleu(self.spaced)

    def columns(self, produced: Sequence[str], documents: Sequence[Document]) -> dict[str, pa.Array]:
        """SacreBLEU's counts of each example, and the tokenizer, the same for all."""
        unspaced, not_chinese = unspaced_scripts(each for document in documents for each in references_of(document))
        tokenizer = self.spaced if not unspaced else "char" if not_chinese else "zh"
        return {
            f"{self.name}_counts": _counts(_bleu(tokenizer), produced, documents),
            self._column: pa.array([tokenizer] * len(documents), pa.string()),
        }

    @property
    def _column(self) -> str:
        return f"{self.name}_tokenizer"

    def metric_of(self, scores: pa.Table) -> Metric:
        """With the tokenizer that was taken; older tables do not name it, they have the one for words."""
        if self._column not in scores.column_names or not scores.num_rows:
            return self.metric
        return replace(self.metric, signature=_signature(_bleu(scores[self._column][0].as_py())))


@METRICS.register("bleu_zh")
class BleuZh(Bleu):
    """BLEU for texts in which Chinese stands among words between spaces."""

    title = "BLEU (Chinese characters as words)"
    spaced = "zh"


def _counts(scorer: Any, produced: Sequence[str], documents: Sequence[Document]) -> pa.Array:
    references = [references_of(document) for document in documents]
    most = max(map(len, references), default=1)
    streams = [[each[k] if k < len(each) else None for each in references] for k in range(most)]
    return pa.array(scorer._extract_corpus_statistics(list(produced), streams), pa.list_(pa.int64()))


@functools.cache
def _bleu(tokenize: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, force=True)  # force: no advice about detokenizing on the terminal


@functools.cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@functools.cache
def _signature(scorer: Any) -> str:
    scorer.corpus_score([""], [[""]])  # the signature is known after a first use
    return str(scorer.get_signature())
