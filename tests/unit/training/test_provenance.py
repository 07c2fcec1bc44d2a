"""A provenance changes with everything that can change the result, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import langmill
from langmill.config.compose import compose_recipe
from langmill.errors import TrainingError
from langmill.files import write_manifest
from langmill.training import hardware, provenance
from tests.refused import refused
from tests.unit.training.material import RECIPES, REPOSITORY

pytestmark = pytest.mark.unit


@pytest.fixture
def trace(prepared_workspace):
    def of(*overrides, shards=None, base=None, name="reviews-lm"):
        recipe = replace(
            compose_recipe("reviews-lm", [*RECIPES["reviews-lm"], *overrides], REPOSITORY / "conf"), name=name
        )
        build = prepared_workspace / "build"
        return provenance.compute_provenance(
            recipe, shards or build / "shards" / "reviews-lm", build / "tokenizers" / "reviews" / "tokenizer.json", base
        )

    return of


def test_it_is_the_same_every_time_and_says_its_parts(trace):
    found = trace()
    assert found == trace()
    assert len(found.digest) == 64
    assert set(found.parts) == {
        "recipe",
        "settings",
        "data",
        "tokenizer",
        "base",
        "code",
        "plugins",
        "versions",
        "machine",
    }
    assert found.parts["base"] is None
    assert found.parts["plugins"] == {}
    assert found.parts["versions"]["langmill"] == langmill.__version__
    assert set(found.parts["versions"]) == {"langmill", "numpy", "pytorch-lightning", "tokenizers", "torch"}
    assert set(found.parts["code"]) == set(provenance.CODE)
    assert "train.tokens" in found.parts["data"]


@pytest.mark.parametrize(
    "override",
    ["training.seed=2", "training.threads=2", "training.optimizer.betas=[0.9,0.99]", "model.options.dropout=0.1"],
)
def test_what_changes_the_result_changes_it(trace, override):
    assert trace(override).digest != trace().digest


@pytest.mark.parametrize("override", ["training.log_every=1", "training.checkpoint_every=1", "training.samples=[]"])
def test_what_only_changes_what_is_seen_does_not(trace, override):
    assert trace(override).digest == trace().digest


def test_another_kind_of_machine_changes_it(trace, monkeypatch):
    """`precision: auto` is fp32 on one machine and bf16 on another: a checkpoint of the one is not the other's."""
    monkeypatch.setattr(hardware, "_cpu_flags", set)
    auto = "training.precision=auto", "training.accelerator=auto"
    plain = trace(*auto)
    assert plain.parts["machine"] == {"accelerator": "cpu", "precision": "fp32"}
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: {"amx_bf16"})
    narrow = trace(*auto)
    assert narrow.parts["machine"] == {"accelerator": "cpu", "precision": "bf16"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    card = trace(*auto)
    assert card.parts["machine"] == {"accelerator": "cuda", "precision": "bf16"}
    assert len({plain.digest, narrow.digest, card.digest}) == 3


def test_a_machine_without_the_device_can_still_say_what_would_be_trained(trace):
    """`langmill trace` asks it where only the registry lies."""
    wanted = "training.accelerator=mps"
    assert trace(wanted).parts["machine"] == {"accelerator": "mps", "precision": "fp32"}


def test_the_gate_is_no_part_of_a_training(trace):
    assert trace("gate.rules.improvement.min_effect=0.5", "description=other").digest == trace().digest


def test_another_recipe_with_the_same_settings_is_another_model(trace):
    """Its name stands in `config.json`: a copy of a recipe, to judge it otherwise, must not get the first's folder."""
    assert trace(name="copy").digest != trace().digest


def test_other_data_changes_it(trace, tmp_path):
    (tmp_path / "train.tokens").write_bytes(b"12")
    write_manifest(tmp_path, {})
    assert trace(shards=tmp_path).digest != trace().digest


def test_the_base_is_named(trace, tmp_path):
    write_manifest(tmp_path, {"recipe": "reviews-lm", "provenance": "ab" * 32})
    found = trace(base=tmp_path)
    assert found.base == {"recipe": "reviews-lm", "provenance": "ab" * 32}
    assert found.parts["base"] == "ab" * 32
    assert found.digest != trace().digest


def test_licence_and_source_of_a_pretrained_base_go_with_every_model_made_of_it(trace, tmp_path):
    said = {"licence": "Apache-2.0", "source": {"kind": "files", "name": "tiny.gguf"}}
    write_manifest(tmp_path, {"recipe": "tiny", "provenance": "ab" * 32, **said})
    first = trace(base=tmp_path)
    assert first.pretrained == {"name": "tiny", **said}
    write_manifest(tmp_path, {"recipe": "mine", "provenance": "cd" * 32, "pretrained": first.pretrained})
    assert trace(base=tmp_path).pretrained == first.pretrained
    assert trace().pretrained is None


def test_a_base_without_provenance_is_refused(trace, tmp_path):
    write_manifest(tmp_path, {"recipe": "reviews-lm"})
    with refused(TrainingError, "missing", str(tmp_path), "provenance"):
        trace(base=tmp_path)


def test_code_counts_by_its_bytes(tmp_path):
    for name in provenance.CODE:
        path = tmp_path / name
        if name.endswith(".py"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("1")
        else:
            path.mkdir()
            (path / "code.py").write_text("1")
    before = provenance.code_digests(tmp_path)
    (tmp_path / "training" / "__pycache__").mkdir()
    (tmp_path / "training" / "__pycache__" / "code.pyc").write_bytes(b"x")
    assert provenance.code_digests(tmp_path) == before
    (tmp_path / "training" / "code.py").write_text("2")
    after = provenance.code_digests(tmp_path)
    assert [name for name in before if before[name] != after[name]] == ["training"]
