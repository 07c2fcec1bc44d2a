"""`langmill explain`: why a model answers as it does, as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from langmill.cli.command import command
from langmill.cli.models import opened_model
from langmill.errors import LangmillError
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.evaluation.explain import Attribution
    from langmill.tasks.loading import LoadedModel

_WORDS = 4
"""Words named on the terminal, for the label and against it."""


@command(
    example="langmill explain sentiment 'A wonderful film, and far too long.'\n"
    "langmill explain sentiment-decoder 'A wonderful film.' --attention --layer 2\n"
    f"langmill explain --model {Workspace().model('catalogs-en-de')} 'Open the file.' --out why.svg"
)
@click.argument("recipe", required=False)
@click.argument("text", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="A model folder, instead of a recipe's champion.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"The plot, .png or .svg; default: {Workspace().explanation('RECIPE')}.",
)
@click.option("--attention", is_flag=True, help="Of a classifier, show where it looks instead of which words decide.")
@click.option("--layer", type=int, help="One layer's attention, counted from 1; default: each, or the last one.")
@click.option("--head", type=int, help="One head's attention, counted from 1; default: the mean over heads.")
@click.option("--target", help="What a model that writes is to write; default: its own answer.")
def explain(
    *, recipe: str | None, text: str | None, model: Path | None, out: Path | None, attention: bool,
    layer: int | None, head: int | None, target: str | None,
) -> None:  # fmt: skip
    """Show why a model answers as it does, as a plot.

    Of a classifier: the text, each token on the colour of what it adds to the label's logit. Of other Transformers: how
    much each token looks at each other one; --layer, --head and --attention show that of a classifier too.
    """
    if model is not None and text is None:
        recipe, text = None, recipe
    if text is None or not text.strip():
        raise LangmillError("There is no text to explain; give it after the recipe's name or the --model.", "missing")
    if target is not None and not target.strip():
        raise LangmillError("--target is empty; leave it out to see the model's own answer.", "impossible")
    from langmill.evaluation.explain_plots import check_path

    if out is not None:
        check_path(out)
    with opened_model(recipe, model) as (loaded, name):
        from langmill.tasks.base import Classifies

        path = Workspace().explanation(loaded.recipe) if out is None else out
        if isinstance(loaded.task, Classifies) and not attention and layer is None and head is None:
            if target is not None:
                sentence = f"{name} predicts a label and writes nothing, so it has no use for --target."
                raise LangmillError(sentence, "unsupported")
            _show_words(loaded, name, text, path)
        else:
            _show_attention(loaded, name, text, path, target=target, layer=layer, head=head)
        click.echo(f"[{name}]", err=True)


def _show_words(loaded: LoadedModel, name: str, text: str, path: Path) -> None:
    from langmill.evaluation.explain import attribute
    from langmill.evaluation.explain_plots import draw_attribution

    found = attribute(loaded, name, text)
    _say_truncated(name, found.left_out)
    missing = draw_attribution(found, loaded.recipe, path)
    click.echo(_in_words(found))
    if not found.complete:
        click.echo(
            f"After {found.steps} steps the shares miss the difference of the logits by {found.error:+.3g}; "
            "read them with care.",
            err=True,
        )
    click.echo(f"The plot: {path}")
    _say_missing(missing)


def _in_words(found: Attribution) -> str:
    """The label, its probability, and the words that decided."""
    speak_for, against = (
        ", ".join(f"{word} {share:+.2f}" for word, share in words) or "nothing" for words in found.words(_WORDS)
    )
    return f"{found.label} {found.probability:.4f}  for it: {speak_for}; against it: {against}"


def _show_attention(
    loaded: LoadedModel, name: str, text: str, path: Path, *, target: str | None, layer: int | None, head: int | None
) -> None:
    from langmill.evaluation.explain import attention_maps, chosen_maps
    from langmill.evaluation.explain_plots import MOST_SHOWN, draw_attention, shown_layers

    maps = attention_maps(loaded, name, text, target)
    chosen = chosen_maps(maps, name, layer, head)
    shown = shown_layers(maps, list(chosen))
    _say_truncated(name, maps.left_out)
    _say_truncated(name, maps.target_left_out, "target")
    heads = maps.weights_LHTS.shape[1]
    of_heads = "" if head is not None or heads == 1 else f", mean of {heads} heads"
    layers = shown[0] if len(shown) == 1 else f"{len(shown)} layers{'' if head is None else f', head {head}'}"
    title = f"{loaded.recipe}: attention, {layers}{of_heads}"
    missing = draw_attention(maps, {each: chosen[each] for each in shown}, title, path)
    if maps.answer is not None:
        click.echo(maps.answer.strip())
    click.echo(f"The plot ({layers}{of_heads}): {path}")
    if len(shown) < len(chosen):
        click.echo("The text is long, so only the last layer is shown; --layer shows another one.", err=True)
    if max(len(maps.rows), len(maps.columns)) > MOST_SHOWN:
        click.echo(f"A side of the map shows {MOST_SHOWN} tokens at most; the others are left out.", err=True)
    _say_missing(missing)


def _say_truncated(name: str, left_out: int, what: str = "text") -> None:
    if left_out:
        tokens = "1 token of it was" if left_out == 1 else f"{left_out:,} tokens of it were"
        click.echo(f"The {what} is longer than {name} can take: {tokens} truncated.", err=True)


def _say_missing(missing: frozenset[str]) -> None:
    if missing:
        few = "".join(sorted(missing)[:5])
        click.echo(
            f"No font here has {few}{'…' if len(missing) > 5 else ''}: the plot shows code points "
            "(Noto Sans CJK has most scripts of East Asia).",
            err=True,
        )
