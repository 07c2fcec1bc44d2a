"""`langmill export`: a registered version in the form that other programs open."""

from __future__ import annotations

from pathlib import Path

import click

from langmill.cli.command import command
from langmill.errors import LangmillError


@command(
    example="langmill export assistant --to assistant-hf\n"
    "langmill export reviews-lm --version 3 --format onnx --to ../reviews-lm-3"
)  # fmt: skip
@click.argument("model")
@click.option("--version", type=int, help="The version, instead of the champion.")
@click.option("--alias", help="An alias, instead of the champion: challenger or previous.")
@click.option("--format", "format_name", default="hf", show_default=True, help="What opens it: hf, gguf, onnx or pt2.")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The folder to make.")
def export(model: str, version: int | None, alias: str | None, format_name: str, to: Path) -> None:
    """Write a version into a folder that other programs open.

    Its files are checked against their digests first. hf is for transformers, and so vLLM; gguf for llama.cpp, where
    the model has Llama's shape; onnx for onnxruntime; pt2 for plain torch. Each has equal logits, and a model card
    that says what the model is, how good, from what data, what it can't do, and how to open the folder.
    """
    if version is not None and alias is not None:
        raise LangmillError("Name either --version or --alias.", "impossible")
    from langmill.cli.workspace import operation
    from langmill.export.base import export as write
    from langmill.registry.store import ModelRegistry
    from langmill.registry.versions import CHAMPION

    which = alias or CHAMPION if version is None else version
    found = write(ModelRegistry(operation().tracking_uri), model, which, format_name, to)
    click.echo(f"{found.title} is in {to}.")
