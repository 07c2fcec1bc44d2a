"""Low-rank adapters (LoRA; Hu et al., 2022, equation 3): added to a network, and merged into its weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from langmill.errors import ConfigError
from langmill.models.folder import Adapter
from langmill.models.huggingface.loading import quiet
from langmill.models.huggingface.settings import LoraSettings

_PREFIX = "base_model.model."  # of every weight in an adapter's file


def add_adapter(whole: Any, body: nn.Module, lora: LoraSettings, *, learns_head: bool) -> None:
    """Freeze a network's weights and add an adapter to its body.

    `whole` is the network with its head, which is trained too if it `learns_head`; `body` is the part below the head.

    Raises:
        ConfigError: `lora.targets` matches no layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    head = {id(parameter) for parameter in whole.parameters()} - {id(own) for own in body.parameters()}
    every = lora.targets == ["all-linear"]
    try:
        with quiet():
            # In place: `body` stays the same module, its layers are replaced.
            inject_adapter_in_model(
                LoraConfig(
                    r=lora.rank,
                    lora_alpha=lora.alpha,
                    lora_dropout=lora.dropout,
                    target_modules=_linear_names(body) if every else list(lora.targets),
                    fan_in_fan_out=_transposed(body),
                ),
                body,
            )
    except ValueError as error:
        known = sorted({name.rpartition(".")[2] for name in _linear_names(body)})
        raise ConfigError(
            f"model.options.lora.targets is {lora.targets!r}, which names no layer of the model that can be "
            f"adapted; there are: {', '.join(known)}.",
            code="unknown",
        ) from error
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_("lora_" in name or (learns_head and id(parameter) in head))


def merge_adapter(whole: Any, body: nn.Module, lora: LoraSettings, *, learns_head: bool) -> Adapter | None:
    """Merge an adapter into a network's weights and return it; None where there is no adapter."""
    layers = {name: module for name, module in whole.named_modules() if hasattr(module, "lora_A")}
    if not layers:
        return None
    weights = {
        f"{_PREFIX}{name}.{part}.weight": getattr(layer, part)["default"].weight.detach().clone().contiguous()
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    for name, layer in layers.items():
        layer.merge(safe_merge=True)
        parent = whole.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(layers),
        "fan_in_fan_out": _transposed(body),
        "bias": "none",
        "inference_mode": True,
    }
    if learns_head:
        # As peft stores modules that are trained beside the adapter: a classifier's last layers.
        names = {id(parameter): name for name, parameter in whole.named_parameters()}
        inside = {id(parameter) for parameter in body.parameters()}
        heads = {name: whole.get_parameter(name) for number, name in names.items() if number not in inside}
        weights |= {f"{_PREFIX}{name}": value.detach().clone().contiguous() for name, value in heads.items()}
        config |= {"task_type": "SEQ_CLS", "modules_to_save": sorted({name.partition(".")[0] for name in heads})}
    return Adapter(config, weights)


def _linear_names(body: nn.Module) -> list[str]:
    """Names of the layers in `body` that LoRA can adapt."""
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in body.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _transposed(body: nn.Module) -> bool:
    """Whether its layers hold transposed matrices, as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in body.modules())
