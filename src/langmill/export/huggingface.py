"""A checkpoint of Hugging Face with a model card: what `transformers` opens, and so vLLM and the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from langmill.errors import ModelError
from langmill.export.base import EXPORTERS, Exporter, VerifiedVersion
from langmill.export.model_card import model_card
from langmill.files import MANIFEST_NAME, read_manifest, write_manifest, write_text
from langmill.models.folder import read_config


@EXPORTERS.register("huggingface")
class HuggingFace(Exporter):
    """The model folder's own files, which have Hugging Face's names, and a card.

    The manifest is written anew over all of them, so Langmill opens the folder as well.
    """

    def write(self, model: VerifiedVersion, into: Path) -> None:
        """Write a checkpoint. Raises ModelError where `transformers` has no class for the network."""
        config = read_config(model.folder)
        if config["architectures"][0].startswith("Langmill") and "auto_map" not in config:
            architecture = config["langmill"]["model"]["architecture"]
            raise ModelError(
                f"{model.version.title} is a {architecture}, which transformers has no class for.", "unsupported"
            )
        manifest = read_manifest(model.folder, verify=False)
        shutil.copytree(model.folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_NAME))
        write_text(into / "README.md", model_card(model, config, manifest))
        write_manifest(into, {name: fact for name, fact in manifest.items() if name != "files"})
