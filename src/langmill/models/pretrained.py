"""Any causal, sequence-to-sequence or sequence-classification model of Hugging Face `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Self, cast

from langmill.models.base import ARCHITECTURES, Kind
from langmill.models.folder import CONFIG_NAME, read_config
from langmill.models.huggingface.backbone import Pretrained
from langmill.models.huggingface.causal import PretrainedCausal
from langmill.models.huggingface.encoder import PretrainedEncoder
from langmill.models.huggingface.encoder_decoder import PretrainedEncoderDecoder
from langmill.models.huggingface.kinds import kind_of_config
from langmill.models.huggingface.settings import KindOption, PretrainedSettings

FAMILIES: dict[Kind, type[Pretrained]] = {
    family.kind: family for family in (PretrainedCausal, PretrainedEncoder, PretrainedEncoderDecoder)
}
"""The class of each kind of network."""


@ARCHITECTURES.register("pretrained")
class AnyPretrained(Pretrained):
    """A network of the family that the option `kind` selects."""

    @classmethod
    def kind_of(cls, settings: PretrainedSettings) -> Kind | None:
        """The option `kind`; None where the base says it."""
        return None if settings.kind is KindOption.auto else Kind(settings.kind.value)

    @classmethod
    def build(cls, settings: PretrainedSettings, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """Make a network of that family; see `Backbone.build`."""
        kind = cls.kind_of(settings)
        if kind is None:
            # Without a source any family says what is missing.
            kind = Kind.causal if source is None else kind_of_config(read_config(source), str(source / CONFIG_NAME))
        return cast("Self", FAMILIES[kind].build(settings, vocab_size, max_length, source))
