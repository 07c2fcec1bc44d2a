from __future__ import annotations

import json
import shutil

import pytest
import torch

from langmill.errors import ConfigError, IntegrityError, ModelError
from langmill.files import write_manifest
from langmill.models.decoder import Decoder
from langmill.tasks.classification import Classification
from langmill.tasks.language_modelling import LanguageModelling
from langmill.tasks.loading import load_model
from tests.refused import refused

from .settings import save_tiny_model, shipped_task, tiny_backbone

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_tiny_model(folder, "language_modelling", (), tokenizer, 24)
    return folder


def test_a_loaded_model_answers_as_the_saved_one(folder, tokenizer):
    model = load_model(folder, verify=True)
    torch.manual_seed(0)
    original = shipped_task("language_modelling").network(tiny_backbone(tokenizer.vocab_size, 24)).eval()
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.network(tokens), original(tokens))
    assert not model.network.training
    assert isinstance(model.task, LanguageModelling)
    assert (model.recipe, model.max_length, model.provenance) == ("tiny", 24, "ab" * 32)
    assert model.tokenizer.encode("the film") == tokenizer.encode("the film")


def test_a_classifier_knows_its_labels_and_options(tmp_path, tokenizer):
    save_tiny_model(tmp_path / "m", "classification", ("bad", "good"), tokenizer, 16)
    model = load_model(tmp_path / "m", verify=True)
    assert isinstance(model.task, Classification)
    assert model.task.labels == ("bad", "good")
    assert model.task.probabilities(model.network, model.tokenizer, ["the film"]).shape == (1, 2)


def test_loading_leaves_the_random_numbers_alone(folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_model(folder, verify=False)
    assert torch.equal(torch.rand(2), expected)


def test_a_flipped_byte_is_found(folder, tmp_path):
    damaged = tmp_path / "m"
    shutil.copytree(folder, damaged)
    data = bytearray((damaged / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(data)
    with refused(IntegrityError, "damaged", "model.safetensors"):
        load_model(damaged, verify=True)


def test_what_is_no_model_is_refused(folder, tmp_path):
    with refused(ModelError, "missing", str(tmp_path / "nothing")):
        load_model(tmp_path / "nothing", verify=True)
    foreign = tmp_path / "foreign"
    shutil.copytree(folder, foreign)
    config = json.loads((foreign / "config.json").read_text())
    del config["langmill"]["task"]
    (foreign / "config.json").write_text(json.dumps(config))
    write_manifest(foreign, {"provenance": "x"})
    with refused(ModelError, "missing", "config.json", "'task'"):
        load_model(foreign, verify=True)


def test_a_folder_that_is_older_than_an_option_is_read_as_it_was_made(folder, tmp_path, monkeypatch):
    older = tmp_path / "m"
    shutil.copytree(folder, older)
    config = json.loads((older / "config.json").read_text())
    dropout = config["langmill"]["model"]["options"].pop("dropout")
    (older / "config.json").write_text(json.dumps(config))
    with refused(ConfigError, "missing", "config.json", "dropout"):
        load_model(older, verify=False)
    monkeypatch.setattr(Decoder, "earlier_options", {"dropout": dropout, "num_layers": 7})
    loaded, original = load_model(older, verify=False), load_model(folder, verify=False)
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded.network(tokens), original.network(tokens))  # what the folder says itself goes first


def test_a_tokenizer_that_is_not_the_models_is_refused(folder, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    config = json.loads((mixed / "config.json").read_text())
    config["langmill"]["eot_id"] = 7
    (mixed / "config.json").write_text(json.dumps(config))
    write_manifest(mixed, {"provenance": "x"})
    with refused(ModelError, "mismatch", "end of text 0", "end of text 7"):
        load_model(mixed, verify=True)


def test_a_base_as_it_came_and_a_model_of_others_say_what_they_are(folder, tmp_path):
    base = tmp_path / "m"
    shutil.copytree(folder, base)
    described = json.loads((base / "config.json").read_text())
    del described["langmill"]
    (base / "config.json").write_text(json.dumps(described))
    (base / "manifest.json").unlink()
    with refused(ModelError, "unsupported", str(base), "langmill new pretrained NAME --from"):
        load_model(base, verify=True)
    write_manifest(base, {"recipe": "tiny", "provenance": "ab" * 32, "source": {"kind": "files"}})
    with refused(ModelError, "unsupported", "tiny is a pretrained model as it came", "--base tiny", "benchmark tiny"):
        load_model(base, verify=True)
