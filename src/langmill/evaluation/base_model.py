"""What a model was fine-tuned from, as it came: the metrics beside which one sees what tuning bought.

A base has such metrics where its own head does what the task asks: a language model that is tuned to chat could chat
before, if badly. A classifier's head over labels is new, and so are the answers of a base without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from langmill.errors import EvaluationError
from langmill.files import read_manifest
from langmill.models.base import Backbone, build_backbone
from langmill.models.folder import load_state, load_weights, own_names, read_config
from langmill.models.heads import LanguageModel, TextToText
from langmill.tasks.base import device_of
from langmill.tasks.loading import LoadedModel
from langmill.workspace import Workspace


@dataclass(frozen=True)
class BaseModel:
    """The model that another one was fine-tuned from."""

    name: str
    """The recipe that made it, or the pretrained model's."""
    folder: Path
    tuned: LoadedModel
    """What came of it."""

    def network(self) -> nn.Module | None:
        """The tuned model's network before its first step, in evaluation mode; None where its head was a new one.

        Raises:
            EvaluationError: The base is not there, or no longer the one that the model was fine-tuned from.
            IntegrityError: Its files are damaged.
            ModelError: Its weights do not fit.
        """
        self._require_same()
        tuned, own = self.tuned, self.tuned.config["langmill"]
        where = f"{self.folder}, the base of {tuned.recipe},"
        model = own["model"]
        size, length = int(tuned.config["vocab_size"]), int(own["max_length"])
        backbone = build_backbone(model["architecture"], model["options"], size, length, where, source=self.folder)
        network = tuned.task.network(backbone)
        described = read_config(self.folder).get("langmill")
        if described is None:  # a checkpoint of other authors
            if not _brings_its_head(network, backbone):
                return None
            backbone.start_from(self.folder)
        else:
            state = own_names(network, load_state(self.folder))
            names = network.state_dict().keys()
            if names - state.keys() or tuple(described["task"]["labels"]) != tuned.task.labels:
                return None
            load_weights(network, {name: state[name] for name in names}, where)
        return network.to(device_of(tuned.network)).eval()

    def _require_same(self) -> None:
        there = self.folder.is_dir()
        found = read_manifest(self.folder, verify=False).get("provenance") if there else None
        if found != self.tuned.manifest["base"]["provenance"]:
            raise EvaluationError(
                f"{self.tuned.recipe} is judged beside its base {self.name} as it came, and {self.folder} is not the "
                f"model that it was fine-tuned from; `dvc repro evaluate@{self.tuned.recipe}` makes both.",
                "mismatch" if there else "missing",
            )


def base_of(model: LoadedModel, workspace: Workspace) -> BaseModel | None:
    """What a model was fine-tuned from; None for one from scratch."""
    name = (model.manifest.get("base") or {}).get("recipe")
    return None if name is None else BaseModel(name, workspace.model(name), model)


def _brings_its_head(network: nn.Module, backbone: Backbone) -> bool:
    """Whether the head of a network is part of its pretrained backbone."""
    if not isinstance(network, LanguageModel | TextToText):
        return False
    return network.tied or backbone.language_model_head() is not None
