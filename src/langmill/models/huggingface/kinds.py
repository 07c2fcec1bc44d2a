"""What a network of `transformers` is made for, by the `config.json` that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langmill.errors import ModelError
from langmill.models.base import Kind


def kind_of_config(config: Mapping[str, Any], where: str) -> Kind:
    """Find the kind of a network by its model_type, not by its head: a fine-tuned one has another head.

    Args:
        config: The content of `config.json`.
        where: What it was read from, for the message.

    Raises:
        ModelError: `transformers` knows no such network, or none that reads or writes texts.
    """
    from transformers.models.auto import modeling_auto as known

    name = config.get("model_type")
    if config.get("is_encoder_decoder", name in known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES):
        return Kind.encoder_decoder
    if config.get("is_decoder") is not True and name in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return Kind.bidirectional
    if name in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return Kind.causal
    if name in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return Kind.bidirectional
    raise ModelError(
        f"{where} describes a network of the model_type {name!r}, which transformers does not know as a language "
        "model, an encoder or an encoder-decoder; take another model, or a newer transformers.",
        code="unsupported",
    )
