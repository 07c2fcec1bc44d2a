"""Text to text: write a target for a source with an encoder-decoder, as in translation and summarization."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from langmill.data.document import Document
from langmill.models.base import Backbone, EncoderDecoder, Kind
from langmill.models.heads import TextToText
from langmill.tasks.base import task
from langmill.tasks.batching import Batch
from langmill.tasks.conditional_generation import ConditionalGeneration, ConditionalGenerationOptions
from langmill.tasks.pairs import SourceAndTarget
from langmill.tokenization.tokenizer import Tokenizer


@dataclass
class TextToTextOptions(ConditionalGenerationOptions):
    """Options of the task `text_to_text`."""


@task("text_to_text")
class TextToTextTask(ConditionalGeneration):
    """Write a target text for a source text."""

    options_class = TextToTextOptions
    options: TextToTextOptions
    kinds = frozenset({Kind.encoder_decoder})

    def prompt(self, document: Document) -> str:
        """The source."""
        return document.text

    def form(self, length: int, eot_id: int) -> SourceAndTarget:
        """Source and target apart, each of at most `length` tokens."""
        return SourceAndTarget(length, self.options.cut, eot_id)

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        assert isinstance(backbone, EncoderDecoder)
        return TextToText(backbone, backbone.tie_embeddings)

    def target_loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the targets' tokens."""
        assert isinstance(network, TextToText)
        return network.loss(batch["source"], batch["source_lengths"], batch["targets"])

    def target_hidden(self, network: nn.Module, batch: Batch) -> Tensor:
        """The decoder's hidden states."""
        assert isinstance(network, TextToText)
        return network.hidden(batch["source"], batch["source_lengths"], batch["targets"])

    def reach(self, network: nn.Module) -> int:
        """Tokens of either side."""
        assert isinstance(network, TextToText)
        return network.max_length

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """The source and its end-of-text token."""
        return [*tokenizer.encode(prompt), tokenizer.eot_id]
