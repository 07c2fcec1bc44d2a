"""The model folder: equal bytes for equal weights, opened by `transformers`, and refused when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from langmill.errors import IntegrityError, ModelError, SpaceError
from langmill.files import digest_files, read_manifest
from langmill.models.decoder import Decoder
from langmill.models.folder import backbone_state, load_state, load_weights, read_config, save_model
from langmill.models.heads import Classifier, LanguageModel
from langmill.models.layers.llama import TransformerSettings
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
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
def test_a_checkpoint_of_transformers_gives_equal_logits(tmp_path: Path, tokens_BT: torch.Tensor, tie: bool) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, tie_word_embeddings=tie,
        rope_parameters={"rope_type": "default", "rope_theta": 700.0},
    )  # fmt: skip
    reference = LlamaForCausalLM(config).eval()
    reference.save_pretrained(tmp_path)
    read = read_config(tmp_path)
    settings = TransformerSettings(
        dim=32, num_layers=2, num_heads=4, num_kv_heads=2, hidden_dim=48, rope_theta=700.0,
        norm_eps=config.rms_norm_eps, tie_embeddings=tie, dropout=0.0,
    )  # fmt: skip
    backbone = Decoder(settings, read["vocab_size"], read["max_position_embeddings"])
    network = LanguageModel(backbone).eval()
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
    with refused(IntegrityError, "damaged", "model.safetensors"):
        load_state(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0 garbage"])
def test_a_truncated_file_is_refused(
    make_model: MakeModel, tmp_path: Path, tokenizer_file: Path, content: bytes
) -> None:
    folder = saved(tmp_path / "model", make_model(), tokenizer_file)
    (folder / "model.safetensors").write_bytes(content)
    with refused(ModelError, "damaged", "model.safetensors"):
        load_state(folder, verify=False)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with refused(ModelError, "missing", "model.safetensors"):
        load_state(tmp_path, verify=False)
    with refused(IntegrityError, "damaged", "manifest.json"):
        load_state(tmp_path)
    with refused(ModelError, "unreadable", "config.json", "does not exist"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with refused(ModelError, "unreadable", "config.json"):
        read_config(tmp_path)


def test_a_network_without_a_description_is_not_saved(tmp_path: Path, tokenizer_file: Path) -> None:
    with refused(ModelError, "wrong_type", "Linear", "config()"):
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
    with refused(SpaceError, "full", str(tmp_path)):
        saved(tmp_path / "model", make_model(), tokenizer_file)
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights_are_refused(make_model: MakeModel) -> None:
    network = make_model()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = dict(make_model(seed=2).state_dict())
    with refused(ModelError, "mismatch", "lacks model.norm.weight"):
        load_weights(network, {name: state[name] for name in state if name != "model.norm.weight"}, "m")
    with refused(ModelError, "mismatch", "has score.weight"):
        load_weights(network, {**state, "score.weight": torch.zeros(2)}, "m")
    with refused(ModelError, "mismatch", "17 more", "has a "):
        load_weights(network, {"a": torch.zeros(1)}, "m")
    with refused(ModelError, "mismatch", "model.norm.weight", "(3,)", "(32,)"):
        load_weights(network, {**state, "model.norm.weight": torch.zeros(3)}, "m")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


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
