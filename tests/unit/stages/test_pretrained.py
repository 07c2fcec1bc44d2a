"""The stage that brings a pretrained model: what it leaves, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from langmill.errors import ConfigError, SourceError, TokenizerError
from langmill.files import read_manifest, sha256_file
from langmill.stages import pretrained
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
from tests.unit.checkpoints.files import TOKENS, write_model
from tests.unit.models.checkpoints import write_checkpoint

pytestmark = pytest.mark.unit


def bring(path: Path, **changed: Any) -> Path:
    """Bring a local model as `tiny`; its folder."""
    settings = {
        "name": "tiny", "description": "A tiny model.", "licence": "Apache-2.0", "kind": None, "parameters": None,
        "source": {"kind": "files", "path": str(path), "packages": [], "repository": None, "revision": None},
    }  # fmt: skip
    composed = Path("build/config/pretrained/tiny.yaml")
    composed.parent.mkdir(parents=True, exist_ok=True)
    composed.write_text(yaml.safe_dump(settings | changed))
    pretrained.main("tiny")
    return Path("build/models/tiny")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_gguf_file_becomes_a_plain_folder_that_knows_where_it_is_from() -> None:
    write_model(Path("models/tiny.gguf"), "Llama")
    digest = sha256_file(Path("models/tiny.gguf"))
    model = bring(Path("models/tiny.gguf"), kind="causal")
    manifest = read_manifest(model, verify=True)
    assert sorted(manifest["files"]) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["source"] == {
        "kind": "files",
        "name": "tiny.gguf",
        "gguf": {
            "file": "tiny.gguf", "sha256": digest, "architecture": "llama", "quantizations": ["F32"], "name": "tiny",
            "licence": "apache-2.0",
        },
    }  # fmt: skip
    vocabulary = Path("build/tokenizers/tiny")
    assert read_manifest(vocabulary, verify=True)["vocab_size"] == len(TOKENS)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (vocabulary / name).read_bytes() == (model / name).read_bytes()
    assert Tokenizer.load(vocabulary).vocab_size == len(TOKENS)


def test_equal_files_give_an_equal_provenance() -> None:
    write_model(Path("models/tiny.gguf"), "Llama")
    first = read_manifest(bring(Path("models/tiny.gguf")), verify=True)
    shutil.move("models", "elsewhere")
    assert read_manifest(bring(Path("elsewhere/tiny.gguf")), verify=True) == first


def test_a_folder_stays_as_it_was_published() -> None:
    write_checkpoint(Path("models"), "Bert", "Model")
    model = bring(Path("models"))
    assert (model / "model.safetensors").read_bytes() == Path("models/model.safetensors").read_bytes()
    assert "gguf" not in read_manifest(model, verify=True)["source"]


def test_weights_in_safetensors_are_taken_before_a_gguf_file_beside_them() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    Path("models/other.gguf").write_bytes(b"GGUF")
    assert not list(bring(Path("models")).glob("*.gguf"))


def test_another_kind_than_the_settings_say() -> None:
    write_checkpoint(Path("models"), "Bert", "Model")
    with refused(ConfigError, "mismatch", "conf/pretrained/tiny.yaml", "kind is causal", "bidirectional"):
        bring(Path("models"), kind="causal")
    assert not Path("build/models/tiny").exists()


def test_a_network_that_transformers_does_not_know() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    config = json.loads(Path("models/config.json").read_text())
    Path("models/config.json").write_text(json.dumps(config | {"model_type": "frobnicator"}))
    with refused(ConfigError, "unsupported", "frobnicator"):
        bring(Path("models"))


def test_two_files_of_which_one_is_meant() -> None:
    for name in ("a", "b"):
        write_model(Path(f"models/{name}.gguf"), "Llama")
    with refused(SourceError, "duplicate", "a.gguf", "b.gguf"):
        bring(Path("models"))


def test_a_tokenizer_of_another_model() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    config = json.loads(Path("models/config.json").read_text())
    Path("models/config.json").write_text(json.dumps(config | {"vocab_size": 10}))
    with refused(TokenizerError, "mismatch", "tokenizer.json", "10"):
        bring(Path("models"))


def test_weights_that_were_not_fetched_to_their_end() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    path = Path("models/model.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with refused(SourceError, "damaged", "model.safetensors"):
        bring(Path("models"))


@pytest.mark.parametrize(("lacking", "told"), [("config.json", "no config.json"), ("model.safetensors", "safetensors")])
def test_half_a_model(lacking: str, told: str) -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    Path("models", lacking).unlink()
    with refused(SourceError, "missing", told):
        bring(Path("models"))


def test_a_config_that_can_not_be_read() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    Path("models/config.json").write_text("{")
    with refused(SourceError, "unreadable", "config.json"):
        bring(Path("models"))
