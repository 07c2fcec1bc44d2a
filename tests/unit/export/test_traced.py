"""Graphs of ONNX and of torch.export give the network's logits where their own consumers run them."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langmill.errors import LangmillError, ModelError
from langmill.export import traced as tracing
from langmill.export.gguf import write_gguf
from langmill.export.onnx import Onnx, write_onnx
from langmill.export.pt2 import Pt2, write_pt2
from langmill.files import read_manifest
from langmill.tasks.loading import LoadedModel
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
from tests.unit.export.models import GREEDY, LABELS, MAX_LENGTH, fine_tuned, registered, saved, vocabulary

pytestmark = pytest.mark.unit
HERE = str(Path(tracing.__file__).parents[2]).encode()
TOLERANCE = 1e-5  # of the largest logit


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return vocabulary(tmp_path_factory.mktemp("vocabulary"))


def asked(model: LoadedModel, graph: tracing.Graph, batch: int, length: int) -> dict[str, np.ndarray]:
    """Inputs of another size than a graph was traced with, the last row padded."""
    drawn = torch.Generator().manual_seed(batch)
    ids = torch.randint(model.tokenizer.vocab_size, (batch, length), generator=drawn)
    mask = torch.ones_like(ids)
    mask[-1, max(1, length // 2) :] = 0
    given = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids[:, : max(1, length - 2)]}
    return {name: given[name].numpy() for name in graph.inputs}


def own_logits(model: LoadedModel, inputs: dict[str, np.ndarray]) -> torch.Tensor:
    given = {name: torch.from_numpy(values) for name, values in inputs.items()}
    lengths_B = given["attention_mask"].sum(dim=1) if "attention_mask" in given else None
    with torch.no_grad():
        if "decoder_input_ids" in given:
            return model.network(given["input_ids"], lengths_B, given["decoder_input_ids"])
        return model.network(given["input_ids"], lengths_B)


def assert_equal(found: Any, expected: torch.Tensor, what: str) -> None:
    difference = (torch.as_tensor(found) - expected).abs().max()
    assert found.shape == expected.shape, what
    assert difference < TOLERANCE * expected.abs().max(), what


@pytest.mark.parametrize(
    ("task_name", "architecture"),
    [
        ("language_modelling", "decoder"),
        ("classification", "encoder"),
        ("text_to_text", "encoder_decoder"),
        ("language_modelling", "gru"),
        ("classification", "lstm"),
        ("language_modelling", "rnn"),
        ("classification", "bag_of_ngrams"),
        ("classification", "naive_bayes_ngrams"),
    ],
)
def test_a_graph_gives_the_logits_for_every_batch_and_length(
    tmp_path: Path, tokenizer: Tokenizer, task_name: str, architecture: str
) -> None:
    import onnxruntime

    options = {"decoding": GREEDY} if task_name == "text_to_text" else {}
    model = saved(tmp_path / "m", tokenizer, task_name, architecture, **options)
    graph = tracing.graph_of(model)
    program = tracing.traced(graph, model.recipe)
    sessions = {}
    # Seconds each; the bag is below, the other two trace as gru.
    if architecture not in ("lstm", "rnn", "bag_of_ngrams"):
        write_onnx(program, graph.inputs, model.recipe, tmp_path / "model.onnx")
        sessions = {"onnx": onnxruntime.InferenceSession(tmp_path / "model.onnx")}
        assert HERE not in (tmp_path / "model.onnx").read_bytes()
    write_pt2(program, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if HERE in archive.read(name)]
        assert not [name for name in archive.namelist() if archive.read(name)[:1] == b"\x80" or name.endswith(".pkl")]
        assert not any(zipfile.is_zipfile(archive.open(name)) for name in archive.namelist())  # as a pickle of torch is
    again = torch.export.load(tmp_path / "model.pt2").module()
    for batch, length in ((3, 7), (1, 1), (2, 2), (1, MAX_LENGTH)):
        inputs = asked(model, graph, batch, length)
        expected = own_logits(model, inputs)
        found = again(**{name: torch.from_numpy(values) for name, values in inputs.items()})
        assert_equal(found.detach(), expected, f"pt2 {batch} x {length}")
        for session in sessions.values():
            assert_equal(session.run(None, inputs)[0], expected, f"onnx {batch} x {length}")


def test_a_graph_of_a_pretrained_encoder_decoder(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """As a program of torch, from which the graph of ONNX is made; llama.cpp's format has no place for it."""
    size = {"num_layers": 1, "num_decoder_layers": 1}  # each block is traced anew, for a second
    model = fine_tuned(tmp_path, tokenizer, "T5", "text_to_text", "ForConditionalGeneration", **size)
    with refused(ModelError, "unsupported", "pretrained", "text_to_text", "--format"):
        write_gguf(model.folder, tmp_path / "m.gguf", "tiny 1", "")
    graph = tracing.graph_of(model)
    write_pt2(tracing.traced(graph, model.recipe), tmp_path / "model.pt2")
    again = torch.export.load(tmp_path / "model.pt2").module()
    for batch, length in ((3, 7), (1, 1), (1, MAX_LENGTH)):
        inputs = asked(model, graph, batch, length)
        found = again(**{name: torch.from_numpy(values) for name, values in inputs.items()})
        assert_equal(found.detach(), own_logits(model, inputs), f"pt2 {batch} x {length}")


def said(folder: Path) -> str:
    """What the code on a card prints."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.chdir(folder):
        exec(code, {})  # the promise is that it runs as it stands
    return out.getvalue()


def test_the_code_on_the_card_runs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """As the exporters write their folders, each with tokenizer, settings and a manifest over all."""
    classifier = saved(tmp_path / "c", tokenizer, "classification", "bag_of_ngrams")
    writer = saved(tmp_path / "w", tokenizer, "language_modelling", "decoder")
    for exporter, model, name in ((Onnx(), classifier, "model.onnx"), (Pt2(), writer, "model.pt2")):
        (tmp_path / name).mkdir()
        exporter.write(registered(model), tmp_path / name)
        facts = read_manifest(tmp_path / name, verify=True)
        assert facts["provenance"] == model.provenance
        assert {name, "README.md", "config.json", "tokenizer.json"} <= set(facts["files"])
        assert "model.safetensors" not in facts["files"]
    probabilities = classifier.task.probabilities(classifier.network, tokenizer, ["The film was"])  # type: ignore[attr-defined]
    assert said(tmp_path / "model.onnx") == f"{LABELS[probabilities.argmax()]}\n"
    ids = writer.task.prompt_ids(tokenizer, "The film was")  # type: ignore[attr-defined]
    most_likely = writer.network(torch.tensor([ids]))[0, -1].argmax()
    assert said(tmp_path / "model.pt2").rstrip("\n") == tokenizer.decode([int(most_likely)]).rstrip("\n")


def test_what_has_no_graph_is_refused_in_words(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "m", tokenizer, "classification", "bag_of_ngrams")

    class Odd(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return input_ids[: int(attention_mask.sum())]

    graph = tracing.graph_of(model)
    odd = tracing.Graph(Odd(), graph.inputs, graph.lengths, graph.max_length)
    with refused(ModelError, "unsupported", "tiny", "trace", "--format hf"):
        tracing.traced(odd, model.recipe)
    monkeypatch.setattr("langmill.export.onnx._NEEDED", ("onnx", "not_installed_here"))
    with refused(LangmillError, "missing", "not_installed_here", "langmill[export]"):
        Onnx().write(registered(model), tmp_path)


@pytest.mark.parametrize(
    ("family", "task_name", "head", "size", "opened_by"),
    [
        ("GPT2", "language_modelling", "LMHeadModel", {"n_layer": 1}, "AutoModelForCausalLM"),
        ("Bert", "classification", "Model", {"num_hidden_layers": 1}, "AutoModelForSequenceClassification"),
    ],
)
def test_a_graph_has_the_logits_that_transformers_has_of_the_folder(
    tmp_path: Path, tokenizer: Tokenizer, family: str, task_name: str, head: str, size: dict[str, int], opened_by: str
) -> None:
    import onnxruntime
    import transformers

    model = fine_tuned(tmp_path, tokenizer, family, task_name, head, **size)
    graph = tracing.graph_of(model)
    program = tracing.traced(graph, model.recipe)
    write_onnx(program, graph.inputs, model.recipe, tmp_path / "model.onnx")
    write_pt2(program, tmp_path / "model.pt2")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    again = torch.export.load(tmp_path / "model.pt2").module()
    theirs = getattr(transformers, opened_by).from_pretrained(model.folder).eval()
    for batch, length in ((3, 7), (1, 1), (1, MAX_LENGTH)):
        inputs = asked(model, graph, batch, length)
        tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
        with torch.no_grad():
            expected = theirs(**tensors).logits
        assert_equal(again(**tensors).detach(), expected, f"pt2 {batch} x {length}")
        assert_equal(session.run(None, inputs)[0], expected, f"onnx {batch} x {length}")
