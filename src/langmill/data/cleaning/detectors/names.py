"""Names of people, by Presidio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from langmill.config.typed import settings
from langmill.data.cleaning.detectors.base import DETECTORS, Certainty, Detector, Span
from langmill.errors import ConfigError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

_CHARACTERS = 100_000  # that spaCy reads at once; it refuses a million, and its memory grows with them


@settings
class NamesOptions:
    """Who finds the names."""

    model: str | None = "en_core_web_lg"
    """A spaCy model with an entity recogniser, installed as a package or a folder; null goes by `deny_list` alone."""
    language: str = "en"
    """The model's language, ISO 639-1."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Presidio's score from which on a name counts, from 0 to 1."""
    entities: list[str] = field(default_factory=lambda: ["PERSON"])
    """Presidio's entities that are looked for; `LOCATION` and `ORGANIZATION` are two more."""
    deny_list: list[str] = field(default_factory=list)
    """Names that are found wherever they stand as words, whatever the model says."""


@DETECTORS.register("names")
class Names(Detector):
    """Names of people: what the recogniser of Presidio's analyzer says, and names of a list."""

    label = "NAME"
    certainty = Certainty.likely
    needs_extra = True
    options_class = NamesOptions
    options: NamesOptions

    def __init__(self, options: NamesOptions) -> None:
        super().__init__(options)
        self._analyzer = _analyzer(options)

    def find(self, text: str) -> Iterator[Span]:
        """What Presidio finds, piece by piece of a long text."""
        for start, end in _pieces(text):
            results = self._analyzer.analyze(
                text[start:end],
                self.options.language,
                entities=self.options.entities,
                score_threshold=self.options.min_score,
            )
            for result in results:
                yield start + result.start, start + result.end

    def normal(self, value: str) -> str:
        """A name whatever its case."""
        return " ".join(value.casefold().split())


def _pieces(text: str) -> Iterator[Span]:
    """A text in pieces that end with a line, or with a word, where there is one."""
    start = 0
    while start < len(text):
        end = start + _CHARACTERS
        if end < len(text):
            cut = max(text.rfind("\n", start, end), 0) or max(text.rfind(" ", start, end), 0)
            end = cut + 1 if cut > start else end
        yield start, min(end, len(text))
        start = end


def _analyzer(options: NamesOptions) -> AnalyzerEngine:
    """Presidio's analyzer with one model and one list.

    Raises:
        ConfigError: Presidio or the model is not installed. Presidio itself would fetch the model from the network.
    """
    if find_spec("presidio_analyzer") is None:
        raise ConfigError(
            'Names are found by Presidio, which is not installed; type pip install "langmill[names]", or take names '
            "out of cleaning.options.privacy.kinds.",
            "missing",
        )
    import spacy
    from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    if options.model is None:
        pipeline = spacy.blank(options.language)
    else:
        try:
            pipeline = spacy.load(options.model)
        except (OSError, ImportError) as error:
            raise ConfigError(
                f"Names are found by the spaCy model {options.model}, which is not installed (or not for this version "
                f"of spaCy); type python -m spacy download {options.model}, or name another one in "
                "cleaning.options.privacy.options.names.model.",
                "missing",
            ) from error
        if "ner" not in pipeline.pipe_names and "transformer" not in pipeline.pipe_names:
            raise ConfigError(
                f"The spaCy model {options.model} recognises no entities; name one that does in "
                "cleaning.options.privacy.options.names.model.",
                "unsupported",
            )
    engine = SpacyNlpEngine(models=[{"lang_code": options.language, "model_name": options.model or "blank"}])
    engine.nlp = {options.language: pipeline}  # type: ignore[assignment]  # as Presidio's guide has it for a model that is loaded already
    registry = RecognizerRegistry(supported_languages=[options.language])
    if options.model is not None:
        registry.add_recognizer(
            SpacyRecognizer(supported_language=options.language, supported_entities=options.entities)
        )
    if options.deny_list:
        registry.add_recognizer(
            PatternRecognizer(
                options.entities[0],
                deny_list=options.deny_list,
                supported_language=options.language,
                deny_list_score=1.0,
            )
        )
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[options.language])
