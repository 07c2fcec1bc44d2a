"""Models in Llama's shape on our own decoder: logits and names of `transformers`, adapters as `peft` reads them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import nn

from langmill.errors import ConfigError, ModelError
from langmill.models.base import Backbone, Kind
from langmill.models.folder import load_state, load_weights, own_names, save_model
from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate_batch
from langmill.models.heads import Classifier, LanguageModel
from langmill.models.huggingface.causal import PretrainedCausal
from langmill.models.huggingface.native import NativeDecoder
from tests.refused import refused
from tests.unit.models.checkpoints import SIZES, write_checkpoint
from tests.unit.models.pretrained import LABELS, LORA, MAX_LENGTH, backbone_for

pytestmark = pytest.mark.unit
EOT_ID = 2
TOKENS_BT = torch.randint(4, 20, (3, 30), generator=torch.Generator().manual_seed(5))
SIZE = {**SIZES["Llama"], "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 2": ("Llama", {}),
    "llama 3, tied": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "linear positions": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}}),
    "smollm": ("Llama", {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 100000.0}}),
    "one head of keys": ("Llama", {"num_key_value_heads": 1}),
    "all heads of keys": ("Llama", {"num_key_value_heads": 4}),
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "wide heads": ("Mistral", {"head_dim": 16, "sliding_window": None}),
    "narrow heads": ("Llama", {"head_dim": 4}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, a window beyond the context": ("Mistral", {"sliding_window": MAX_LENGTH}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, untied": ("Qwen2", {"rope_parameters": {"rope_theta": 1000000.0}}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "a window": ("Mistral", {"sliding_window": MAX_LENGTH - 1}),
    "a window of some layers": (
        "Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    ),
    "another activation": ("Llama", {"hidden_act": "gelu"}),
    "dropped attention": ("Llama", {"attention_dropout": 0.1}),
    "yarn": ("Llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0}}),
    "norms of queries and keys": ("Qwen3", {"head_dim": 8}),
    "another family": ("Granite", {}),
}  # fmt: skip


def write(folder: Path, shape: str, head: str = "ForCausalLM", **changes: Any) -> Any:
    """Write a small checkpoint of a shape; return the model of `transformers`."""
    family, own = {**SHAPES, **OTHERS}[shape]
    return write_checkpoint(folder, family, head, **{**SIZE, **own, **changes})


def opened(folder: Path, **options: Any) -> LanguageModel:
    backbone = backbone_for(folder, kind="auto", **options)
    network = LanguageModel(backbone)
    backbone.start_from(folder)
    return network.eval()


def assert_equal(own: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest: fp32 adds in another order."""
    assert (own - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@torch.no_grad()
def theirs_of(model: Any, tokens_BT: torch.Tensor = TOKENS_BT) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=tokens_BT).logits
    return logits


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_transformers(tmp_path: Path, shape: str) -> None:
    model = write(tmp_path, shape)
    network = opened(tmp_path)
    assert isinstance(network.model, NativeDecoder)
    with torch.no_grad():
        assert_equal(network(TOKENS_BT), theirs_of(model))
        cache = network.model.new_cache(3)
        pieces = [network(TOKENS_BT[:, a:b], None, cache) for a, b in ((0, 9), (9, 10), (10, 14), (14, 30))]
        assert_equal(torch.cat(pieces, dim=1), theirs_of(model))


@pytest.mark.parametrize("shape", OTHERS)
def test_what_our_blocks_do_not_compute_runs_through_transformers(tmp_path: Path, shape: str) -> None:
    write(tmp_path, shape)
    assert isinstance(backbone_for(tmp_path, kind="auto"), PretrainedCausal)


def test_the_library_can_be_asked_for(tmp_path: Path) -> None:
    model = write(tmp_path, "smollm")
    network = opened(tmp_path, implementation="transformers")
    assert isinstance(network.model, PretrainedCausal)
    assert_equal(network(TOKENS_BT), theirs_of(model))


@pytest.mark.parametrize("shape", ["llama 3, tied", "biases", "wide heads", "qwen2, untied"])
def test_a_saved_model_opens_here_and_in_transformers(tmp_path: Path, shape: str) -> None:
    model = write(tmp_path / "base", shape, rms_norm_eps=1e-3)
    network = opened(tmp_path / "base")
    out = tmp_path / "out"
    save_model(out, network, {"langmill": {"eot_id": 0}}, tmp_path / "base" / "tokenizer.json", {})
    assert load_state(out).keys() == load_state(tmp_path / "base").keys()
    again_backbone = backbone_for(out)
    assert isinstance(again_backbone, NativeDecoder)
    again = LanguageModel(again_backbone)
    load_weights(again, own_names(again, load_state(out)), "test")
    with torch.no_grad():
        assert again.eval()(TOKENS_BT).equal(network(TOKENS_BT))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    assert type(theirs) is type(model)
    assert_equal(theirs_of(theirs), theirs_of(model))
    written, published = (json.loads((folder / "config.json").read_text()) for folder in (out, tmp_path / "base"))
    mutable = {"transformers_version", "dtype"}
    assert {name: written.get(name) for name in published.keys() - mutable} == {
        name: value for name, value in published.items() if name not in mutable
    }
    assert (written["bos_token_id"], written["eos_token_id"], written["pad_token_id"]) == (2, 2, 1)
    again_network = opened(out)  # a base as well
    assert again_network(TOKENS_BT).equal(network(TOKENS_BT))


@pytest.mark.parametrize("shape", ["smollm", "qwen2, untied"])
def test_an_adapter_alone_is_trained_then_merged_and_peft_opens_it(tmp_path: Path, shape: str) -> None:
    model = write(tmp_path / "base", shape)
    network = opened(tmp_path / "base", tuning="lora")
    backbone = network.model
    before = network(TOKENS_BT).detach()
    backbone.prepare_for_training(network)
    names = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert names
    assert all("lora_" in name for name in names)
    assert network(TOKENS_BT).equal(before)
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        network.loss(TOKENS_BT, TOKENS_BT.roll(-1, dims=1)).backward()
        optimizer.step()
    learned = network.eval()(TOKENS_BT).detach()
    assert (learned - before).abs().max() > 1e-2
    adapter = backbone.merge_adapter(network)
    assert adapter is not None
    torch.testing.assert_close(network(TOKENS_BT), learned, rtol=1e-3, atol=1e-4)
    out = tmp_path / "out"
    save_model(out, network, {"langmill": {"eot_id": 0}}, tmp_path / "base" / "tokenizer.json", {}, adapter=adapter)
    assert load_state(out).keys() == load_state(tmp_path / "base").keys()
    with_adapter = peft.PeftModel.from_pretrained(copy.deepcopy(model), out / "adapter").eval()
    torch.testing.assert_close(theirs_of(with_adapter), learned, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tuning", ["lora", "head", "full"])
def test_a_classifier_learns_its_head_beside_an_adapter_or_alone(tmp_path: Path, tuning: str) -> None:
    write(tmp_path / "base", "llama 2")
    backbone = backbone_for(tmp_path / "base", kind="auto", tuning=tuning)
    network = Classifier(backbone, LABELS, dropout=0.0)
    backbone.start_from(tmp_path / "base")
    backbone.prepare_for_training(network)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    every = {name for name, _ in network.named_parameters()}
    expected = {"lora": {name for name in every if "lora_" in name} | {"score.weight"}, "head": {"score.weight"}}
    assert trained == expected.get(tuning, every)
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=0.02)
    lengths_B = torch.tensor([30, 7, 1])
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(TOKENS_BT, lengths_B), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    learned = network.eval()(TOKENS_BT, lengths_B).detach()
    adapter = backbone.merge_adapter(network)
    assert (adapter is not None) == (tuning == "lora")
    if adapter is not None:
        assert adapter.config["modules_to_save"] == ["classifier"]
        assert adapter.weights["base_model.model.classifier.weight"].equal(network.score.weight)
    out = tmp_path / "out"
    save_model(out, network, {"langmill": {"eot_id": 0}}, tmp_path / "base" / "tokenizer.json", {}, adapter=adapter)
    again = Classifier(backbone_for(out, kind="auto", tuning=tuning), LABELS, dropout=0.0)
    load_weights(again, own_names(again, load_state(out)), "test")
    torch.testing.assert_close(again.eval()(TOKENS_BT, lengths_B), learned, rtol=1e-3, atol=1e-4)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out, trust_remote_code=True).eval()
    mask_BT = (torch.arange(30) < lengths_B[:, None]).long()
    found = theirs(input_ids=TOKENS_BT, attention_mask=mask_BT).logits
    torch.testing.assert_close(found, learned, rtol=1e-3, atol=1e-4)
    library = backbone_for(out, kind="causal", implementation="transformers")  # the library has no such type
    assert isinstance(library, PretrainedCausal)


def test_a_language_model_has_no_head_to_train_alone(tmp_path: Path) -> None:
    for shape in ("smollm", "llama 2"):
        write(tmp_path, shape)
        network = opened(tmp_path, tuning="head")
        with refused(ConfigError, "impossible", "model.options.tuning", "head", "lora or full"):
            network.model.prepare_for_training(network)


def test_texts_are_those_that_transformers_generates(tmp_path: Path) -> None:
    model = write(tmp_path, "qwen2")
    network = opened(tmp_path)
    prompts = [TOKENS_BT[0, :9].tolist(), TOKENS_BT[1, :4].tolist()]
    own = generate_batch(network, prompts, [Sampling(12)] * 2)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        theirs = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=1,
            eos_token_id=None,
        )  # fmt: skip
        assert own[row] == theirs[0, len(prompt) :].tolist()


def test_weights_in_several_files_without_a_prefix_or_with_tables_of_older_programs(tmp_path: Path) -> None:
    model = write(tmp_path / "base", "smollm")
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    write_checkpoint_files(tmp_path / "parts", tmp_path / "base")
    assert_equal(opened(tmp_path / "parts")(TOKENS_BT), theirs_of(model))
    body = write(tmp_path / "body", "smollm", "Model")
    embedded = opened(tmp_path / "body").model(TOKENS_BT)
    assert_equal(embedded, body(input_ids=TOKENS_BT).last_hidden_state)
    write(tmp_path / "headless", "llama 2", "Model")
    with refused(ModelError, "mismatch", "lm_head.weight"):
        opened(tmp_path / "headless")


def write_checkpoint_files(folder: Path, other: Path) -> None:
    """What a base has beside its weights."""
    from langmill.files import write_manifest

    (folder / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    write_manifest(folder, {"recipe": "published", "provenance": "0" * 64})


def test_a_base_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "llama 2")
    with refused(ModelError, "impossible", "65", "64", "training.block_length"):
        backbone_for(tmp_path, max_length=65)
    assert backbone_for(tmp_path, max_length=64).cos_SE.shape == (64, 8)
    with refused(ModelError, "mismatch", "999"):
        backbone_for(tmp_path, vocab_size=999)
    with refused(ConfigError, "unknown", "model.options.config", "dropuot", "llama"):
        backbone_for(tmp_path, config={"dropuot": 0.0})
    assert backbone_for(tmp_path, config={"rms_norm_eps": 0.5}).config()["rms_norm_eps"] == 0.5
    network = opened(tmp_path, tuning="lora", lora={**LORA, "targets": ["c_attn"]})
    with refused(ConfigError, "unknown", "lora.targets is ['c_attn']", "q_proj"):
        network.model.prepare_for_training(network)


@pytest.mark.parametrize(
    ("family", "head", "kind"),
    [("GPT2", "LMHeadModel", Kind.causal), ("Bert", "Model", Kind.bidirectional),
     ("T5", "ForConditionalGeneration", Kind.encoder_decoder), ("Llama", "ForCausalLM", Kind.causal)],
)  # fmt: skip
def test_the_kind_is_what_the_base_says(tmp_path: Path, family: str, head: str, kind: Kind) -> None:
    write_checkpoint(tmp_path, family, head)
    backbone: Backbone = backbone_for(tmp_path, kind="auto")
    assert backbone.kind is kind


@pytest.mark.parametrize("shape", ["smollm", "qwen2, untied", "wide heads"])
def test_matrices_joined_for_single_tokens_change_no_name_and_no_logit(tmp_path: Path, shape: str) -> None:
    model = write(tmp_path, shape)
    network = opened(tmp_path)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    network.model.prepare_for_inference()
    assert all(weight.equal(before[name]) for name, weight in network.state_dict().items())

    def decoded() -> torch.Tensor:
        cache = network.model.new_cache(3)
        with torch.inference_mode():
            return torch.cat([network(TOKENS_BT[:, at : at + 1], None, cache) for at in range(6)], dim=1)

    expected = theirs_of(model, TOKENS_BT[:, :6])
    assert_equal(decoded(), expected)
    network = copy.deepcopy(network)
    assert_equal(decoded(), expected)
    network.load_state_dict({name: weight * 1.5 for name, weight in before.items()})  # in place
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    larger = theirs_of(model, TOKENS_BT[:, :6])
    assert (larger - expected).abs().max() > 1e-2
    assert_equal(decoded(), larger)
    network.load_state_dict({name: weight.clone() for name, weight in before.items()}, assign=True)  # by new tensors
    assert_equal(decoded(), expected)
