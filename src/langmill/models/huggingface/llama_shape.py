"""Published models in Llama's shape: what our blocks compute exactly as `transformers` does, and what they can't.

A description is the full content of a `config.json`, as the config classes of `transformers` complete it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langmill.models.layers.llama import BlockShape, rotary_frequencies

Description = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """How models of one type differ from the others in Llama's shape."""

    language_model: str
    """The class of `transformers`."""
    biases: Callable[[Description], dict[str, bool]]
    """The matrices that have a bias, by the names of `BlockShape`."""


def _llama_biases(description: Description) -> dict[str, bool]:
    attention = bool(description["attention_bias"])
    return {"qkv_bias": attention, "output_bias": attention, "mlp_bias": bool(description["mlp_bias"])}


FAMILIES = {
    "llama": Family("LlamaForCausalLM", _llama_biases),
    "mistral": Family("MistralForCausalLM", lambda _: {}),
    "qwen2": Family("Qwen2ForCausalLM", lambda _: {"qkv_bias": True}),
}
"""By the model type."""


def _linear(frequencies: Tensor, rotary: Description) -> Tensor:
    """Divide every frequency (Chen et al., 2023, position interpolation)."""
    return frequencies / float(rotary["factor"])


def _llama3(frequencies: Tensor, rotary: Description) -> Tensor:
    """Divide the low frequencies, keep the high ones and blend in between (Grattafiori et al., 2024, Llama 3.1)."""
    factor, low, high = (rotary[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    context = rotary["original_max_position_embeddings"]
    wavelengths = 2 * math.pi / frequencies
    slow, fast = wavelengths > context / low, wavelengths < context / high
    scaled = torch.where(slow, frequencies / factor, frequencies)
    share = (context / wavelengths - low) / (high - low)
    blended = (1 - share) * scaled / factor + share * scaled
    return torch.where(~fast & ~slow, blended, scaled)


ROTARY: dict[str, Callable[[Tensor, Description], Tensor]] = {
    "default": lambda frequencies, _: frequencies,
    "linear": _linear,
    "llama3": _llama3,
}
"""What a type of rotary positions makes of the plain frequencies."""


def block_shape(description: Description) -> BlockShape:
    """The shape of our blocks for a description without `obstacles`."""
    rotary, head_dim = description["rope_parameters"], _head_dim(description)
    frequencies = rotary_frequencies(rotary["rope_theta"], head_dim)
    scaled = ROTARY[rotary.get("rope_type", "default")](frequencies, rotary)
    return BlockShape(
        dim=description["hidden_size"],
        num_layers=description["num_hidden_layers"],
        num_heads=description["num_attention_heads"],
        num_kv_heads=description["num_key_value_heads"],
        head_dim=head_dim,
        hidden_dim=description["intermediate_size"],
        norm_eps=description["rms_norm_eps"],
        frequencies=tuple(scaled.tolist()),
        **FAMILIES[description["model_type"]].biases(description),
    )


def obstacles(description: Description, max_length: int) -> list[str]:
    """What our blocks do not compute of a model, in words; empty if they compute it all.

    `max_length` is the longest sequence in tokens: a longer sliding window hides nothing.
    """
    if description.get("model_type") not in FAMILIES:
        return [f"the model type {description.get('model_type')}"]
    rotary = description.get("rope_parameters") or {}
    window = description.get("sliding_window")
    layers = description.get("layer_types") or []
    slides = "sliding_attention" in layers if layers else window is not None
    found = {
        f"the activation {description['hidden_act']}": description["hidden_act"] not in ("silu", "swish"),
        "attention weights that are dropped in training": bool(description.get("attention_dropout")),
        f"rotary positions of the type {rotary.get('rope_type')}": rotary.get("rope_type", "default") not in ROTARY,
        "rotary positions without rope_theta": "rope_theta" not in rotary,
        "rotary positions of a part of each head": rotary.get("partial_rotary_factor", 1.0) != 1.0,
        f"a sliding window of {window} tokens": slides and (window is None or window < max_length),
        "layers of several types": bool(set(layers) - {"full_attention", "sliding_attention"}),
        "quantized weights": bool(description.get("quantization_config")),
        "heads of an odd width": _head_dim(description) % 2 == 1,
    }
    return [words for words, there in found.items() if there]


def _head_dim(description: Description) -> int:
    return int(description.get("head_dim") or description["hidden_size"] // description["num_attention_heads"])
