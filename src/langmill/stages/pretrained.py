"""Fetch a pretrained model and its tokenizer."""

from __future__ import annotations

import shutil

from langmill.checkpoints.base import build_model_source
from langmill.checkpoints.complete import TOKENIZER_FILES, complete
from langmill.config.compose import load_section
from langmill.config.sections import Pretrained
from langmill.errors import ConfigError
from langmill.files import atomic_folder, digest_files, digest_of, write_manifest
from langmill.models.huggingface.loading import kind_of_model
from langmill.tokenization.tokenizer import Tokenizer
from langmill.workspace import Workspace


def main(name: str) -> None:
    """Write build/models/NAME, the model as its authors published it, and build/tokenizers/NAME.

    Files that `transformers` reads stay as they are; a GGUF file becomes what `transformers` would make of it.
    """
    workspace = Workspace()
    where = str(workspace.settings("pretrained", name))
    settings = load_section(Pretrained, workspace.composed_file("pretrained", name))
    source = build_model_source(settings.source, where)
    with atomic_folder(workspace.model(name)) as model, atomic_folder(workspace.tokenizer(name)) as vocabulary:
        source.fetch(model, workspace.downloads)
        published = complete(model)
        kind = kind_of_model(model)
        if settings.kind is not None and settings.kind.value != kind.value:
            raise ConfigError(
                f"{where}: kind is {settings.kind.value}, but the model that came is {kind.value}; write that.",
                "mismatch",
            )
        for file in TOKENIZER_FILES:
            if (model / file).is_file():
                shutil.copyfile(model / file, vocabulary / file)
        tokenizer = Tokenizer.load(vocabulary)
        write_manifest(vocabulary, {"algorithm": "pretrained", "vocab_size": tokenizer.vocab_size})
        facts = {
            "recipe": name,
            "provenance": digest_of(digest_files(model)),
            "licence": settings.licence,
            "source": source.facts() | published,
        }
        write_manifest(model, facts)
