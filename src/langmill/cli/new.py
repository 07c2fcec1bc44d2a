"""`langmill new`: the files and the lines of dvc.yaml for another corpus or recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import click

from langmill.cli.command import Command
from langmill.errors import ConfigError, LangmillError

GRAPH_FILE = Path("dvc.yaml")
CONF = Path("conf")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TEXT_NAMES = ("text", "content", "body", "review", "sentence", "document", "message", "article", "abstract")
_LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "stars", "rating", "intent", "topic")
_SAMPLED_ROWS = 100


@click.group()
def new() -> None:
    """Begin another corpus or recipe.

    Writes its file in conf/ and its line in dvc.yaml.
    """


@new.command(cls=Command, example="langmill new corpus letters --from data/letters.csv\nlangmill new corpus letters")
@click.argument("name")
@click.option("--from", "path", type=click.Path(path_type=Path), help="A file or folder; its fields are guessed.")
def corpus(name: str, path: Path | None) -> None:
    """Begin a corpus of local files.

    They may be .txt, .json, .jsonl, .csv, .tsv or .parquet, plain or compressed.
    With --from the fields that hold the text and the label are guessed from the first rows; look at the file that is
    written. Without it the corpus reads data/NAME, which you fill. The names must be new.
    """
    _require_new("corpus", name, "corpora")
    source = path if path is not None else Path("data") / name
    if path is not None and not path.exists():
        raise LangmillError(f"{path} does not exist; give the path of a file or a folder to --from.")
    fields, others = guess_fields(path) if path is not None else ({"text": "text", "label": None}, [])
    written = _write(
        "corpus", name, _corpus_text(name, source, fields, others), [("corpora", name, {"source": str(source)})]
    )
    click.echo(f"Wrote {written} and its line in {GRAPH_FILE}.")
    if path is None:
        click.echo(f"Put the files into {source}/, and name their fields in {written}.")
    else:
        label = f", the label in {fields['label']!r}" if fields["label"] else ", no label"
        click.echo(f"Guessed: the text is in {fields['text']!r}{label}. Look at {written}.")
    click.echo(f"Next: langmill new recipe NAME --corpus {name}")


@new.command(
    cls=Command,
    example="langmill new recipe letters-lm --corpus letters\n"
    "langmill new recipe letters-topic --corpus letters --task classification --base letters-lm\n"
    "langmill new recipe letters-minilm --corpus letters --task classification --base minilm",
)
@click.argument("name")
@click.option("--corpus", "corpus_name", required=True, help="The corpus to learn from.")
@click.option("--tokenizer", "tokenizer_name", help="A tokenizer; default: the base's, or the corpus's own.")
@click.option("--task", default="language_modelling", show_default=True, help="A file in conf/task/.")
@click.option("--base", help="Fine-tune from this recipe's or pretrained model, instead of from scratch.")
def recipe(name: str, corpus_name: str, tokenizer_name: str | None, task: str, base: str | None) -> None:
    """Begin a recipe: one model to make from a corpus.

    A tokenizer for the corpus is begun as well if there is none. The files say which values to try first.
    """
    from langmill.config.compose import available, compose_corpus, compose_recipe

    _require_new("recipe", name, "from_scratch")
    _require_new("recipe", name, "fine_tuned")
    compose_corpus(corpus_name)  # refuses an unknown one with a sentence
    if task not in available("task"):
        raise LangmillError(f"There is no conf/task/{task}.yaml; there are: {', '.join(available('task'))}.")
    tokenizer, model, training = tokenizer_name, "decoder-small", "fine-tuning" if base else "from-scratch"
    lines: list[tuple[str, str, Mapping[str, str]]] = []
    if base in available("pretrained"):
        tokenizer, model, training = tokenizer or base, base, "pretrained"
    elif base is not None:
        based_on = compose_recipe(base)
        tokenizer = tokenizer or based_on.tokenizer.name
        model = _choice(CONF / "recipe" / f"{base}.yaml", "model") or model
    tokenizer = tokenizer or corpus_name
    if tokenizer not in available("tokenizer"):
        text = (
            f"name: {tokenizer}\n# The corpus whose training split it is learned on.\ncorpus: {corpus_name}\n"
            "algorithm: bpe\n# Entries; a small corpus (below a million characters) does better with 1000 to 2000.\n"
            "vocab_size: 4096\nspecial_tokens: []\n"
        )
        path = _write("tokenizer", tokenizer, text, [("tokenizers", tokenizer, {"corpus": corpus_name})])
        click.echo(f"Wrote {path} and its line in {GRAPH_FILE}.")
    line = {"corpus": corpus_name, "tokenizer": tokenizer} | ({"base": base} if base else {})
    lines.append(("fine_tuned" if base else "from_scratch", name, line))
    text = _recipe_text(name, corpus_name, tokenizer, task=task, model=model, training=training, base=base)
    written = _write("recipe", name, text, lines)
    click.echo(f"Wrote {written} and its line in {GRAPH_FILE}.")
    click.echo(f"Next: langmill config {name} --explain, then langmill run {name}")


def guess_fields(path: Path) -> tuple[dict[str, str | None], list[str]]:
    """Which field of the rows holds the text and which the label, and the names of the others.

    Args:
        path: A file, or a folder whose first readable file is looked at.

    Raises:
        LangmillError: There is no file that can be read, or no field with text.
    """
    from langmill.config.sections import FormatSection
    from langmill.data.formats.base import build_format
    from langmill.data.readers import first_rows

    auto = build_format(FormatSection("auto", {}), "langmill new")
    files = [path] if path.is_file() else auto.files(path)
    if not files or auto.ending(files[0]) is None:
        raise LangmillError(f"{path} holds no file that can be read; readable are {auto.endings()}.")
    if auto.is_plain_text(PurePosixPath(files[0])):
        return {"text": "text", "label": None}, []
    rows = first_rows(files[0], auto, _SAMPLED_ROWS)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = _named(names, _TEXT_NAMES) or max(names, key=lambda name: _mean_length(rows, name), default=None)
    if text is None or not _mean_length(rows, text):
        raise LangmillError(
            f"{files[0]} has no field with text in its first rows; known are {', '.join(names) or 'none'}."
        )
    label = _named([name for name in names if name != text], _LABEL_NAMES)
    return {"text": text, "label": label}, [name for name in names if name not in (text, label)]


def add_line(text: str, group: str, name: str, values: Mapping[str, str]) -> str:
    """`dvc.yaml` with one more name in a group of `vars`; comments and form stay as they are.

    Args:
        text: The file's content.
        group: `corpora`, `tokenizers`, `from_scratch` or `fine_tuned`.
        name: The new name.
        values: What the line says of it.

    Raises:
        ConfigError: The file is not in the form that this can edit; the message holds the line to write by hand.
    """
    import yaml

    line = f"{name}: {{{', '.join(f'{key}: {_scalar(value)}' for key, value in values.items())}}}"
    by_hand = ConfigError(f"{GRAPH_FILE} has no block {group!r} that can be added to; write under it: {line}")
    lines = text.splitlines(keepends=True)
    heading = re.compile(rf"^(\s*(?:- )?){group}:(\s*&\S+)?\s*(\{{\s*\}})?\s*(#.*)?$")
    found = [(index, match) for index, each in enumerate(lines) if (match := heading.match(each.rstrip("\n")))]
    if len(found) != 1:
        raise by_hand
    start, match = found[0]
    column = len(match[1])
    last, indent = start, None
    for index, each in enumerate(lines[start + 1 :], start=start + 1):
        depth = len(each) - len(each.lstrip(" "))
        if each.strip() and not each.lstrip().startswith("#"):
            if depth <= column:
                break
            last, indent = index, depth if indent is None else indent
    if match[3]:
        lines[start] = lines[start].replace(match[3], "", 1).rstrip() + "\n"
    if not lines[last].endswith("\n"):
        lines[last] += "\n"
    lines.insert(last + 1, f"{' ' * (indent or column + 2)}{line}\n")
    result = "".join(lines)
    try:
        before, after = _vars(yaml.safe_load(text)), _vars(yaml.safe_load(result))
    except yaml.YAMLError as error:
        raise by_hand from error
    if after.get(group) != {**(before.get(group) or {}), name: dict(values)}:
        raise by_hand
    return result


def _vars(content: Any) -> dict[str, Any]:
    return {key: value for entry in content["vars"] if isinstance(entry, dict) for key, value in entry.items()}


def _write(group: str, name: str, text: str, lines: Sequence[tuple[str, str, Mapping[str, str]]]) -> Path:
    """Write a file of conf/ and its lines of dvc.yaml; if the lines can't be added, nothing is written."""
    from langmill.files import write_text

    graph = GRAPH_FILE.read_text(encoding="utf-8")
    for block, key, values in lines:
        graph = add_line(graph, block, key, values)
    path = CONF / group / f"{name}.yaml"
    write_text(path, text)
    write_text(GRAPH_FILE, graph)
    return path


def _require_new(group: str, name: str, block: str) -> None:
    import yaml

    from langmill.cli.workspace import require_workspace

    require_workspace()
    if not _NAME.fullmatch(name):
        raise LangmillError(f"{name!r} can't be a name; allowed are lower-case letters, digits, - and _, at most 63.")
    path = CONF / group / f"{name}.yaml"
    if path.exists():
        raise LangmillError(f"{path} exists; choose another name, or edit that file.")
    try:
        known = _vars(yaml.safe_load(GRAPH_FILE.read_text(encoding="utf-8"))).get(block) or {}
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{GRAPH_FILE} has no readable vars: {' '.join(str(error).split())}") from error
    if name in known:
        raise LangmillError(f"{GRAPH_FILE} has a line {name} under {block} already; choose another name.")


def _choice(path: Path, group: str) -> str | None:
    """The file that a recipe's defaults list names for a group."""
    import yaml

    for entry in yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", []):
        if isinstance(entry, dict) and f"/{group}" in entry:
            return str(entry[f"/{group}"])
    return None


def _named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _mean_length(rows: Sequence[Mapping[str, object]], name: str) -> float:
    texts = [value for row in rows if isinstance(value := row.get(name), str)]
    return sum(map(len, texts)) / len(rows) if rows else 0.0


def _scalar(value: str) -> str:
    """A text in YAML's flow style, quoted only where it must be."""
    return value if re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", value) else json.dumps(value, ensure_ascii=False)


def _corpus_text(name: str, source: Path, fields: Mapping[str, str | None], others: Sequence[str]) -> str:
    label = fields["label"]
    known = f" Others in the first rows: {', '.join(others)}." if others else ""
    return f"""\
name: {name}
description: Local files from {source}.
licence: not stated
source:
  kind: files
  packages: []
  # A file or a folder, which is read with all below it. dvc.yaml must say the same.
  path: {_scalar(str(source))}
# How files become rows: `auto` goes by their endings; src/langmill/data/formats/ has readers for special shapes.
format:
  name: auto
  options: {{}}
# Which field of a row is what; a .txt file is one document and has none.{known}
fields:
  text: {_scalar(str(fields["text"]))}
  label: {_scalar(label) if label else "null"}
  # Names for the labels, where the field has numbers: "0": negative
  label_names: {{}}
  target: null
  # Fields to keep with each document; a recipe's evaluation.slices can cut along them.
  metadata: []
cleaning:
  # Take HTML tags out.
  strip_markup: false
  # Keep indentation and runs of spaces, as code needs them.
  keep_layout: false
  # Shorter and longer documents are dropped and counted.
  min_characters: 10
  max_characters: 100000
  # Drop pairs whose target is the text itself.
  drop_same: false
  drop_duplicates: true
  workers: 2
# Shares held out: to watch training, and to judge. A small corpus needs larger ones.
split:
  validation: 0.05
  test: 0.05
  salt: ""
  # A metadata field whose equal values stay on one side.
  by: null
"""


def _recipe_text(
    name: str, corpus_name: str, tokenizer: str, *, task: str, model: str, training: str, base: str | None
) -> str:
    purpose = f"Fine-tuned from {base} on {corpus_name}." if base else f"Trained from scratch on {corpus_name}."
    based = f"\n  base: {base}" if base else ""
    return f"""\
# @package _global_
# {purpose}
defaults:
  - /corpus: {corpus_name}
  - /tokenizer: {tokenizer}
  - /task: {task}
  - /model: {model}
  - /training: {training}
  - /evaluation: default
  - /gate: {task}
  - _self_
name: {name}
description: {purpose}
# What stands here wins over the files named above; `langmill config {name} --explain` tells what each value means.
training:{based}
  # More steps, better model, longer training.
  steps: {300 if base else 500}
"""
