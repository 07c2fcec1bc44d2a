"""`langmill generate` and `classify`: ask a model without a server."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import command
from langmill.errors import ConfigError, LangmillError, ModelError

if TYPE_CHECKING:
    from langmill.tasks.loading import LoadedModel


_TEMPERATURE = 0.8
"""A little safer than the network says: what one wants to read at a terminal."""
_TOP_K = 50


@command(
    example="langmill generate reviews-lm --prompt 'The film'\n"
    "langmill generate --model build/models/reviews-lm --prompt 'The film' --temperature 0"
)
@click.argument("recipe", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="A model folder, instead of a recipe's champion.")
@click.option("--prompt", default="", help="What the text begins with.")
@click.option("--max-new-tokens", default=100, show_default=True, help="How many tokens to write at most.")
@click.option("--temperature", type=float, help="0 takes the likeliest token; default: 0.8, or as the model is judged.")
@click.option("--top-k", type=int, help="Choose among so many of the likeliest tokens; 0 for all; default: 50.")
@click.option("--top-p", default=1.0, show_default=True, help="Choose among the likeliest tokens of this mass.")
@click.option(
    "--min-p", default=0.0, show_default=True, help="Choose among tokens this many times as likely as the first."
)
@click.option("--repetition-penalty", type=float, help="Make what is there already less likely; 1 does not.")
@click.option("--beams", type=int, help="Search for the likeliest text with so many beams; 1 does not.")
@click.option("--length-penalty", type=float, help="With beams: above 0 favours longer texts.")
@click.option("--stop", multiple=True, help="A text to stop before; may be given several times.")
@click.option("--seed", type=int, help="Equal seeds give equal texts; default: 1.")
def generate(
    *, recipe: str | None, model: Path | None, prompt: str, max_new_tokens: int, temperature: float | None,
    top_k: int | None, top_p: float, min_p: float, repetition_penalty: float | None, beams: int | None,
    length_penalty: float | None, stop: tuple[str, ...], seed: int | None,
) -> None:  # fmt: skip
    """Let a language model go on from a prompt."""
    with opened_model(recipe, model) as (loaded, name):
        from langmill.models.generation import GREEDY_BELOW, Sampling, searching
        from langmill.tasks.base import Generates
        from langmill.tokenization.text_stream import written

        task = loaded.task
        if not isinstance(task, Generates):
            raise ModelError(f"{name} does not generate text; ask it with `langmill classify`.")
        prompt_ids = task.prompt_ids(loaded.tokenizer, prompt)
        if len(prompt_ids) >= loaded.max_length:
            raise ModelError(f"The prompt has {len(prompt_ids)} tokens; {name} takes less than {loaded.max_length}.")
        own = task.writing
        freely = own.temperature > 0  # a model that goes on from its prompt; else one that answers it
        if temperature is None:
            searches = beams is not None and beams > 1  # by itself at a temperature of 0
            temperature = 0.0 if searches else _TEMPERATURE if freely else own.temperature
        if beams is None:
            beams = own.num_beams if temperature < GREEDY_BELOW and repetition_penalty is None else 1
        searches = beams > 1
        if searches and seed is not None:
            raise ConfigError(
                f"--seed is {seed} together with {beams} beams, and a search draws nothing; leave it out."
            )
        if not searches and length_penalty is not None:
            raise ConfigError(f"--length-penalty is {length_penalty} without beams, which alone have lengths to weigh.")
        if repetition_penalty is None:
            repetition_penalty = 1.0 if searches else own.repetition_penalty
        sampling = Sampling(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k if top_k is not None else 0 if searches else _TOP_K,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=1 if seed is None else seed,
            stop_ids=(loaded.tokenizer.eot_id,),
        )
        if searches:
            penalty = own.length_penalty if length_penalty is None else length_penalty
            steps: Generator[int | None, None, object] = task.search(
                loaded.network, loaded.tokenizer, prompt_ids, searching(sampling, beams, penalty)
            )
        else:
            steps = task.generate(loaded.network, prompt_ids, sampling)
        text = written(steps, loaded.tokenizer.decode, stop)
        click.echo(prompt + text if freely else text)
        click.echo(f"[{name}]", err=True)


@command(
    example="langmill classify sentiment 'A wonderful film.'\n"
    "cat reviews.txt | langmill classify sentiment -"
)  # fmt: skip
@click.argument("recipe", required=False)
@click.argument("texts", nargs=-1)
@click.option("--model", type=click.Path(path_type=Path), help="A model folder, instead of a recipe's champion.")
def classify(recipe: str | None, texts: tuple[str, ...], model: Path | None) -> None:
    """Say the label of texts.

    Prints one line a text: the label, its probability and the text.

    `-` reads one text a line from standard input. With --model every argument is a text.
    """
    given = [text for text in ((recipe, *texts) if model is not None else texts) if text is not None]
    if given == ["-"]:
        given = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not given:
        raise LangmillError("There is no text to classify; give it after the recipe's name, or - to read lines.")
    with opened_model(None if model is not None else recipe, model) as (loaded, name):
        from langmill.tasks.base import Classifies

        task = loaded.task
        if not isinstance(task, Classifies):
            raise ModelError(f"{name} does not tell labels; ask it with `langmill generate`.")
        for text, row in zip(given, task.probabilities(loaded.network, loaded.tokenizer, given), strict=True):
            best = int(row.argmax())
            click.echo(f"{task.labels[best]}\t{row[best]:.4f}\t{text}")
        click.echo(f"[{name}]", err=True)


@contextmanager
def opened_model(recipe: str | None, folder: Path | None) -> Iterator[tuple[LoadedModel, str]]:
    """A model and what to call it: the one in `folder`, or the champion of a recipe.

    Raises:
        LangmillError: Neither or both are named, or there is no such model.
    """
    if (recipe is None) == (folder is None):
        raise LangmillError("Name either a recipe or, with --model, a model folder.")
    from langmill.tasks.loading import load_model

    if folder is not None:
        yield load_model(folder, verify=True), str(folder)
        return
    assert recipe is not None
    from langmill.cli.workspace import operation
    from langmill.files import read_manifest
    from langmill.graph import MODELS
    from langmill.registry.store import CHAMPION, Registry

    registry = Registry(operation().tracking_uri)
    champion = next((one for one in registry.overview() if one.name == recipe and CHAMPION in one.aliases), None)
    if champion is None:
        raise ModelError(f"{recipe} has no champion; `langmill run {recipe}` makes one, --model takes a folder.")
    local = Path(MODELS) / recipe
    if local.is_dir() and read_manifest(local, verify=True).get("provenance") == champion.provenance:
        yield load_model(local, verify=False), champion.title
        return
    with tempfile.TemporaryDirectory(prefix="langmill-model-") as temporary:
        fetched = registry.download(recipe, champion.version, Path(temporary) / "model")
        yield load_model(fetched, verify=False), champion.title
