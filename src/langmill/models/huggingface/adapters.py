"""Low-rank adapters (LoRA; Hu et al., 2022, equation 3): added to a network, and merged into its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

from torch import nn

from langmill.errors import ConfigError
from langmill.models.folder import Adapter, Described
from langmill.models.huggingface.loading import quiet
from langmill.models.huggingface.settings import LoraSettings, PretrainedSettings, Tuning
from langmill.models.low_rank import PREFIX, merge


def prepare(
    network: nn.Module, body: nn.Module, base_weights: Iterable[nn.Parameter], settings: PretrainedSettings
) -> None:
    """Have training update what `tuning` says: every weight, an adapter and the task's head, or that head alone.

    Args:
        network: The whole network, its head included.
        body: The part that an adapter is added to.
        base_weights: All weights that come with the base; the others are the task's, and trained whole.
        settings: What is tuned, and the adapter's settings.

    Raises:
        ConfigError: `lora.targets` matches no layer, `lora.last_layers` are more than there are, or nothing is left to
            train.
    """
    if settings.tuning is Tuning.full:
        return
    base: set[int] = set()
    for parameter in base_weights:
        parameter.requires_grad_(False)
        base.add(id(parameter))
    if settings.tuning is Tuning.lora:
        _add_adapter(body, settings.lora, base)
        for name, parameter in body.named_parameters():  # peft has frozen all but its own
            parameter.requires_grad_("lora_" in name or id(parameter) not in base)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(
            f"model.options.tuning is {settings.tuning.value!r}, but all of this network's weights are the base's, its "
            "head too, so there is nothing to train; take lora or full.",
            code="impossible",
        )


def _add_adapter(body: nn.Module, lora: LoraSettings, base: Set[int]) -> None:
    """Add an adapter to the layers that `targets` selects, of those whose weight is the base's, by its id."""
    from peft import LoraConfig, inject_adapter_in_model

    layers = _linear_names(body)
    whole = [name for name in layers if id(body.get_submodule(name).weight) not in base]
    targets = [name for name in layers if name not in whole] if lora.targets == ["all-linear"] else list(lora.targets)
    if lora.last_layers is not None:
        targets = _in_last_blocks(body, targets, lora.last_layers)
    try:
        with quiet():
            # In place: `body` stays the same module, its layers are replaced.
            inject_adapter_in_model(
                LoraConfig(
                    r=lora.rank,
                    lora_alpha=lora.alpha,
                    lora_dropout=lora.dropout,
                    target_modules=targets,
                    exclude_modules=whole or None,
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


def merge_adapter(
    network: nn.Module, whole: Any, body: nn.Module, base_weights: Iterable[nn.Parameter], lora: LoraSettings
) -> Adapter | None:
    """Merge an adapter into a network's weights and return it; None where there is no adapter.

    `whole` is the module whose names of layers are Hugging Face's; the other arguments are those of `prepare`.
    """
    layers = {name: module for name, module in whole.named_modules() if hasattr(module, "lora_A")}
    if not layers:
        return None
    weights = {
        f"{PREFIX}{name}.{part}.weight": getattr(layer, part)["default"].weight.detach().clone().contiguous()
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    base = {id(parameter) for parameter in base_weights}
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
    for name, layer in layers.items():
        weight = layer.get_base_layer().weight
        a_RI, b_OR = (weights[f"{PREFIX}{name}.{part}.weight"] for part in ("lora_A", "lora_B"))
        weight.data.copy_(merge(weight, a_RI, b_OR, config))
        parent = whole.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    assert isinstance(network, Described)
    stored = network.stored_names()
    heads = {stored[name]: parameter for name, parameter in network.named_parameters() if id(parameter) not in base}
    if heads:
        # As peft stores modules that are trained beside the adapter: a classifier's last layers.
        weights |= {f"{PREFIX}{name}": value.detach().clone().contiguous() for name, value in heads.items()}
        inside = set(map(id, body.parameters()))  # a pooler that the base lacked; of a head, the whole is saved
        modules = {
            name.rpartition(".")[0] if id(value) in inside else name.partition(".")[0] for name, value in heads.items()
        }
        config |= {"task_type": "SEQ_CLS", "modules_to_save": sorted(modules)}
    return Adapter(config, weights)


def _in_last_blocks(body: nn.Module, targets: Sequence[str], last_layers: int) -> list[str]:
    """Whole names of the layers that `targets` selects, by their end, in the last blocks of each stack."""
    stacks = dict(_stacks(body))
    shortest = min((len(stack) for stack in stacks.values()), default=0)
    if last_layers > shortest:
        raise ConfigError(
            f"model.options.lora.last_layers is {last_layers}; allowed is null, or at most the number of the model's "
            f"blocks, {shortest}.",
            code="impossible",
        )
    return [
        name
        for prefix, stack in stacks.items()
        for number, block in list(enumerate(stack))[-last_layers:]
        for name, _ in block.named_modules(prefix=f"{prefix}.{number}")
        if any(name == target or name.endswith(f".{target}") for target in targets)
    ]


def _stacks(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists of blocks, by name."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield prefix + name, child
        else:
            yield from _stacks(child, f"{prefix}{name}.")


def _linear_names(body: nn.Module) -> list[str]:
    """Names of the layers in `body` that LoRA can adapt."""
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in body.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _transposed(body: nn.Module) -> bool:
    """Whether its layers hold transposed matrices, as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in body.modules())
