"""A base's weights with a low-rank adapter merged into them (LoRA; Hu et al., 2022, equation 3), to the same bytes.

W + (alpha / r) B A is summed over the rank by separate products and sums of float32, in one order, and never by a
matrix product, whose order of summation follows the machine and the number of threads. So a model that was merged when
it was trained can be put together again from its base and its adapter anywhere, and its SHA-256 is what it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PREFIX = "base_model.model."
"""Begins the name of every weight in an adapter's file, as `peft` writes it."""
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def merge(weight: Tensor, a_RI: Tensor, b_OR: Tensor, config: Mapping[str, Any]) -> Tensor:
    """Merge an adapter into one weight.

    Args:
        weight: The base's, `(out, in)`; `(in, out)` where the config says `fan_in_fan_out`.
        a_RI: The adapter's A, `(rank, in)`.
        b_OR: The adapter's B, `(out, rank)`.
        config: The adapter's `adapter_config.json`.

    Returns:
        The sum, rounded to the weight's own type and on its device.
    """
    rows_RI = a_RI.detach().float().cpu()
    columns_RO = (b_OR.detach().float().cpu() * (config["lora_alpha"] / config["r"])).T
    delta_OI = torch.zeros(columns_RO.shape[1], rows_RI.shape[1])
    for column_O, row_I in zip(columns_RO, rows_RI, strict=True):
        delta_OI += torch.outer(column_O, row_I)
    delta = delta_OI.T if config.get("fan_in_fan_out") else delta_OI
    base = weight.detach().float().cpu()
    # Where nothing is added nothing is computed: a sum may take a denormal number for zero, as training and serving do.
    return torch.where(delta == 0, base, base + delta).to(weight)


@dataclass(frozen=True)
class Recipe:
    """How the weights of a file follow from a base and an adapter: the content of a compact model's `merge.json`."""

    header: str
    """The header of the merged file, byte for byte: its names, types, shapes and places."""
    base: Mapping[str, str]
    """The base's name of each weight that is the base's, with or without an adapter on it."""
    adapter: Mapping[str, str]
    """The adapter's name of each weight that was learned beside it, as a classifier's last layers."""

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Where each weight begins and ends in the file, in bytes behind the header, in that order."""
        described = {name: each for name, each in json.loads(self.header).items() if name != "__metadata__"}
        found = {name: (each["data_offsets"][0], each["data_offsets"][1]) for name, each in described.items()}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def weights(
        self, base: Mapping[str, Tensor], adapter: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Iterator[tuple[str, Tensor]]:
        """The merged weights by their names, one at a time, in the order of the file.

        Args:
            base: The base's weights.
            adapter: The adapter's.
            config: The adapter's `adapter_config.json`.
        """
        described = json.loads(self.header)
        for name in self.places:
            dtype = _DTYPES[described[name]["dtype"]]
            if name in self.adapter:
                yield name, adapter[self.adapter[name]].to(dtype)
            else:
                yield name, with_adapter(base[self.base[name]].to(dtype), name, adapter, config)


def with_adapter(weight: Tensor, name: str, adapter: Mapping[str, Tensor], config: Mapping[str, Any]) -> Tensor:
    """A base's weight with what the adapter adds to the layer of this name, if it adds anything."""
    layer = f"{PREFIX}{name.removesuffix('.weight')}"
    a_RI, b_OR = adapter.get(f"{layer}.lora_A.weight"), adapter.get(f"{layer}.lora_B.weight")
    return weight if a_RI is None or b_OR is None else merge(weight, a_RI, b_OR, config)


def find_recipe(
    header: str,
    tuned: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    adapter: Mapping[str, Tensor],
    config: Mapping[str, Any],
) -> Recipe | None:
    """How a tuned model's weights follow from its base's and its adapter; None where they do not, to the bit.

    Args:
        header: The header of the tuned model's file.
        tuned: Its weights by name.
        base: The base's weights, perhaps under names without the first part, as of a body saved without its head.
        adapter: The adapter's.
        config: The adapter's `adapter_config.json`.
    """
    described = json.loads(header)
    from_base: dict[str, str] = {}
    from_adapter: dict[str, str] = {}
    for name, weight in tuned.items():
        if described[name]["dtype"] not in _DTYPES:
            return None
        likely = [each for each in (name, name.partition(".")[2], f"model.{name}") if each in base]
        for theirs in dict.fromkeys([*likely, *base]):  # others where a weight is stored twice
            shaped = base[theirs].shape == weight.shape
            if shaped and _same(weight, with_adapter(base[theirs].to(weight.dtype), name, adapter, config)):
                from_base[name] = theirs
                break
        else:
            key = next((each for each, learned in adapter.items() if _same(weight, learned.to(weight.dtype))), None)
            if key is None:
                return None
            from_adapter[name] = key
    return Recipe(header, from_base, from_adapter)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two weights have the same bytes."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    mine, theirs = (each.contiguous().view(-1).view(torch.uint8) for each in (one, other))
    return torch.equal(mine, theirs)
