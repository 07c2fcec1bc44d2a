"""The stage that brings a pretrained model: what it leaves, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from langmill.errors import ConfigError, SourceError, TokenizerError
from langmill.files import read_manifest, sha256_file
from langmill.stages import pretrained
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
from tests.unit.checkpoints.files import LLAMA, TOKENIZER, TOKENS, network, tensors_of, write_gguf, write_model
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
    with refused(TokenizerError, "mismatch", "tokenizer.json", "10", "and, not, very and 11 more"):
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


def _change(name: str, **changed: Any) -> None:
    path = Path("models", name)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def _drop(part: str) -> None:
    path = Path("models/model.safetensors")
    kept = {name: tensor for name, tensor in load_file(path).items() if part not in name}
    save_file(kept, path, metadata={"format": "pt"})


def _shard() -> None:
    save_file(load_file("models/model.safetensors"), "models/whole.safetensors")
    weights = load_file("models/whole.safetensors")
    for number, name in enumerate(weights):
        save_file({name: weights[name]}, f"models/model-{number}.safetensors", metadata={"format": "pt"})
    listed = {name: f"model-{number}.safetensors" for number, name in enumerate(weights)}
    Path("models/model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    for name in ("model", "whole"):
        Path(f"models/{name}.safetensors").unlink()


@pytest.mark.parametrize(
    ("family", "head", "part", "told"),
    [
        ("Llama", "ForCausalLM", "layers.1.", "model.layers.1.input_layernorm.weight"),
        ("GPT2", "LMHeadModel", "h.1.", "transformer.h.1.attn.c_attn.bias"),
        ("GPT2", "LMHeadModel", "wpe", "transformer.wpe.weight"),
        ("T5", "ForConditionalGeneration", "decoder.block.1", "decoder.block.1.layer.0.SelfAttention.k.weight"),
        ("Bert", "Model", "layer.1.", "bert.encoder.layer.1.attention.output.LayerNorm.bias"),
    ],
)
def test_weights_without_one_of_the_layers(family: str, head: str, part: str, told: str) -> None:
    write_checkpoint(Path("models"), family, head)
    _drop(part)
    with refused(SourceError, "mismatch", "config.json", told):
        bring(Path("models"))


def test_weights_of_another_shape() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    _change("config.json", intermediate_size=48)
    with refused(SourceError, "mismatch", "model.layers.0.mlp.down_proj.weight"):
        bring(Path("models"))


def _replace(name: str, tensor: Any) -> None:
    path = Path("models/model.safetensors")
    save_file(load_file(path) | {name: tensor}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e5m2])
def test_a_weight_that_is_no_number(wrong: float, dtype: torch.dtype) -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    name = "model.layers.1.mlp.up_proj.weight"
    weight = load_file("models/model.safetensors")[name]
    _replace(name, torch.full_like(weight, 40_000).to(dtype))  # whose sum in 16 bits is infinite
    bring(Path("models"))
    weight[1, 2] = wrong
    _replace(name, weight.to(dtype))
    with refused(SourceError, "diverged", name, "1 of its 512"):
        bring(Path("models"))


def test_a_number_that_a_gguf_file_has_not() -> None:
    tensors = tensors_of(network("Llama"))
    tensors["output_norm.weight"][3] = math.nan
    write_gguf(Path("tiny.gguf"), "llama", {**LLAMA, **TOKENIZER}, tensors)
    with refused(SourceError, "diverged", "output_norm.weight"):
        bring(Path("tiny.gguf"))


def test_weights_that_the_network_has_no_place_for_are_said(caplog: pytest.LogCaptureFixture) -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    _replace("model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4))  # what earlier releases stored
    bring(Path("models"))
    assert not caplog.text
    _replace("model.layers.0.self_attn.q_proj.bias", torch.ones(16))
    _change("config.json", num_hidden_layers=1)
    bring(Path("models"))
    for told in ("model.layers.0.self_attn.q_proj.bias", "model.layers.1.", "more", "do nothing"):
        assert told in caplog.text


def test_two_weights_that_the_settings_say_are_one() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM", tie_word_embeddings=True)
    embedding = load_file("models/model.safetensors")["model.embed_tokens.weight"]
    _replace("lm_head.weight", embedding.clone())
    bring(Path("models"))
    _replace("lm_head.weight", embedding + 1)
    with refused(SourceError, "mismatch", "lm_head.weight", "model.embed_tokens.weight", "tie_word_embeddings"):
        bring(Path("models"))


def test_a_chat_template_that_writes_without_end() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    Path("models/chat_template.jinja").write_text("{% for i in range(99999) %}and on{% endfor %}")
    with refused(TokenizerError, "refused", "chat template", "599,994 characters"):
        bring(Path("models"))


def test_a_head_that_a_task_can_do_without_may_be_missing() -> None:
    write_checkpoint(Path("models/llama"), "Llama", "Model")
    write_checkpoint(Path("models/bert"), "Bert", "ForMaskedLM")  # has no pooler, which a classifier learns
    write_checkpoint(Path("models/bart"), "Bart", "Model")  # whose head is its embedding
    for name in ("llama", "bert", "bart"):
        bring(Path("models", name))


@pytest.mark.parametrize(
    "changed",
    [
        {"rope_parameters": {"rope_type": "frobnicate", "rope_theta": 10000.0, "factor": 2.0}},
        {"hidden_act": "frobnicate"},
    ],
)
def test_a_network_that_can_not_be_made(changed: dict[str, Any]) -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    _change("config.json", **changed)
    with refused(SourceError, "unsupported", "config.json", "frobnicate"):
        bring(Path("models"))


def test_quantized_weights_and_adapters_are_refused() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    _change("config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with refused(SourceError, "unsupported", "quantized", "gptq"):
        bring(Path("models"))
    Path("models/adapter_config.json").write_text('{"peft_type": "LORA"}')
    with refused(SourceError, "unsupported", "adapter", "merge_and_unload"):
        bring(Path("models"))


def test_weights_in_several_files() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    _shard()
    shutil.copy("models/model-0.safetensors", "models/consolidated.safetensors")  # what transformers does not read
    model = bring(Path("models"))
    assert (model / "model-0.safetensors").is_file()
    assert not (model / "consolidated.safetensors").exists()
    Path("models/model-1.safetensors").unlink()
    with refused(SourceError, "missing", "model-1.safetensors", "model.safetensors.index.json"):
        bring(Path("models"))
    for content in ('{"weight_map": 3}', "{}", '{"weight_map": {"a": 1}}'):
        Path("models/model.safetensors.index.json").write_text(content)
        with refused(SourceError, "unreadable", "model.safetensors.index.json"):
            bring(Path("models"))
    Path("models/model.safetensors.index.json").unlink()
    with refused(SourceError, "missing", "model.safetensors.index.json", "model-0.safetensors"):
        bring(Path("models"))


def test_a_config_that_can_not_be_read() -> None:
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    Path("models/config.json").write_text("{")
    with refused(SourceError, "unreadable", "config.json"):
        bring(Path("models"))
