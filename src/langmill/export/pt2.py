"""A program of `torch.export`: what plain torch runs without Langmill's or anybody's code for the network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from langmill.export.base import EXPORTERS, Exporter, VerifiedVersion
from langmill.export.model_card import Opening, write_card
from langmill.export.traced import copy_companions, graph_of, traced, usage
from langmill.tasks.loading import load_model

FILE_NAME = "model.pt2"


@EXPORTERS.register("pt2")
class Pt2(Exporter):
    """The traced network, its weights in float32, beside tokenizer and settings."""

    def write(self, model: VerifiedVersion, into: Path) -> None:
        """Write `model.pt2`. Raises ModelError where torch can't trace the network."""
        loaded = load_model(model.folder, verify=False)
        graph = graph_of(loaded)
        write_pt2(traced(graph, loaded.recipe), into / FILE_NAME)
        copy_companions(model.folder, into)
        opened = f'network = torch.export.load("{FILE_NAME}").module()'
        run = "network(**{name: torch.from_numpy(ids) for name, ids in inputs.items()}).detach().numpy()"
        write_card(into, model, loaded.config, Opening("pytorch", usage(loaded.config, graph, "torch", opened, run)))


def write_pt2(program: ExportedProgram, path: Path) -> None:
    """Write a traced graph, without what it was traced with: torch would pickle that."""
    program.example_inputs = None
    torch.export.save(program, path)
