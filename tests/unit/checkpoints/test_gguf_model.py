"""What becomes of a GGUF file: the weights, settings and tokenizer that `transformers` reads of it, and equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

from langmill.checkpoints.gguf_model import convert
from langmill.files import read_json, sha256_file
from tests.unit.checkpoints.files import (
    LLAMA,
    SENTENCEPIECE,
    TEMPLATE,
    TOKENS,
    network,
    tensors_of,
    write_gguf,
    write_model,
)

pytestmark = pytest.mark.unit
FAMILIES = ["Llama", "Qwen2", "GPT2"]
QUESTION = [{"role": "user", "content": "the the"}]


def made(tmp_path: Path, family: str, **given: Any) -> tuple[Any, Path]:
    """A model and the folder that its GGUF file becomes."""
    model = write_model(tmp_path / "in" / "tiny.gguf", family, **given)
    out = tmp_path / "out"
    out.mkdir()
    convert(tmp_path / "in" / "tiny.gguf", out)
    return model, out


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_are_those_that_were_written(family: str, tmp_path: Path) -> None:
    """Also those of queries and keys, whose rows stand in another order in a file of Llama's."""
    model, out = made(tmp_path, family)
    found = load_file(out / "model.safetensors")
    own = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    assert found.keys() == own.keys()
    assert all(found[name].equal(value) for name, value in own.items())


@pytest.mark.parametrize("stored", [Type.Q4_1, Type.Q8_0, Type.F16, Type.BF16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_bit_is_that_of_transformers_own_reading(family: str, stored: Type, tmp_path: Path) -> None:
    _, out = made(tmp_path, family, tied=family == "GPT2", stored=stored)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "in", gguf_file="tiny.gguf", dtype=torch.float32
    ).eval()
    state = {name: value.contiguous() for name, value in theirs.state_dict().items()}
    if theirs.config.tie_word_embeddings:
        del state["lm_head.weight"]
    save_file(dict(sorted(state.items())), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert sha256_file(out / "model.safetensors") == sha256_file(tmp_path / "theirs.safetensors")
    again = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    tokens_BT = torch.randint(0, len(TOKENS), (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert again(tokens_BT).logits.equal(theirs(tokens_BT).logits)


def test_the_settings_are_as_a_person_would_write_them(tmp_path: Path) -> None:
    model, out = made(tmp_path, "Llama")
    config = read_json(out / "config.json")
    assert config["rms_norm_eps"] == 1e-5  # in the file it is 9.999999747378752e-06
    assert config["rope_parameters"] == {"rope_theta": 100000.0, "rope_type": "default"}
    assert (config["architectures"], config["dtype"]) == (["LlamaForCausalLM"], "float32")
    assert not any(name.startswith("_") or "quant" in name or "version" in name for name in config)
    read = transformers.AutoConfig.from_pretrained(out)
    for name in ("hidden_size", "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings"):
        assert getattr(read, name) == getattr(model.config, name)
    assert read_json(out / "generation_config.json") == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}


def test_an_end_of_turn_of_its_own_ends_a_text_too(tmp_path: Path) -> None:
    _, out = made(tmp_path, "Llama", tokenizer__ggml__eos_token_id=0, tokenizer__ggml__eot_token_id=2)
    assert read_json(out / "generation_config.json")["eos_token_id"] == [0, 2]


def test_the_tokenizer_is_that_of_transformers_with_its_template(tmp_path: Path) -> None:
    _, out = made(tmp_path, "Llama", tokenizer__ggml__pre="gpt-2")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "in", gguf_file="tiny.gguf")
    own = transformers.AutoTokenizer.from_pretrained(out)
    for text in ("the the  1", "<|im_end|>", "Grüße  12", ""):
        assert own.encode(text) == theirs.encode(text)
    assert own.chat_template == TEMPLATE
    assert own.apply_chat_template(QUESTION) == theirs.apply_chat_template(QUESTION)
    assert (own.bos_token, own.eos_token, own.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert own.model_max_length == 64


def test_a_tokenizer_of_sentencepiece_is_that_of_transformers(tmp_path: Path) -> None:
    metadata = {key: value for key, value in LLAMA.items() if key != "llama.vocab_size"} | SENTENCEPIECE
    pieces = len(SENTENCEPIECE["tokenizer.ggml.tokens"])
    tensors = tensors_of(network("Llama"))
    tensors["token_embd.weight"] = np.resize(tensors["token_embd.weight"], (pieces, 64))
    write_gguf(tmp_path / "in" / "tiny.gguf", "llama", metadata, tensors)
    (tmp_path / "out").mkdir()
    convert(tmp_path / "in" / "tiny.gguf", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "in", gguf_file="tiny.gguf")
    own = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("the the", "the  é", "", "</s>"):
        assert own.encode(text) == theirs.encode(text)
    assert own.convert_ids_to_tokens(own.encode("th")) == ["<s>", "▁", "th"]
    assert read_json(tmp_path / "out" / "config.json")["vocab_size"] == pieces


def test_what_begins_a_text_is_kept(tmp_path: Path) -> None:
    _, out = made(tmp_path, "Llama", tokenizer__ggml__add_bos_token=True)
    assert transformers.AutoTokenizer.from_pretrained(out).encode("the")[0] == 1


def test_digits_stand_apart_where_the_model_learned_them_so(tmp_path: Path) -> None:
    """`transformers` takes GPT-2's pattern, by which `  1` is ` ` and ` 1`; llama.cpp knows `smollm`."""
    _, out = made(tmp_path, "Llama")
    own = transformers.AutoTokenizer.from_pretrained(out)
    assert own.convert_ids_to_tokens(own.encode("  1")) == ["ĠĠ", "1"]
    assert own.decode(own.encode("the  12 the")) == "the  12 the"


@pytest.mark.parametrize(
    ("split", "warned"), [("smollm", False), ("gpt-2", False), ("llama-bpe", False), ("runes", True)]
)
def test_a_way_to_split_that_is_not_known_is_warned_of(
    split: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path, "Llama", tokenizer__ggml__pre=split)
    assert ("runes" in caplog.text) == warned


def test_no_template_is_none(tmp_path: Path) -> None:
    _, out = made(tmp_path, "Llama", tokenizer__chat_template=None)
    assert "chat_template" not in read_json(out / "tokenizer_config.json")


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    folders = [made(tmp_path / str(number), "Llama", stored=Type.Q4_1)[1] for number in range(2)]
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == names
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)
