"""`langmill generate` and `classify`: use a model without a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import command
from langmill.errors import LangmillError, ModelError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.config.sections import Accelerator
    from langmill.tasks.loading import LoadedModel


@command(
    example="langmill generate reviews-lm --prompt 'The film'\n"
    f"langmill generate --model {Workspace().model('reviews-lm')} --prompt 'The film' --temperature 0"
)
@click.argument("recipe", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="A model folder, instead of a recipe's champion.")
@click.option("--prompt", default="", help="What the text begins with.")
@click.option("--max-new-tokens", type=int, help="Tokens to generate, at most.")
@click.option("--temperature", type=float, help="0 is greedy decoding, 1 samples from the network's distribution.")
@click.option("--top-k", type=int, help="Choose among this many of the most likely tokens; 0 for all.")
@click.option("--top-p", type=float, help="Choose among the most likely tokens of this probability mass; 1 for all.")
@click.option("--min-p", type=float, help="Choose among tokens with this share of the highest probability; 0 for all.")
@click.option("--repetition-penalty", type=float, help="Make tokens of the text so far less likely; 1 does not.")
@click.option("--beams", type=int, help="Beam search with this many beams; 1 is none.")
@click.option("--length-penalty", type=float, help="With beams: above 0 favours longer texts.")
@click.option("--stop", multiple=True, help="A text to stop before; may be given several times.")
@click.option("--seed", type=int, help="Equal seeds give equal texts; 1 by default.")
def generate(
    *, recipe: str | None, model: Path | None, prompt: str, stop: tuple[str, ...], beams: int | None,
    **asked: float | None,
) -> None:  # fmt: skip
    """Continue or answer a prompt with a language model.

    Defaults are those of the model's generation_config.json.
    """
    with opened_model(recipe, model) as (loaded, name):
        from langmill.tasks.base import Generates

        if not isinstance(loaded.task, Generates):
            raise ModelError(f"{name} does not generate text; ask it with `langmill classify`.", "unsupported")
        text = loaded.generate(prompt, {**asked, "num_beams": beams}, name, stop)
        config = loaded.generation_config
        assert config is not None
        click.echo(prompt + text if config.samples else text)  # a continuation of the prompt, or an answer
        click.echo(f"[{name}]", err=True)


@command(
    example="langmill classify sentiment 'A wonderful film.'\n"
    "cat reviews.txt | langmill classify sentiment -"
)  # fmt: skip
@click.argument("recipe", required=False)
@click.argument("texts", nargs=-1)
@click.option("--model", type=click.Path(path_type=Path), help="A model folder, instead of a recipe's champion.")
def classify(recipe: str | None, texts: tuple[str, ...], model: Path | None) -> None:
    """Predict the label of texts.

    Prints one line a text: the label, its probability and the text.

    `-` reads one text a line from standard input. With --model every argument is a text.
    """
    given = [text for text in ((recipe, *texts) if model is not None else texts) if text is not None]
    if given == ["-"]:
        given = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not given:
        sentence = "There is no text to classify; give it after the recipe's name, or - to read lines."
        raise LangmillError(sentence, "missing")
    with opened_model(None if model is not None else recipe, model) as (loaded, name):
        from langmill.tasks.base import Classifies

        task = loaded.task
        if not isinstance(task, Classifies):
            raise ModelError(f"{name} does not predict labels; ask it with `langmill generate`.", "unsupported")
        for text, row in zip(given, task.probabilities(loaded.network, loaded.tokenizer, given), strict=True):
            best = int(row.argmax())
            click.echo(f"{task.labels[best]}\t{row[best]:.4f}\t{text}")
        if note := loaded.truncation_note(given, name):
            click.echo(note, err=True)
        click.echo(f"[{name}]", err=True)


@contextmanager
def opened_model(recipe: str | None, folder: Path | None) -> Iterator[tuple[LoadedModel, str]]:
    """The model in `folder`, or the champion of a recipe, and its display name; LangmillError for neither or both."""
    if (recipe is None) == (folder is None):
        raise LangmillError("Name either a recipe or, with --model, a model folder.", "impossible")
    from langmill.models.device import use_device
    from langmill.tasks.loading import load_model

    workspace = Workspace()
    if folder is not None:
        own = folder.resolve() == workspace.model(folder.name).resolve()
        evaluation = workspace.evaluation(folder.name) if own else None
        device = use_device(_folder_device())
        yield load_model(folder, verify=True, device=device, evaluation=evaluation), str(folder)
        return
    assert recipe is not None
    from langmill.cli.workspace import operation, require_recipe
    from langmill.files import read_manifest, sha256_file, temporary_folder
    from langmill.models.folder import GENERATION_NAME
    from langmill.registry.store import ModelRegistry
    from langmill.registry.versions import CHAMPION, Tag

    settings = operation()
    device = use_device(settings.device)
    registry = ModelRegistry(settings.tracking_uri)
    champion = next((one for one in registry.overview() if one.name == recipe and CHAMPION in one.aliases), None)
    if champion is None:
        require_recipe(recipe)
        sentence = f"{recipe} has no champion; `langmill run {recipe}` makes one, --model takes a folder."
        raise ModelError(sentence, "missing")
    local, judged = workspace.model(recipe), workspace.evaluation(recipe) / GENERATION_NAME
    generation = sha256_file(judged) if judged.is_file() else ""
    if (
        champion.tags.get(Tag.generation) == generation
        and local.is_dir()
        and read_manifest(local, verify=True).get("provenance") == champion.provenance
    ):
        yield load_model(local, verify=False, device=device, evaluation=judged.parent), champion.title
        return
    with temporary_folder() as temporary:
        fetched = registry.download(recipe, champion.version, temporary / "model")
        yield load_model(fetched, verify=False, device=device), champion.title


def _folder_device() -> Accelerator:
    """The workspace's setting; a model folder can be used outside of one too."""
    from langmill.cli.workspace import in_workspace, operation
    from langmill.config.sections import Accelerator

    return operation().device if in_workspace() else Accelerator.auto
