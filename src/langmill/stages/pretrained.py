"""Fetch a pretrained model and its tokenizer."""

from __future__ import annotations

import shutil

from langmill.config.compose import load_section
from langmill.config.sections import CheckpointSource
from langmill.data.sources.checkpoints import checkpoint_facts, fetch_checkpoint
from langmill.files import atomic_folder, digest_files, digest_of, write_manifest
from langmill.tokenization.checkpoint import checkpoint_tokenizer
from langmill.tokenization.tokenizer import FILE_NAME
from langmill.workspace import Workspace


def main(name: str) -> None:
    """Write build/models/NAME, the model's files as their authors published them, and build/tokenizers/NAME."""
    workspace = Workspace()
    source = load_section(CheckpointSource, workspace.composed_file("pretrained", name), "source")
    with atomic_folder(workspace.model(name)) as model, atomic_folder(workspace.tokenizer(name)) as vocabulary:
        fetch_checkpoint(source, model, workspace.downloads)
        tokenizer = checkpoint_tokenizer(model)
        shutil.copyfile(model / FILE_NAME, vocabulary / FILE_NAME)
        write_manifest(vocabulary, {"algorithm": "pretrained", "vocab_size": tokenizer.vocab_size})
        facts = {"recipe": name, "provenance": digest_of(digest_files(model)), "source": checkpoint_facts(source)}
        write_manifest(model, facts)
