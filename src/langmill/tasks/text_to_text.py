"""Text to text: write a target for a source with an encoder-decoder, as in translation and summarization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from langmill.config.constraints import Share
from langmill.config.typed import settings
from langmill.data.document import Document
from langmill.models.base import Backbone, EncoderDecoder, Kind
from langmill.models.generation.beam_search import Accepts
from langmill.models.heads import TextToText
from langmill.tasks.base import TASKS, Translates
from langmill.tasks.batching import Batch, Truncation
from langmill.tasks.conditional_generation import ConditionalGeneration, ConditionalGenerationOptions
from langmill.tasks.pairs import SourceAndTarget
from langmill.tasks.placeholders import placeholders_in
from langmill.tokenization.tokenizer import Tokenizer


@settings
class TextToTextOptions(ConditionalGenerationOptions):
    """Options of the task `text_to_text`."""

    truncation: Truncation
    """Which tokens of a source that is too long are kept: `head`, `tail`, or half of each."""
    label_smoothing: Share
    """Share of what is wanted at each target token that all tokens of the vocabulary have alike (Szegedy et al., 2016),
    0 to below 1; in training only."""
    source_language: str | None
    """The language of the sources, as a code of BCP 47 (`en`); null where they are in no one language, or in any."""
    target_language: str | None
    """The language of the targets; null as above."""


@TASKS.register("text_to_text")
class TextToTextTask(ConditionalGeneration, Translates):
    """Write a target text for a source text."""

    options_class = TextToTextOptions
    options: TextToTextOptions
    earlier_options: ClassVar[Mapping[str, Any]] = {
        "label_smoothing": 0.0, "source_language": None, "target_language": None,
    }  # fmt: skip
    kinds = frozenset({Kind.encoder_decoder})
    eot_after = True

    @property
    def languages(self) -> tuple[str | None, str | None]:
        """As the options say."""
        return self.options.source_language, self.options.target_language

    def prompt(self, document: Document) -> str:
        """The source."""
        return document.text

    def form(self, length: int, eot_id: int) -> SourceAndTarget:
        """Source and target apart, each of at most `length` tokens."""
        return SourceAndTarget(length, self.options.truncation, eot_id)

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        assert isinstance(backbone, EncoderDecoder)
        return TextToText(backbone)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the targets' tokens."""
        assert isinstance(network, TextToText)
        smoothing = self.options.label_smoothing if network.training else 0.0
        return network.loss(batch["source"], batch["source_lengths"], batch["targets"], smoothing)

    def target_hidden(self, network: nn.Module, batch: Batch) -> Tensor:
        """The decoder's hidden states."""
        assert isinstance(network, TextToText)
        return network.hidden(batch["source"], batch["source_lengths"], batch["targets"])

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """The source and its end-of-text token."""
        return [*tokenizer.encode(prompt), tokenizer.eot_id]

    def room(self, prompt_ids: Sequence[int], max_length: int) -> int:
        """As many as the decoder can read: the source is not in their way."""
        return max_length

    def accepts(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> Accepts:
        """Those that hold the source's placeholders."""
        wanted = placeholders_in(tokenizer.decode(prompt_ids[:-1]))  # the last one is the end-of-text token
        return lambda answer: placeholders_in(tokenizer.decode(answer)) == wanted
