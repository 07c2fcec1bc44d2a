"""The model folder: equal bytes for equal weights, opened by `transformers`, and refused when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from langmill.errors import IntegrityError, ModelError, SpaceError
from langmill.files import digest_files, read_manifest
from langmill.models.decoder import Decoder
from langmill.models.folder import backbone_state, load_state, load_weights, read_config, save_model
from langmill.models.heads import Classifier, LanguageModel
from langmill.models.layers.llama import TransformerSettings
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.models.conftest import EOT_ID, MakeModel

pytestmark = pytest.mark.unit
CONFIG = {"langmill": {"recipe": "r", "eot_id": EOT_ID}}
FACTS = {"provenance": "p"}


def saved(folder: Path, network: torch.nn.Module, tokenizer_file: Path) -> Path:
    save_model(folder, network, CONFIG, tokenizer_file, FACTS)
    return folder


@pytest.mark.parametrize("tie", [True, False])
def test_round_trip(make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, tie: bool) -> None:
    network, other = make_model(tie=tie), make_model(seed=2, tie=tie)
    folder = saved(tmp_path / "one", network, tokenizer_file)
    names = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "manifest.json"}
    assert {path.name for path in tmp_path.rglob("*")} == names | {"one"}
    manifest = read_manifest(folder, verify=True)
    assert manifest["provenance"] == "p"
    assert read_config(folder)["langmill"] == CONFIG["langmill"]
    state = load_state(folder)
    assert ("lm_head.weight" in state) is not tie
    load_weights(other, state, "one")
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    again = saved(tmp_path / "two", other, tokenizer_file)
    assert digest_files(again) == digest_files(folder)


def test_bytes_do_not_depend_on_the_memory_layout(make_model: MakeModel, tmp_path: Path, tokenizer_file: Path) -> None:
    network = make_model()
    one = saved(tmp_path / "one", network, tokenizer_file)
    weight = network.model.layers[0].mlp.up_proj.weight
    weight.data = weight.data.T.contiguous().T
    two = saved(tmp_path / "two", network, tokenizer_file)
    assert digest_files(one) == digest_files(two)


@pytest.mark.parametrize("tie", [True, False])
def test_transformers_opens_it_with_equal_logits(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, tokens_BT: torch.Tensor, tie: bool
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = make_model(tie=tie, rope_theta=500.0, norm_eps=1e-3)
    folder = saved(tmp_path / "model", network, tokenizer_file)
    reference, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        expected_BTV, logits_BTV = reference.eval()(tokens_BT).logits, network(tokens_BT)
    assert expected_BTV.std() > 0.5
    assert (logits_BTV - expected_BTV).abs().max() < 1e-4
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "  Ünïcode, tabs\tand\n\nlines <|endoftext|> "

    assert tokenizer.encode(text) == Tokenizer.load(tokenizer_file).encode(text)  # a special token's name is text
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert reference.generation_config.eos_token_id == EOT_ID


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_a_checkpoint_of_transformers_gives_equal_logits(
    tmp_path: Path, tokens_BT: torch.Tensor, tie: bool, shard_size: str
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, tie_word_embeddings=tie,
        rope_parameters={"rope_type": "default", "rope_theta": 700.0},
    )  # fmt: skip
    reference = LlamaForCausalLM(config).eval()
    reference.save_pretrained(tmp_path, max_shard_size=shard_size)
    read = read_config(tmp_path)
    settings = TransformerSettings(
        dim=32, num_layers=2, num_heads=4, num_kv_heads=2, hidden_dim=48, rope_theta=700.0,
        norm_eps=config.rms_norm_eps, tie_embeddings=tie, dropout=0.0,
    )  # fmt: skip
    backbone = Decoder(settings, read["vocab_size"], read["max_position_embeddings"])
    network = LanguageModel(backbone, settings.tie_embeddings).eval()
    load_weights(network, load_state(tmp_path, verify=False), str(tmp_path))
    with torch.no_grad():
        expected_BTV = reference(tokens_BT).logits
        assert (network(tokens_BT) - expected_BTV).abs().max() < 1e-4
    assert expected_BTV.std() > 0.5


def test_a_classifier_keeps_the_backbone_open_to_transformers(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, tokens_BT: torch.Tensor
) -> None:
    from transformers import LlamaModel

    base = make_model()
    network = Classifier(base.model, 3, 0.0).eval()
    folder = saved(tmp_path / "model", network, tokenizer_file)
    config = read_config(folder)
    assert config["architectures"] == ["LangmillLlamaForSequenceClassification"]
    assert config["num_labels"] == 3
    with torch.no_grad():
        hidden_BTD = LlamaModel.from_pretrained(folder).eval()(tokens_BT).last_hidden_state
        assert (hidden_BTD - base.model(tokens_BT)).abs().max() < 1e-4


def test_a_classifier_starts_from_a_language_model(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, tokens_BT: torch.Tensor
) -> None:
    base, other = make_model(tie=False), make_model(seed=2)
    folder = saved(tmp_path / "base", base, tokenizer_file)
    load_weights(other.model, backbone_state(load_state(folder)), "base")
    assert torch.equal(other.model(tokens_BT), base.model(tokens_BT))


def test_a_flipped_bit_is_refused(make_model: MakeModel, tmp_path: Path, tokenizer_file: Path) -> None:
    folder = saved(tmp_path / "model", make_model(), tokenizer_file)
    weights = folder / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-5] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"is damaged: model.safetensors differ"):
        load_state(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0 garbage"])
def test_a_truncated_file_is_refused(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, content: bytes
) -> None:
    folder = saved(tmp_path / "model", make_model(), tokenizer_file)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model.safetensors is damaged"):
        load_state(folder, verify=False)


def test_missing_files_are_refused(tmp_path: Path, make_model: MakeModel, tokenizer_file: Path) -> None:
    with pytest.raises(ModelError, match=r"model.safetensors does not exist"):
        load_state(tmp_path, verify=False)
    with pytest.raises(IntegrityError, match=r"has no manifest.json"):
        load_state(tmp_path)
    with pytest.raises(ModelError, match=r"is not a model folder: .*config.json does not exist"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="does not hold a model's description"):
        read_config(tmp_path)
    with pytest.raises(ModelError, match="can't be saved with its tokenizer"):
        saved(tmp_path / "model", make_model(), tmp_path / "tokenizer.json")


def test_incomplete_settings_are_not_saved(tmp_path: Path, make_model: MakeModel, tokenizer_file: Path) -> None:
    with pytest.raises(ModelError, match=r"langmill.eot_id of the model's config is None"):
        save_model(tmp_path / "model", make_model(), {"langmill": {}}, tokenizer_file, {})
    with pytest.raises(ModelError, match=r"A Linear can't be saved: it has no config\(\)"):
        save_model(tmp_path / "model", torch.nn.Linear(1, 1), CONFIG, tokenizer_file, {})
    assert not (tmp_path / "model").exists()


def test_a_failed_save_keeps_what_was_there(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model", make_model(), tokenizer_file)
    before = digest_files(folder)

    def fail(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("langmill.models.folder.write_manifest", fail)
    with pytest.raises(RuntimeError, match="killed"):
        saved(folder, make_model(seed=2), tokenizer_file)
    assert digest_files(folder) == before
    read_manifest(folder, verify=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_is_told_as_such(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("langmill.models.folder.save_file", refuse)
    with pytest.raises(SpaceError, match="No space is left on the disk"):
        saved(tmp_path / "model", make_model(), tokenizer_file)
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights_are_refused(make_model: MakeModel) -> None:
    network = make_model()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = dict(make_model(seed=2).state_dict())
    with pytest.raises(ModelError, match=r"^m does not fit .* it lacks model.norm.weight\. Is it"):
        load_weights(network, {name: state[name] for name in state if name != "model.norm.weight"}, "m")
    with pytest.raises(ModelError, match=r"it has score.weight too much"):
        load_weights(network, {**state, "score.weight": torch.zeros(2)}, "m")
    with pytest.raises(ModelError, match=r"lacks .* and 17 more and has a too much"):
        load_weights(network, {"a": torch.zeros(1)}, "m")
    with pytest.raises(ModelError, match=r"model.norm.weight has the shape \(3,\) instead of \(32,\)"):
        load_weights(network, {**state, "model.norm.weight": torch.zeros(3)}, "m")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_head_that_only_repeats_the_embedding_is_taken(make_model: MakeModel, tmp_path: Path) -> None:
    network = make_model()
    state = dict(make_model(seed=2).state_dict())
    repeated = {**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()}
    repeated["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(repeated, tmp_path / "model.safetensors")
    load_weights(network, load_state(tmp_path, verify=False), "m")
    assert torch.equal(network.head_weight_VD, state["model.embed_tokens.weight"])
    with pytest.raises(ModelError, match=r"has lm_head.weight too much"):
        load_weights(network, {**repeated, "lm_head.weight": torch.zeros(257, 32)}, "m")


def test_config_is_plain_json_with_the_words_of_transformers(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path
) -> None:
    folder = saved(tmp_path / "model", make_model(), tokenizer_file)
    config = json.loads((folder / "config.json").read_text())
    expected = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 257,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "dtype": "float32",
        "bos_token_id": EOT_ID, "eos_token_id": EOT_ID,
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected
