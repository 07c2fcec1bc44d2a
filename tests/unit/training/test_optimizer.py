"""The learning rate's course, the groups of parameters, and exact resume of the optimizers."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from langmill.config.compose import compose_recipe
from langmill.config.sections import Optimizer, OptimizerName
from langmill.models.base import build_backbone
from langmill.models.heads import Classifier, LanguageModel
from langmill.training.muon import Muon, orthogonalize
from langmill.training.optimizer import build_optimizer, clip_gradients, schedule
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def settings() -> Optimizer:
    return compose_recipe("reviews-lm", RECIPES["reviews-lm"], REPOSITORY / "conf").training.optimizer


def backbone(*overrides: str) -> nn.Module:
    recipe = compose_recipe("reviews-lm", [*RECIPES["reviews-lm"], *overrides], REPOSITORY / "conf")
    torch.manual_seed(0)
    return build_backbone(recipe.model.architecture, recipe.model.options, 300, 32, "test")


def classifier() -> Classifier:
    return Classifier(backbone(), 2, dropout=0.0)


def test_schedule_grows_to_its_peak_and_ends_at_the_final_fraction():
    assert schedule(0, 100, 4, 0.1) == 0.25
    assert schedule(3, 100, 4, 0.1) == 1.0
    assert schedule(51, 100, 4, 0.1) == pytest.approx(0.55)  # half of the cosine: the middle of 1 and 0.1
    assert schedule(99, 100, 4, 0.1) == pytest.approx(0.1)
    falling = [schedule(step, 100, 4, 0.1) for step in range(3, 100)]
    assert falling == sorted(falling, reverse=True)


def test_schedule_without_warm_up_starts_below_the_peak_only_by_the_cosine():
    assert schedule(0, 10, 0, 0.0) == pytest.approx(0.9755, abs=1e-4)
    assert schedule(9, 10, 0, 0.0) == pytest.approx(0.0, abs=1e-12)


def test_norm_weights_and_embedding_do_not_decay_and_each_kind_has_its_own_learning_rate(settings):
    settings = dataclasses.replace(
        settings,
        name=OptimizerName.adamw,
        learning_rate=0.001,
        matrix_learning_rate=0.02,
        head_learning_rate=0.5,
        weight_decay=0.25,
    )
    network = classifier()
    optimizer = build_optimizer(network, settings, steps=100)
    of_parameter = {
        id(parameter): (group["peak_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found = {name: of_parameter[id(parameter)] for name, parameter in network.named_parameters()}
    assert len(of_parameter) == len(found)
    assert found["score.weight"] == (0.5, 0.25)
    assert found["model.norm.weight"] == (0.001, 0.0)
    assert found["model.layers.0.input_layernorm.weight"] == (0.001, 0.0)
    assert found["model.embed_tokens.weight"] == (0.001, 0.0)
    assert found["model.layers.1.mlp.up_proj.weight"] == (0.02, 0.25)


def test_muon_gets_the_matrices_of_the_backbone_and_nothing_else(settings):
    settings = dataclasses.replace(settings, name=OptimizerName.muon, matrix_learning_rate=0.03)
    network = LanguageModel(backbone("model.options.tie_embeddings=false"))
    optimizer = build_optimizer(network, settings, steps=100)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    adamw, muon = optimizer.optimizers
    assert isinstance(muon, Muon)
    assert {group["peak_lr"] for group in muon.param_groups} == {0.03}
    in_muon = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    in_adamw = {names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]}
    assert len(in_muon) == 2 * 7
    assert all(name.startswith("model.layers.") and name.endswith("proj.weight") for name in in_muon)
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= in_adamw
    assert in_muon | in_adamw == set(names.values())
    assert not in_muon & in_adamw


def test_every_group_follows_the_course(settings):
    settings = dataclasses.replace(settings, name=OptimizerName.muon, warmup_steps=4)
    optimizer = build_optimizer(classifier(), settings, steps=10)
    shares = []
    for _ in range(10):
        optimizer.step()
        found = {round(group["lr"] / group["peak_lr"], 9) for group in optimizer.param_groups}
        assert len(found) == 1
        shares.append(found.pop())
    assert shares == pytest.approx([schedule(step, 10, 4, settings.final_fraction) for step in range(10)])


@pytest.mark.parametrize("name", list(OptimizerName))
def test_continuing_from_a_saved_state_gives_the_same_weights(settings, name):
    settings = dataclasses.replace(settings, name=name)

    def steps(network: nn.Module, optimizer, first: int, end: int) -> None:
        for step in range(first, end):
            torch.manual_seed(step)
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()

    whole = classifier()
    optimizer = build_optimizer(whole, settings, steps=10)
    steps(whole, optimizer, 0, 3)
    saved = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
    steps(whole, optimizer, 3, 6)

    resumed = classifier()
    resumed.load_state_dict(saved[0])
    optimizer = build_optimizer(resumed, settings, steps=10)
    optimizer.load_state_dict(saved[1])
    assert optimizer.steps_made == 3
    steps(resumed, optimizer, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_clipping_tells_the_norm_before_and_scales_to_the_limit():
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert float(clip_gradients(weights, 10.0)) == 5.0
    assert weights[0].grad.tolist() == [3.0, 0.0]
    assert float(clip_gradients(weights, 1.0)) == 5.0
    assert weights[0].grad.tolist() == pytest.approx([0.6, 0.0], abs=1e-5)
    assert weights[1].grad.tolist() == pytest.approx([0.8], abs=1e-5)
    assert float(clip_gradients(weights, 0.0)) == pytest.approx(1.0, abs=1e-5)
    assert weights[1].grad.tolist() == pytest.approx([0.8], abs=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)])
def test_orthogonalize_brings_singular_values_near_one_and_keeps_the_singular_vectors(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    result = orthogonalize(matrices)
    assert result.shape == matrices.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.5
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inside = left.mT @ result @ right.mT  # diagonal where the singular vectors agree
    assert (inside - torch.diag_embed(torch.diagonal(inside, dim1=1, dim2=2))).abs().max() < 1e-3


def test_muon_moves_weights_as_torch_does():
    """torch iterates in bfloat16 and we in fp32, so directions agree to bfloat16's accuracy."""
    torch.manual_seed(0)
    start = torch.randn(12, 30)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        gradient = torch.randn(12, 30)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    moved, expected = (ours - start).detach(), (theirs - start).detach()
    assert (moved - expected).norm() / expected.norm() < 0.02
