"""A model as a graph of plain tensors: token ids in, logits out, for formats that keep graphs.

The graphs read what the exported tokenizer writes: ids with the special tokens that belong around a text, padded at
their end, beside a mask. Batch and length are free.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from langmill.errors import ModelError
from langmill.files import MANIFEST_NAME
from langmill.models.base import EncoderDecoder, Kind
from langmill.models.folder import ADAPTER, HUB_CODE, WEIGHTS_NAME
from langmill.models.heads import Classifier, LanguageModel, TextToText
from langmill.models.huggingface.backbone import Pretrained
from langmill.tasks.loading import LoadedModel

LOGITS = "logits"
"""The name of every graph's output."""
_VIEWS = (torch.ops.aten.flatten.using_ints, torch.ops.aten.reshape.default, torch.ops.aten.view.default)
_TRANSPOSE, _CLONE = torch.ops.aten.transpose.int, torch.ops.aten.clone.default
_BATCH, _LENGTH = 2, 5  # of the tensors that a graph is traced with


class _Causal(nn.Module):
    """`input_ids` to the next token's logits `(batch, length, vocabulary)`: no token sees padding behind it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        return cast("Tensor", self.network(input_ids))


class _Masked(_Causal):
    """`input_ids` and `attention_mask` to logits, `(batch, labels)` or `(batch, length, vocabulary)`."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return cast("Tensor", self.network(input_ids, attention_mask.sum(dim=1)))


class _TextToText(_Causal):
    """Source ids with their mask, and the target's ids so far, to logits `(batch, target length, vocabulary)`."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:  # type: ignore[override]
        return cast("Tensor", self.network(input_ids, attention_mask.sum(dim=1), decoder_input_ids))


class _Theirs(_Causal):
    """A network of `transformers`, which reads special tokens of its own around a text."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return cast("Tensor", self.network(input_ids=input_ids, attention_mask=attention_mask).logits)


class _TheirTextToText(_Causal):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:  # type: ignore[override]
        found = self.network(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, use_cache=False
        )
        return cast("Tensor", found.logits)


@dataclass(frozen=True)
class Graph:
    """A module of plain tensors, and what it is traced with."""

    module: nn.Module
    inputs: dict[str, Tensor]
    """By the names of `transformers`."""
    lengths: dict[str, str]
    """The name of each input's second dimension."""
    max_length: int
    """Tokens of an input, at most."""


def graph_of(model: LoadedModel) -> Graph:
    """The graph of a model. Raises ModelError where its network has none of our heads."""
    network = model.network
    if not isinstance(network, LanguageModel | TextToText | Classifier):
        raise ModelError(
            f"{model.recipe} is a {type(network).__name__}, which is neither language model nor text-to-text model nor "
            "classifier; only those have a graph of their own.",
            "unsupported",
        )
    backbone = network.model
    theirs = isinstance(backbone, Pretrained)
    ids = torch.arange(_BATCH * _LENGTH).view(_BATCH, _LENGTH) % model.tokenizer.vocab_size
    mask = torch.ones_like(ids)
    mask[1, _LENGTH - 1] = 0
    inputs, module = {"input_ids": ids, "attention_mask": mask}, cast("nn.Module", _Masked(network))
    around = sum(map(len, backbone.special_token_template)) if isinstance(backbone, Pretrained) else 0
    if isinstance(backbone, EncoderDecoder) or backbone.kind is Kind.encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, : _LENGTH - 1].contiguous()
        module = _TheirTextToText(backbone.whole) if isinstance(backbone, Pretrained) else _TextToText(network)
    elif isinstance(network, LanguageModel) and backbone.kind is Kind.causal:
        del inputs["attention_mask"]
        module = _Causal(network)
    elif isinstance(network, Classifier) and network.head is not None and theirs:
        module = _Theirs(cast("Pretrained", backbone).whole)
    lengths = {name: "target_length" if name.startswith("decoder") else "length" for name in inputs}
    return Graph(module.eval(), inputs, lengths, model.max_length + around)


def dynamic_shapes(graph: Graph) -> dict[str, dict[int, Any]]:
    """The free dimensions of each input, for `torch.export`: every batch, and lengths up to the context's."""
    batch = Dim("batch", min=1)
    dims = {name: Dim(name, min=1, max=graph.max_length) for name in set(graph.lengths.values())}
    return {name: {0: batch, 1: dims[length]} for name, length in graph.lengths.items()}


def traced(graph: Graph, recipe: str) -> ExportedProgram:
    """Trace a graph, without where in Langmill's code each step stands. Raises ModelError where torch can't."""
    try:
        with torch.no_grad():
            program = torch.export.export(
                graph.module, (), kwargs=graph.inputs, dynamic_shapes=dynamic_shapes(graph), strict=False
            )
    except Exception as error:  # torch raises many kinds, of which no list is kept
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"torch can't trace {recipe} for every batch and length ({first}); take --format hf.", "unsupported"
        ) from error
    _free_of_this_machine(program)
    return program


def _free_of_this_machine(program: ExportedProgram) -> None:
    """Take out of a graph what holds here alone: paths of files, and the layout that attention has on this processor.

    What attention returns can be viewed as one row a token only as the kernel of some processors leaves it.
    """
    graphs = [module.graph for module in program.graph_module.modules() if isinstance(module, GraphModule)]
    for node in [each for graph in graphs for each in graph.nodes]:
        node.meta.pop("stack_trace", None)
        if node.target not in _VIEWS or node.args[0].target is not _TRANSPOSE:
            continue
        turned = node.args[0]
        with node.graph.inserting_before(node):
            copied = node.graph.call_function(_CLONE, (turned,), {"memory_format": torch.contiguous_format})
        copied.meta["val"] = turned.meta["val"].clone(memory_format=torch.contiguous_format)
        node.replace_input_with(turned, copied)
    program.graph_module.recompile()


def copy_companions(folder: Path, into: Path) -> None:
    """Copy a model folder but for its weights and the code that opens them: settings, tokenizer, defaults."""
    left_out = shutil.ignore_patterns(MANIFEST_NAME, WEIGHTS_NAME, HUB_CODE.name, ADAPTER)
    shutil.copytree(folder, into, dirs_exist_ok=True, ignore=left_out)


def usage(config: Mapping[str, Any], graph: Graph, library: str, opened: str, run: str) -> str:
    """The card's code: the library and the line that opens the file, and one text's logits.

    `run` is the expression for the logits of `inputs`, a dictionary of NumPy arrays by the names of the graph.
    """
    labels = config["langmill"]["task"]["labels"]
    answer = "labels[str(logits.argmax())]" if labels else "tokenizer.decode(logits[0, -1].argmax())"
    named = 'labels = json.load(open("config.json"))["id2label"]\n' if labels else ""
    target = ""
    if "decoder_input_ids" in graph.inputs:
        target = f'inputs["decoder_input_ids"] = np.array([[{_start(config)}]])  # grows by a token a step\n'
    elif "attention_mask" not in graph.inputs:
        target = 'inputs = {"input_ids": inputs["input_ids"]}  # texts are padded at their end\n'
    return f"""```python
{"import json" + chr(10) * 2 if labels else ""}import numpy as np
import {library}
from transformers import AutoTokenizer

{opened}
tokenizer = AutoTokenizer.from_pretrained(".", padding_side="right")
{named}inputs = dict(tokenizer(["The film was"], return_tensors="np", return_token_type_ids=False))
{target}logits = {run}
print({answer})
```

A batch and a length of up to {graph.max_length} tokens are free{_cacheless(graph)}"""


def _cacheless(graph: Graph) -> str:
    if "attention_mask" in graph.inputs and "decoder_input_ids" not in graph.inputs:
        return "."
    return ". There is no cache in the graph: each new token reads the whole text again."


def _start(config: Mapping[str, Any]) -> int:
    """The decoder's first token."""
    found = config.get("decoder_start_token_id")
    return int(config["langmill"]["eot_id"] if found is None else found)
