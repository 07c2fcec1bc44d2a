"""The command `langmill new recipe`, and the group of all that begin something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from langmill.cli.command import Command
from langmill.cli.new.corpus import corpus
from langmill.cli.new.pretrained import pretrained
from langmill.errors import LangmillError

if TYPE_CHECKING:
    from langmill.config.sections import Corpus

_SAMPLED = 2000  # rows that are looked at for labels and prompts


@click.group()
def new() -> None:
    """Begin another corpus, recipe or pretrained model.

    Writes its file in conf/ and its line in dvc.yaml.
    """


new.add_command(corpus)
new.add_command(pretrained)


@new.command(
    cls=Command,
    example="langmill new recipe letters-lm --corpus letters\n"
    "langmill new recipe letters-topic --corpus letters --task classification --base letters-lm\n"
    "langmill new recipe letters-minilm --corpus letters --task classification --base minilm\n"
    "langmill new recipe letters-assistant --corpus letters --task chat --base smollm2",
)
@click.argument("name")
@click.option("--corpus", "corpus_name", required=True, help="The corpus to learn from.")
@click.option("--tokenizer", "tokenizer_name", help="A tokenizer; default: the base's, or the corpus's own.")
@click.option("--task", default="language_modelling", show_default=True, help="A file in conf/task/.")
@click.option("--base", help="Fine-tune from this recipe's or pretrained model, instead of from scratch.")
@click.option(
    "--tuning",
    type=click.Choice(["lora", "full", "head"]),
    help="Weights of a pretrained base to train: an adapter, all, or those above its body; default: an adapter where "
    "it has more than 50 million.",
)
def recipe(
    *, name: str, corpus_name: str, tokenizer_name: str | None, task: str, base: str | None, tuning: str | None
) -> None:
    """Begin a recipe: one model to make from a corpus.

    A tokenizer for the corpus is begun as well if there is none. The files say which values to try first.
    """
    from langmill.cli.new.documents import documents_available
    from langmill.cli.new.files import Part, require_new, write
    from langmill.cli.new.graph_file import GRAPH_FILE
    from langmill.cli.new.sizes import size_of, warn_of_few
    from langmill.cli.new.templates import recipe_text, tokenizer_text
    from langmill.config.compose import available, compose_corpus, compose_recipe, compose_tokenizer
    from langmill.config.names import did_you_mean

    require_new("recipe", name, "from_scratch")
    require_new("recipe", name, "fine_tuned")
    corpus_section = compose_corpus(corpus_name)  # refuses an unknown one with a sentence
    if task not in available("task"):
        raise LangmillError(
            f"There is no conf/task/{task}.yaml; there are: {', '.join(available('task'))}."
            f"{did_you_mean(task, available('task'))}",
            "unknown",
        )
    if tuning is not None and base is None:
        raise LangmillError(f"--tuning {tuning} is about a base's weights; name one with --base.", "missing")
    from langmill.cli.new import choices  # brings PyTorch: what is refused above is refused at once
    from langmill.cli.new.bases import BaseChoice, choose

    task_name, learned = choices.task_of(task)
    if learned.needs_base and base is None:
        raise LangmillError(
            f"The task {task} goes on from a model that can answer already; name it with --base, a recipe's or a "
            f"pretrained one ({', '.join(available('pretrained'))}).",
            "missing",
        )
    if base is not None:
        chosen = choose(base, task, task_name, learned, tuning)
    else:
        model, training = choices.fitting_model(learned), choices.fitting_training(task_name)
        chosen = BaseChoice(corpus_name, model, training, 500)
    tokenizer = tokenizer_name or chosen.tokenizer
    special = choices.special_tokens(learned)
    size = size_of(corpus_section)
    parts = []
    if tokenizer not in available("tokenizer"):
        require_new("tokenizer", tokenizer, "tokenizers")
        text = tokenizer_text(tokenizer, corpus_name, special, size.vocab_size if size else 4096)
        parts.append(Part("tokenizer", tokenizer, text, "tokenizers", {"corpus": corpus_name}))
    elif learned.needs_special_tokens and (
        missing := sorted(set(special) - set(compose_tokenizer(tokenizer).special_tokens))
    ):
        raise LangmillError(
            f"The task {task} needs the special token {missing[0]}, which conf/tokenizer/{tokenizer}.yaml does not "
            "have; give --tokenizer a new name, or add it to special_tokens there.",
            "mismatch",
        )
    documents = documents_available(corpus_section, _SAMPLED)
    fitted, packed = chosen.fitted(), task_name == "language_modelling"
    steps = size.steps(fitted, chosen.most, packed=packed, few=chosen.is_pretrained) if size else chosen.most
    text = recipe_text(
        name, corpus_name, tokenizer, task=task, model=chosen.model, training=chosen.training, base=base,
        options=chosen.options, changes=chosen.changes,
        gate=task if task in available("gate") else task_name,
        samples=choices.sample_prompts(documents, task_name, learned), steps=steps, fitted=fitted,
        length=choices.fitting_length(learned),
    )  # fmt: skip
    line = {"corpus": corpus_name, "tokenizer": tokenizer} | ({"base": base} if base else {})
    parts.append(Part("recipe", name, text, "fine_tuned" if base else "from_scratch", line))
    for path in write(parts):
        click.echo(f"Wrote {path} and its line in {GRAPH_FILE}.")
    if task_name == "classification":
        _warn_of_unlabelled(corpus_section, [label for _, label in documents])
    rule = compose_recipe(name).gate.rules.get("enough_documents") or {}
    warn_of_few(size, corpus_name, rule.get("min_documents", 0))
    click.echo(f"Next: langmill config {name} --explain, then langmill run {name}")


def _warn_of_unlabelled(corpus: Corpus, labels: Sequence[str | None]) -> None:
    """Warn where a classifier will leave rows out, for it learns from those that have a label."""
    from langmill.config.core_yaml import as_written
    from langmill.data.report.words import counted

    labelled = sum(label is not None for label in labels)
    if labelled < len(labels):
        few = f"only {labelled:,}" if labelled else "none"
        has = "has" if labelled < 2 else "have"
        click.echo(
            f"Warning: {few} of the first {counted(len(labels), 'row')} of {corpus.name} {has} a "
            f"label in {as_written(corpus.fields.label)}, and a classifier learns from labelled rows only; see "
            f"fields.label in conf/corpus/{corpus.name}.yaml.",
            err=True,
        )
