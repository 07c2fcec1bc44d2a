"""Whole trainings of both shipped recipes, made small."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from langmill.errors import TrainingError
from langmill.files import read_manifest, write_manifest
from langmill.models.folder import load_state
from langmill.tasks.loading import load_model
from tests.refused import refused
from tests.unit.training.material import curve, events, train, weights

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def trained(prepared_workspace, tmp_path_factory):
    """A workspace in which both recipes have been trained."""
    workspace = shutil.copytree(prepared_workspace, tmp_path_factory.mktemp("trained") / "workspace")
    train(workspace, "reviews-lm")
    train(workspace, "sentiment-decoder", ["training.steps=40"])
    return workspace


def test_training_learns(trained):
    losses = list(curve(trained, "train/loss").values())
    assert losses[0] > losses[3] + 0.4
    assert 5.5 < losses[0] < 5.8  # the language model: from about ln 300
    assert curve(trained, "validation/loss", "sentiment-decoder")[40] < 0.55  # the classifier: from ln 2


def test_the_model_says_where_it_comes_from(trained):
    manifest = read_manifest(trained / "build/models/sentiment-decoder", verify=True)
    base = read_manifest(trained / "build/models/reviews-lm", verify=True)
    assert manifest["base"] == {"recipe": "reviews-lm", "provenance": base["provenance"]}
    assert manifest["parts"]["base"] == base["provenance"]
    assert base["base"] is None
    assert base["tokens_seen"] == 12 * 8 * 32
    assert (base["steps"], manifest["steps"]) == (12, 40)
    assert base["parameters"] == 300 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert [event["provenance"] for event in events(trained, "start")] == [base["provenance"]]
    assert [event["provenance"] for event in events(trained, "start", "sentiment-decoder")] == [manifest["provenance"]]
    assert str(trained) not in json.dumps([base, manifest])


def test_the_model_can_be_loaded_and_answers(trained):
    loaded = load_model(trained / "build/models/sentiment-decoder", verify=True)
    assert loaded.recipe == "sentiment-decoder"
    assert loaded.task.labels == ("0", "1")
    rows = loaded.task.probabilities(
        loaded.network, loaded.tokenizer, ["wonderful warm clever film", "dull stale story"]
    )
    assert rows[0, 1] > rows[1, 1]


def test_metrics_and_samples_are_logged_at_their_steps(trained):
    assert list(curve(trained, "train/loss")) == [3, 6, 9, 12]
    assert list(curve(trained, "validation/loss")) == [4, 8, 12]
    assert list(curve(trained, "tokens_per_second")) == [3, 6, 9, 12]
    names = [event["name"] for event in events(trained, "file")]
    assert names == ["samples/step-00000004.md", "samples/step-00000008.md", "samples/step-00000012.md"]
    assert [event["status"] for event in events(trained, "finish")] == ["FINISHED"]
    params = events(trained, "start")[0]["params"]
    assert params["training.optimizer.warmup_steps"] == "3"


def test_no_checkpoint_is_left(trained):
    assert not list(trained.glob(".langmill/runs/*/checkpoints"))


def test_training_twice_gives_the_same_bytes(workspace):
    first = train(workspace, "reviews-lm", ["model.options.dropout=0.2"], out="first")
    second = train(workspace, "reviews-lm", ["model.options.dropout=0.2"], out="second")
    for name in ("model.safetensors", "config.json", "manifest.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_what_is_watched_does_not_change_the_weights(workspace):
    first = train(workspace, "reviews-lm", ["model.options.dropout=0.2"], out="first")
    overrides = ["model.options.dropout=0.2", "training.samples=[]", "training.log_every=1"]
    overrides += ["training.validate_every=5", "training.checkpoint_every=100"]
    second = train(workspace, "reviews-lm", overrides, out="second")
    assert weights(first) == weights(second)


def test_accumulation_gives_the_same_curve(workspace):
    train(workspace, "reviews-lm")
    whole = curve(workspace, "train/loss")
    for event in workspace.glob(".langmill/runs/*/events.jsonl"):
        event.unlink()
    train(workspace, "reviews-lm", ["training.micro_batch_size=2"])
    assert curve(workspace, "train/loss") == pytest.approx(whole, rel=1e-5)


def test_with_patience_the_best_weights_are_kept(workspace):
    overrides = [
        "training.early_stopping_patience=2",
        "training.validate_every=2",
        "training.optimizer.learning_rate=1.0",
    ]
    overrides += ["training.steps=40", "training.optimizer.gradient_clip=0.0"]
    model = train(workspace, "reviews-lm", overrides)
    losses = curve(workspace, "validation/loss")
    steps = read_manifest(model, verify=True)["steps"]
    best = min(losses, key=losses.__getitem__)
    assert steps == best + 4 < 40  # two validations later
    assert max(losses) == steps


def test_fine_tuning_starts_from_the_base(workspace):
    base = train(workspace, "reviews-lm")
    rate = [f"training.optimizer.{kind}learning_rate=1e-9" for kind in ("", "matrix_", "head_")]
    model = train(workspace, "sentiment-decoder", rate)
    before, after = load_state(base), load_state(model)
    assert after.keys() - before.keys() == {"classifier.weight"}
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


def test_a_base_of_another_shape_is_refused(workspace):
    train(workspace, "reviews-lm")
    with refused(TrainingError, "mismatch", "reviews-lm", "hidden_dim, rope_theta"):
        train(workspace, "sentiment-decoder", ["model.options.hidden_dim=48", "model.options.rope_theta=500.0"])


def test_a_base_with_another_tokenizer_is_refused(workspace):
    base = train(workspace, "reviews-lm")
    facts = {name: value for name, value in read_manifest(base, verify=False).items() if name != "files"}
    write_manifest(base, {**facts, "tokenizer_sha256": "0" * 64})
    with refused(TrainingError, "mismatch", "tokenizer", "base reviews-lm"):
        train(workspace, "sentiment-decoder")


def test_tokens_of_another_tokenizer_are_refused(workspace):
    path = workspace / "build/tokenizers/reviews/tokenizer.json"
    path.write_text(path.read_text() + "\n")
    with refused(TrainingError, "mismatch", "tokenizer.json", "dvc repro encode@reviews-lm"):
        train(workspace, "reviews-lm")
