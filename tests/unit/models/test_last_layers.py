"""An adapter in the last blocks alone: no gradient before them, and a merged network that `peft` makes of it too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from langmill.errors import ConfigError
from langmill.models.base import Kind
from langmill.models.folder import load_state, load_weights, own_names, save_model
from langmill.models.heads import TextToText
from langmill.training.blocks import repeated_blocks
from tests.refused import refused
from tests.unit.models.checkpoints import write_checkpoint
from tests.unit.models.pretrained import HEADS, KINDS, LABELS, LORA, load

pytestmark = pytest.mark.unit
BLOCKS = 3
TOKENS_BT = torch.randint(4, 20, (3, 9), generator=torch.Generator().manual_seed(5))
LENGTHS_B = torch.tensor([9, 9, 9])
LAYERS = {"GPT2": "n_layer", "Llama": "num_hidden_layers", "Bert": "num_hidden_layers", "T5": "num_layers"}


def write(folder: Path, family: str) -> Any:
    labels = {"num_labels": LABELS} if KINDS[family] is Kind.bidirectional else {}
    return write_checkpoint(folder, family, HEADS[family], **{LAYERS[family]: BLOCKS}, **labels)


def opened(folder: Path, family: str, implementation: str, **lora: Any) -> Any:
    return load(folder, KINDS[family], tuning="lora", lora={**LORA, **lora}, implementation=implementation)


def logits_of(network: nn.Module) -> Tensor:
    found: Tensor = network(TOKENS_BT, LENGTHS_B, *([TOKENS_BT] if isinstance(network, TextToText) else []))
    return found


def reference_logits(model: Any, family: str) -> Tensor:
    tokens_BT = TOKENS_BT
    if KINDS[family] is Kind.bidirectional:
        around = [torch.full((3, 1), special) for special in (3, 2)]
        tokens_BT = torch.cat([around[0], tokens_BT, around[1]], dim=1)
    decoder = {"decoder_input_ids": TOKENS_BT} if KINDS[family] is Kind.encoder_decoder else {}
    with torch.no_grad():
        found: Tensor = model(input_ids=tokens_BT, **decoder).logits
    return found


def learn(network: nn.Module) -> None:
    """Three steps on whatever the network predicts."""
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        logits_of(network).pow(2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("family", "implementation"),
    [("Llama", "auto"), *((family, "transformers") for family in LAYERS)],
)
def test_blocks_before_the_last_ones_stay_as_they_came(tmp_path: Path, family: str, implementation: str) -> None:
    model = write(tmp_path / "base", family)
    network = opened(tmp_path / "base", family, implementation, last_layers=1)
    before = logits_of(network).detach()
    network.model.prepare_for_training(network)
    blocks = repeated_blocks(network.model)
    for number, block in enumerate(blocks):
        trained = {name for name, weight in block.named_parameters() if weight.requires_grad}
        assert bool(trained) is (number % BLOCKS == BLOCKS - 1)
        assert all("lora_" in name for name in trained)
    reached: list[bool] = []
    blocks[BLOCKS - 2].register_forward_hook(
        lambda _, __, hidden: reached.append((hidden[0] if isinstance(hidden, tuple) else hidden).requires_grad)
    )
    learn(network)
    assert not any(reached)  # so no backward pass there
    assert reached
    for name, weight in network.named_parameters():
        assert (weight.grad is not None) is weight.requires_grad, name
    learned = logits_of(network.eval()).detach()
    assert (learned - before).abs().max() > 1e-2
    adapter = network.model.merge_adapter(network)
    torch.testing.assert_close(logits_of(network), learned, rtol=1e-3, atol=1e-4)
    out = tmp_path / "out"
    save_model(out, network, {"langmill": {"eot_id": 2}}, tmp_path / "base/tokenizer.json", {}, adapter=adapter)
    again = load(tmp_path / "base", KINDS[family], implementation=implementation)
    load_weights(again, own_names(again, load_state(out)), "test")
    torch.testing.assert_close(logits_of(again.eval()), learned, rtol=1e-3, atol=1e-4)
    with_adapter = peft.PeftModel.from_pretrained(copy.deepcopy(model), out / "adapter").eval()
    torch.testing.assert_close(reference_logits(with_adapter, family), learned, rtol=1e-3, atol=1e-4)


def test_the_gradients_are_those_of_an_adapter_everywhere(tmp_path: Path) -> None:
    write(tmp_path, "Llama")
    gradients = []
    for last_layers in (None, BLOCKS, 1):
        network = opened(tmp_path, "Llama", "auto", last_layers=last_layers)
        network.model.prepare_for_training(network)
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "lora_" in name and f"layers.{BLOCKS - 1}." in name:
                    weight.copy_(torch.linspace(-0.1, 0.1, weight.numel()).view_as(weight))
                elif "lora_B" in name:
                    weight.zero_()
        logits_of(network).pow(2).mean().backward()
        gradients.append({name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() > gradients[2].keys()
    for name, gradient in gradients[2].items():
        torch.testing.assert_close(gradient, gradients[0][name])


def test_names_of_layers_are_sought_in_the_last_blocks_alone(tmp_path: Path) -> None:
    write(tmp_path, "Llama")
    network = opened(tmp_path, "Llama", "auto", last_layers=2, targets=["q_proj", "down_proj"])
    network.model.prepare_for_training(network)
    adapted = {name.partition(".lora_")[0] for name, _ in network.named_parameters() if "lora_" in name}
    layers = ("self_attn.q_proj", "mlp.down_proj")
    assert adapted == {f"model.layers.{number}.{layer}" for number in (1, 2) for layer in layers}
    network = opened(tmp_path, "Llama", "auto", last_layers=2, targets=["c_attn"])
    with refused(ConfigError, "unknown", "lora.targets is ['c_attn']", "q_proj"):
        network.model.prepare_for_training(network)
    network = opened(tmp_path, "Llama", "auto", last_layers=BLOCKS + 1)
    with refused(ConfigError, "impossible", "lora.last_layers is 4", "3"):
        network.model.prepare_for_training(network)
