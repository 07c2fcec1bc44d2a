"""`langmill benchmark`: a language model's answers to the questions of a task in lm-eval's format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import command
from langmill.errors import ModelError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.evaluation.benchmark import Answering, Asked


@command(
    example="langmill benchmark reviews-lm data/choices.yaml\n"
    "langmill benchmark smollm2 data/choices.yaml --max-documents 20"
)
@click.argument("name")
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--max-documents", type=click.IntRange(min=1), help="Questions to ask, at most; drawn by seed.")
@click.option("--answers", is_flag=True, help="Print what was answered to each question.")
def benchmark(name: str, task: Path, max_documents: int | None, *, answers: bool) -> None:
    """Ask a language model the questions of a file.

    NAME is a recipe, whose champion is asked, a pretrained model as it came, or a model folder. TASK is a YAML file in
    the format of EleutherAI's lm-eval: multiple_choice, loglikelihood or generate_until, with its questions in JSON.
    The numbers are lm-eval's on the same weights; each has its interval.
    """
    from dataclasses import replace

    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_evaluation
    from langmill.evaluation.benchmark import ask
    from langmill.evaluation.benchmark_task import read_task
    from langmill.evaluation.scoring import reproducible

    require_workspace()
    evaluation = replace(compose_evaluation(), max_documents=max_documents)
    questions = read_task(task)
    with _answering(name) as answering, reproducible(evaluation.threads):
        asked = ask(answering, questions, evaluation)
        click.echo(shown(asked))
        if answers:
            for number, answer in enumerate(asked.answers, 1):
                click.echo(f"{number}\t{answer!r}")
        click.echo(f"[{answering.name}]", err=True)


def shown(asked: Asked) -> str:
    """The metrics in columns, and what they are of."""
    from langmill.cli.results import in_columns
    from langmill.evaluation.estimates import number

    lines = [(name, number(found.value), found.interval) for name, found in asked.estimates.items()]
    whole = len(asked.task.questions)
    drawn = f" of {whole:,}, drawn by seed" if asked.examples < whole else ""
    return (
        in_columns([(asked.task.name, "value", "interval"), *lines])
        + f"\n{asked.examples:,} questions{drawn}; {asked.tokens_per_second:,.0f} tokens/s"
    )


@contextmanager
def _answering(name: str) -> Iterator[Answering]:
    """The model to ask; ModelError for one that does not continue a text."""
    from langmill.cli.models import opened_model
    from langmill.config.compose import available
    from langmill.evaluation.benchmark import Answering
    from langmill.models.heads import LanguageModel
    from langmill.models.huggingface.special_tokens import SpecialTokenTemplate

    if name in available("pretrained"):
        yield _as_it_came(name)
        return
    folder = Path(name) if (Path(name) / "config.json").is_file() else None
    with opened_model(None if folder else name, folder) as (loaded, title):
        network = loaded.network
        if not isinstance(network, LanguageModel):
            raise ModelError(f"{title} does not continue a text, so it can't be asked these questions.", "unsupported")
        prefix = SpecialTokenTemplate.read(loaded.tokenizer.file).prefix
        yield Answering(title, network, loaded.tokenizer, prefix)


def _as_it_came(name: str) -> Answering:
    """A pretrained model before anything is tuned."""
    from langmill.cli.workspace import operation
    from langmill.config.compose import CONF
    from langmill.config.core_yaml import read_yaml
    from langmill.evaluation.benchmark import Answering
    from langmill.models.base import Kind, build_backbone
    from langmill.models.device import use_device
    from langmill.models.folder import read_config
    from langmill.models.heads import LanguageModel
    from langmill.models.huggingface.special_tokens import SpecialTokenTemplate
    from langmill.tokenization.tokenizer import Tokenizer

    folder = Workspace().model(name)
    if not folder.is_dir():
        raise ModelError(f"{name} is not here yet; `dvc repro pretrained@{name}` brings it.", "missing")
    tokenizer, device = Tokenizer.load(folder), use_device(operation().device)
    options = read_yaml(CONF / "model" / "pretrained.yaml")["options"]
    length = int(read_config(folder).get("max_position_embeddings", _LENGTH))
    backbone = build_backbone("pretrained", options, tokenizer.vocab_size, length, name, source=folder)
    if backbone.kind is not Kind.causal:
        raise ModelError(f"{name} does not continue a text, so it can't be asked these questions.", "unsupported")
    network = LanguageModel(backbone)
    backbone.start_from(folder)
    prefix = SpecialTokenTemplate.read(tokenizer.file).prefix
    return Answering(f"{name} as it came", network.to(device).eval(), tokenizer, prefix)


_LENGTH = 1024  # tokens, of a network whose description does not say
