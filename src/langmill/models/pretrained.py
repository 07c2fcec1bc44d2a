"""Any causal, sequence-to-sequence or sequence-classification model of Hugging Face `transformers`.

A causal model in Llama's shape runs on our own decoder, any other by the code of `transformers`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Self, cast

from langmill.models.base import ARCHITECTURES, Backbone, Kind
from langmill.models.huggingface.backbone import Pretrained
from langmill.models.huggingface.causal import PretrainedCausal
from langmill.models.huggingface.encoder import PretrainedEncoder
from langmill.models.huggingface.encoder_decoder import PretrainedEncoderDecoder
from langmill.models.huggingface.llama_shape import FAMILIES as LLAMA_FAMILIES
from langmill.models.huggingface.llama_shape import obstacles
from langmill.models.huggingface.loading import describe, kind_of_model, model_type, required
from langmill.models.huggingface.native import NativeDecoder
from langmill.models.huggingface.settings import BaseKind, Implementation, PretrainedSettings

FAMILIES: dict[Kind, type[Pretrained]] = {
    family.kind: family for family in (PretrainedCausal, PretrainedEncoder, PretrainedEncoderDecoder)
}
"""The class of each kind of network."""
_logger = logging.getLogger(__name__)


@ARCHITECTURES.register("pretrained")
class AnyPretrained(Pretrained):
    """A network of the family that the option `kind`, or the base, selects."""

    @classmethod
    def kind_of(cls, settings: PretrainedSettings) -> Kind | None:
        """The option `kind`; None for `auto`."""
        return None if settings.kind is BaseKind.auto else Kind(settings.kind.value)

    @classmethod
    def build(cls, settings: PretrainedSettings, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """Make a network of that family; see `Backbone.build`.

        Raises:
            ConfigError: There is no base, or it is of another kind.
            ModelError: The base can't be read, or does not fit the tokenizer or the length.
        """
        source = required(source)
        made: Backbone | None = None
        llama = model_type(source) in LLAMA_FAMILIES
        kind = cls.kind_of(settings) or (Kind.causal if llama else kind_of_model(source))
        if llama and kind is Kind.causal and settings.implementation is Implementation.auto:
            made = _native(settings, vocab_size, max_length, source)
        if made is None:
            made = FAMILIES[kind].build(settings, vocab_size, max_length, source)
        return cast("Self", made)


def _native(settings: PretrainedSettings, vocab_size: int, max_length: int, source: Path) -> NativeDecoder | None:
    """The network on our own blocks; None where they do not compute all of it."""
    description = describe(source, settings.config)
    found = obstacles(description, max_length)
    if found:
        _logger.info("The model in %s runs through transformers, for %s.", source, " and ".join(found))
        return None
    return NativeDecoder(settings, vocab_size, max_length, description)
