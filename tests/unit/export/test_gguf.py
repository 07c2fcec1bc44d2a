"""A GGUF file gives our tokens and our logits in llama.cpp (the package xllamacpp)."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from langmill.checkpoints.gguf_model import convert
from langmill.config.sections import TokenizerNormalizer, TokenizerPattern
from langmill.errors import ModelError
from langmill.export.gguf import Gguf, write_gguf
from langmill.files import read_json, read_manifest, write_json
from langmill.models.folder import load_state
from langmill.tasks.base import Generates
from langmill.tasks.loading import LoadedModel
from langmill.tokenization.chat_template import Message
from langmill.tokenization.tokenizer import Tokenizer
from langmill.tokenization.training import train_tokenizer
from tests.refused import refused
from tests.unit.export.models import GREEDY, fine_tuned, registered, saved, vocabulary
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit
TEXTS = (
    "the film was good", "I'd watch it again in 1999, naïve café 映画", "DON'T miss it!!!\n\n  really  \t x ",
    "12345 фильм",
    "e\u0301 👍🏽 हिन्दी \u2019s \u200d ok",
)  # fmt: skip


class LlamaCpp:
    """llama.cpp over one file."""

    def __init__(self, file: Path) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.warmup, params.n_gpu_layers = 64, 1, False, 0
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.verbosity = -1
        params.port = 0
        self.server = xllamacpp.Server(params)

    def ask(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.server.listening_address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def tokens(self, text: str) -> list[int]:
        return self.ask("/tokenize", content=text, add_special=True)["tokens"]

    def logprobs(self, ids: list[int], size: int) -> torch.Tensor:
        """The log probabilities of the next token, by id."""
        bias = [[self.tokens("a")[-1], 1000.0]]  # a whole character; the probabilities are without it
        answer = self.ask("/completion", prompt=ids, n_predict=1, n_probs=size, logit_bias=bias, cache_prompt=False)
        found = torch.full((size,), torch.nan)
        for each in answer["completion_probabilities"][0]["top_logprobs"]:
            found[each["id"]] = each["logprob"]
        return found

    def text(self, prompt: list[int], count: int) -> str:
        answer = self.ask("/completion", prompt=prompt, n_predict=count, temperature=0, top_k=1, repeat_penalty=1.0)
        return answer["content"]


@contextmanager
def opened(model: LoadedModel, folder: Path) -> Iterator[LlamaCpp]:
    folder.mkdir()
    Gguf().write(registered(model), folder)
    yield LlamaCpp(folder / "tiny.gguf")


def assert_same(model: LoadedModel, theirs: LlamaCpp) -> None:
    """Equal tokens, with the leading one, and equal log probabilities of whatever may come next."""
    assert isinstance(model.task, Generates)
    size = model.network.head_weight_VD.shape[0]  # type: ignore[union-attr]
    for text in TEXTS:
        ids = model.task.prompt_ids(model.tokenizer, text)
        assert theirs.tokens(text) == ids, text
        with torch.no_grad():
            expected = model.network(torch.tensor([ids]))[0, -1].log_softmax(dim=-1)
        assert (theirs.logprobs(ids, size) - expected).abs().max() < 1e-4
        assert expected.max() - expected.min() > 1


@pytest.mark.parametrize("pattern", [each for each in TokenizerPattern if each is not TokenizerPattern.langmill])
def test_a_decoder_from_scratch(tmp_path: Path, pattern: TokenizerPattern) -> None:
    tokenizer = vocabulary(tmp_path / "t", pattern)
    model = saved(tmp_path / "m", tokenizer, "language_modelling", "decoder")
    with opened(model, tmp_path / "out") as theirs:
        assert_same(model, theirs)
        ids = model.task.prompt_ids(tokenizer, TEXTS[0])  # type: ignore[attr-defined]
        own = model.generate(TEXTS[0], {"temperature": 0.0, "max_new_tokens": 8}, "tiny")
        assert theirs.text(ids, 8) == own
    facts = read_manifest(tmp_path / "out", verify=True)
    assert set(facts["files"]) == {"tiny.gguf", "README.md"}
    assert "xllamacpp" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    write_gguf(model.folder, tmp_path / "again.gguf", "tiny 1", "A model of a test.")
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "out" / "tiny.gguf").read_bytes()


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Llama", {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3}),
        ("Llama", {"head_dim": 12, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}}),
        ("Mistral", {"tie_word_embeddings": True, "sliding_window": None}),
        ("Qwen2", {"vocab_size": 410}),
    ],
)
def test_a_pretrained_decoder_in_llamas_shape(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    """With a vocabulary that keeps each digit to itself, as SmolLM's does."""
    tokenizer = vocabulary(tmp_path / "t", TokenizerPattern.gpt2)
    state = read_json(tokenizer.file)
    digits = {"type": "Digits", "individual_digits": True}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, state["pre_tokenizer"]]}
    write_json(tokenizer.file, state)
    model = fine_tuned(tmp_path, Tokenizer.load(tokenizer.file), family, **changes)
    with opened(model, tmp_path / "out") as theirs:
        assert_same(model, theirs)


def learned(folder: Path, algorithm: str, **more: Any) -> Tokenizer:
    """A vocabulary of another algorithm, or behind a normaliser."""
    size = None if algorithm == "byte" else 400
    file = folder / "tokenizer.json"
    train_tokenizer(algorithm, size, sentences(200), file, lambda _: None, **more)
    return Tokenizer.load(file)


def test_a_vocabulary_of_characters(tmp_path: Path) -> None:
    tokenizer = learned(tmp_path / "t", "character", pattern=TokenizerPattern.gpt2)
    model = saved(tmp_path / "m", tokenizer, "language_modelling", "decoder")
    with opened(model, tmp_path / "out") as theirs:
        assert_same(model, theirs)


@pytest.mark.parametrize(
    ("algorithm", "more", "told"),
    [
        ("unigram", {"pattern": TokenizerPattern.gpt2}, "BPE"),
        ("wordpiece", {}, "BPE"),
        ("byte", {"pattern": TokenizerPattern.gpt2}, "merges"),
        ("bpe", {"pattern": TokenizerPattern.gpt2, "normalizer": TokenizerNormalizer.lowercase}, "as they are"),
    ],
)
def test_vocabularies_that_llama_cpp_would_read_otherwise(
    tmp_path: Path, algorithm: str, more: dict[str, Any], told: str
) -> None:
    model = saved(tmp_path / "m", learned(tmp_path / "t", algorithm, **more), "language_modelling", "decoder")
    with refused(ModelError, "unsupported", told, "--format hf"), opened(model, tmp_path / "out"):
        pass


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """By our own reader of GGUF files: the same weights, by the names of `transformers`."""
    model = saved(tmp_path / "m", vocabulary(tmp_path / "t", TokenizerPattern.gpt2), "language_modelling", "decoder")
    write_gguf(model.folder, tmp_path / "tiny.gguf", "tiny 1", "")
    (tmp_path / "again").mkdir()
    convert(tmp_path / "tiny.gguf", tmp_path / "again")
    own, again = load_state(model.folder, verify=False), load_state(tmp_path / "again", verify=False)
    assert own.keys() == again.keys()
    assert all(torch.equal(own[name], again[name]) for name in own)


def test_a_chat(tmp_path: Path) -> None:
    """The template goes with the file; it asks for what our server would ask."""
    tokenizer = vocabulary(tmp_path / "t", TokenizerPattern.llama3, "<|im_start|>", "<|im_end|>")
    model = saved(tmp_path / "m", tokenizer, "chat", "decoder")
    said = "the film was good"
    with opened(model, tmp_path / "out") as theirs:
        rendered = theirs.ask("/apply-template", messages=[{"role": "user", "content": said}])["prompt"]
        ids = model.task.conversation_ids(tokenizer, [Message("user", said)])  # type: ignore[attr-defined]
        assert theirs.tokens(rendered) == ids
        ended = theirs.ask(
            "/completion", prompt=ids, n_predict=2, logit_bias=[[tokenizer.special_ids["<|im_end|>"], 1000.0]]
        )
    assert ended["stop_type"] == "eos"


@pytest.mark.parametrize(
    ("task_name", "architecture", "told"),
    [
        ("language_modelling", "gru", "gru"),
        ("text_to_text", "encoder_decoder", "encoder_decoder"),
        ("classification", "decoder", "classification"),
        ("language_modelling", "decoder", "tokenizer.pattern"),
    ],
)
def test_what_llama_cpp_would_read_otherwise_is_refused(
    tmp_path: Path, task_name: str, architecture: str, told: str
) -> None:
    options = {"decoding": GREEDY} if task_name == "text_to_text" else {}
    model = saved(tmp_path / "m", vocabulary(tmp_path / "t"), task_name, architecture, **options)
    with refused(ModelError, "unsupported", "tiny", told, "--format"):
        write_gguf(model.folder, tmp_path / "tiny.gguf", "tiny 1", "")
    assert not (tmp_path / "tiny.gguf").exists()
