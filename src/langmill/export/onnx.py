"""An ONNX graph: what onnxruntime runs, on a server, in a browser or on a telephone."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from langmill.errors import LangmillError, ModelError
from langmill.export.base import EXPORTERS, Exporter, VerifiedVersion
from langmill.export.model_card import Opening, write_card
from langmill.export.traced import LOGITS, copy_companions, graph_of, traced, usage
from langmill.tasks.loading import load_model

FILE_NAME = "model.onnx"
_IN_ONE_FILE = 1_500_000_000  # bytes of weights; the format ends at two gigabytes
_NEEDED = ("onnx", "onnxscript")


@EXPORTERS.register("onnx")
class Onnx(Exporter):
    """The network as a graph of ONNX, its weights in float32, beside tokenizer and settings."""

    def write(self, model: VerifiedVersion, into: Path) -> None:
        """Write `model.onnx`. Raises ModelError where the network has no such graph, LangmillError without onnx."""
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise LangmillError(
                f"{' and '.join(missing)} is not installed; pip install 'langmill[export]' brings what --format onnx "
                "needs.",
                "missing",
            )
        loaded = load_model(model.folder, verify=False)
        graph = graph_of(loaded)
        write_onnx(traced(graph, loaded.recipe), graph.inputs, loaded.recipe, into / FILE_NAME)
        copy_companions(model.folder, into)
        opened = f'session = onnxruntime.InferenceSession("{FILE_NAME}")'
        lines = usage(loaded.config, graph, "onnxruntime", opened, "session.run(None, inputs)[0]")
        write_card(into, model, loaded.config, Opening("onnx", lines))


def write_onnx(program: ExportedProgram, inputs: Mapping[str, Tensor], recipe: str, path: Path) -> None:
    """Write a traced graph in ONNX; weights of more than 1.5 GB stand in a file beside it.

    Args:
        program: The graph.
        inputs: What it was traced with.
        recipe: What messages call the model.
        path: The file.

    Raises:
        ModelError: It has an operation that ONNX, or torch's exporter, does not know.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = torch.onnx.export(
                program, (), kwargs=dict(inputs), input_names=[*inputs], output_names=[LOGITS], dynamo=True,
                verbose=False,
            )  # fmt: skip
    except Exception as error:  # torch raises many kinds, of which no list is kept
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{recipe} has no graph in ONNX ({first}); take --format hf or pt2.", "unsupported") from error
    finally:
        logger.setLevel(level)
    size = sum(weight.numel() * weight.element_size() for weight in program.state_dict.values())
    made.save(str(path), external_data=size > _IN_ONE_FILE)
