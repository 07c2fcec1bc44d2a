"""`langmill new`: the files and the lines of dvc.yaml for another corpus or recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from langmill.cli.command import Command
from langmill.errors import ConfigError, LangmillError

if TYPE_CHECKING:
    from langmill.config.sections import Corpus
    from langmill.tasks.base import Task

GRAPH_FILE = Path("dvc.yaml")
CONF = Path("conf")
_TEXT_NAMES = ("text", "content", "body", "review", "sentence", "document", "message", "article", "abstract")
_LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "stars", "rating", "intent", "topic")
_SAMPLED_ROWS = 100
_SAMPLED_FILES = 20
_MODELS = ("decoder-small", "encoder-small", "encoder-decoder-small")
"""Networks to begin with, the first whose kind the task can be learned by."""
_TRAINING = {"classification": "classifier", "completion": "pairs", "text_to_text": "translation"}
"""What to begin training from scratch with, by task; `from-scratch` for any other."""


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
    _require_text(source)
    fields, others = guess_fields(path) if path is not None else ({"text": "text", "label": None}, [])
    text = _corpus_text(name, source, fields, others)
    (written,) = _write(
        [Part("corpus", name, text, "corpora", {"source": str(source)})], lambda: _require_composed(corpora=[name])
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
    from langmill.config.compose import available, compose_corpus, compose_recipe, compose_tokenizer

    _require_new("recipe", name, "from_scratch")
    _require_new("recipe", name, "fine_tuned")
    corpus_section = compose_corpus(corpus_name)  # refuses an unknown one with a sentence
    if task not in available("task"):
        raise LangmillError(f"There is no conf/task/{task}.yaml; there are: {', '.join(available('task'))}.")
    task_name, learned = _task(task)
    tokenizer = tokenizer_name
    if base in available("pretrained"):
        tokenizer, model, training = tokenizer or base, base, "pretrained"
    elif base is not None:
        based_on = compose_recipe(base)
        tokenizer, training = tokenizer or based_on.tokenizer.name, "fine-tuning"
        model = _choice(CONF / "recipe" / f"{base}.yaml", "model") or _fitting_model(learned)
    else:
        model, training = _fitting_model(learned), _TRAINING.get(task_name, "from-scratch")
    tokenizer = tokenizer or corpus_name
    special = _special_tokens(learned)
    parts = []
    if tokenizer not in available("tokenizer"):
        _require_new("tokenizer", tokenizer, "tokenizers")
        text = _tokenizer_text(tokenizer, corpus_name, special)
        parts.append(Part("tokenizer", tokenizer, text, "tokenizers", {"corpus": corpus_name}))
    elif missing := sorted(set(special) - set(compose_tokenizer(tokenizer).special_tokens)):
        raise LangmillError(
            f"The task {task} needs the special token {missing[0]}, which conf/tokenizer/{tokenizer}.yaml does not "
            "have; give --tokenizer a new name, or add it to special_tokens there."
        )
    documents = _first_documents(corpus_section)
    text = _recipe_text(
        name, corpus_name, tokenizer, task=task, model=model, training=training, base=base,
        gate=task if task in available("gate") else task_name, samples=_samples(documents, task_name, learned),
    )  # fmt: skip
    line = {"corpus": corpus_name, "tokenizer": tokenizer} | ({"base": base} if base else {})
    parts.append(Part("recipe", name, text, "fine_tuned" if base else "from_scratch", line))
    for path in _write(parts, lambda: _require_composed(recipes=[name])):
        click.echo(f"Wrote {path} and its line in {GRAPH_FILE}.")
    field = corpus_section.fields.label
    if task_name == "classification" and documents and not any(label for _, label in documents):
        click.echo(
            f"Warning: none of the first {len(documents)} rows of {corpus_name} has a label in the field {field!r}, "
            f"and a classifier learns from labelled rows only; see fields.label in conf/corpus/{corpus_name}.yaml.",
            err=True,
        )
    click.echo(f"Next: langmill config {name} --explain, then langmill run {name}")


def guess_fields(path: Path) -> tuple[dict[str, str | None], list[str]]:
    """Which field of the rows holds the text and which the label, and the names of the others.

    Args:
        path: A file, or a folder whose first readable file is looked at.

    Raises:
        LangmillError: There is no file that can be read, or no field with text.
    """
    from langmill.config.sections import FormatSection
    from langmill.data.diagnosis import diagnose, nothing_readable, why_no_text
    from langmill.data.formats.base import build_format
    from langmill.data.readers import first_rows

    auto = build_format(FormatSection("auto", {}), "langmill new")
    files = [path] if path.is_file() and auto.ending(path) else auto.files(path)
    if not files:
        raise LangmillError(f"{path} {nothing_readable(path, auto.endings())}")
    rows: Sequence[Mapping[str, object]] = []
    for file in files[:_SAMPLED_FILES]:
        if cause := diagnose(file, rows=False):
            raise LangmillError(f"{file}: {cause}")
        rows = first_rows(file, auto, _SAMPLED_ROWS)
        if rows:
            break
    else:
        cause = diagnose(files[0]) or "None of its rows can be read; look at its first lines."
        raise LangmillError(f"{files[0]}: {cause}")
    if auto.is_plain_text(PurePosixPath(file)):
        return {"text": "text", "label": None}, []
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = _named(names, _TEXT_NAMES)
    if text is None or not _mean_length(rows, text):
        text = max(names, key=lambda name: _mean_length(rows, name), default=None)
    if text is None or not _mean_length(rows, text):
        raise LangmillError(f"{file}: {why_no_text(rows)}")
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
    from langmill.config.core_yaml import parse_yaml

    line = f"{name}: {{{', '.join(f'{key}: {_scalar(key, value)}' for key, value in values.items())}}}"
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
        before, after = (_vars(parse_yaml(each, str(GRAPH_FILE), anchors=True)) for each in (text, result))
    except ConfigError as error:
        raise by_hand from error
    if after.get(group) != {**(before.get(group) or {}), name: dict(values)}:
        raise by_hand
    return result


def _vars(content: Any) -> dict[str, Any]:
    return {key: value for entry in content["vars"] if isinstance(entry, dict) for key, value in entry.items()}


@dataclass(frozen=True)
class Part:
    """A file of conf/ to write, and its line of dvc.yaml.

    Attributes:
        group: The folder of conf/.
        name: The file's name without its ending, and the line's.
        text: The file's content.
        block: The group of `vars` in dvc.yaml.
        line: What the line says of the name.
    """

    group: str
    name: str
    text: str
    block: str
    line: Mapping[str, str]


def _write(parts: Sequence[Part], verify: Callable[[], None]) -> list[Path]:
    """Write files of conf/ and their lines of dvc.yaml; if they do not do, take all of it back."""
    from langmill.files import write_text

    before = GRAPH_FILE.read_text(encoding="utf-8")
    after = before
    for part in parts:
        after = add_line(after, part.block, part.name, part.line)
    paths = [CONF / part.group / f"{part.name}.yaml" for part in parts]
    try:
        for path, part in zip(paths, parts, strict=True):
            write_text(path, part.text)
        write_text(GRAPH_FILE, after)
        verify()
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        if GRAPH_FILE.read_text(encoding="utf-8") != before:
            write_text(GRAPH_FILE, before)
        raise
    return paths


def _require_composed(recipes: Sequence[str] = (), corpora: Sequence[str] = ()) -> None:
    from langmill.stages.compose import require_composed

    try:
        require_composed(recipes, corpora)
    except ConfigError as error:
        raise ConfigError(f"Nothing was written. {error}") from error


def _require_new(group: str, name: str, block: str) -> None:
    from langmill.cli.workspace import require_workspace
    from langmill.config.core_yaml import ALLOWED_NAMES, is_name, read_yaml

    require_workspace()
    if not is_name(name):
        raise LangmillError(f"{name!r} can't be a name; allowed are {ALLOWED_NAMES}.")
    path = CONF / group / f"{name}.yaml"
    if path.exists():
        raise LangmillError(f"{path} exists; choose another name, or edit that file.")
    try:
        known = _vars(read_yaml(GRAPH_FILE, anchors=True)).get(block) or {}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{GRAPH_FILE} has no readable vars: {' '.join(str(error).split())}") from error
    if name in known:
        raise LangmillError(f"{GRAPH_FILE} has a line {name} under {block} already; choose another name.")


def _require_text(path: Path) -> None:
    from langmill.data.rows import is_text, shown

    if not is_text(str(path)):
        raise LangmillError(f"The name of {shown(str(path))} is not UTF-8, and YAML can't hold it; rename the file.")


def _choice(path: Path, group: str) -> str | None:
    """The file that a recipe's defaults list names for a group."""
    from langmill.config.core_yaml import read_yaml

    for entry in read_yaml(path).get("defaults", []):
        if isinstance(entry, dict) and f"/{group}" in entry:
            return str(entry[f"/{group}"])
    return None


# What fits a task and a corpus ---------------------------------------------------------------------------------------


def _task(file: str) -> tuple[str, Task]:
    """The task of a file in conf/task/, and its name: several files can be of one task."""
    from langmill.config.core_yaml import read_yaml
    from langmill.tasks.base import build_task

    path = CONF / "task" / f"{file}.yaml"
    values = read_yaml(path)
    name = str(values["name"])
    return name, build_task(name, values.get("options") or {}, (), str(path))


def _fitting_model(task: Task) -> str:
    """A network that the task can be learned by."""
    from langmill.config.core_yaml import read_yaml
    from langmill.models.base import ARCHITECTURES

    for name in _MODELS:
        path = CONF / "model" / f"{name}.yaml"
        if path.is_file():
            values = read_yaml(path)
            options = ARCHITECTURES.options(values["architecture"], values["options"], str(path))
            if ARCHITECTURES.find(values["architecture"]).kind_of(options) in task.kinds:
                return name
    kinds = ", ".join(sorted(kind.value for kind in task.kinds))
    raise LangmillError(
        f"None of {', '.join(_MODELS)} in {CONF / 'model'} makes a network that the task can be learned by "
        f"(kinds: {kinds}); write such a file there and a recipe by hand."
    )


def _special_tokens(task: Task) -> list[str]:
    from langmill.tasks.masked_language_modelling import MASK, MaskedLanguageModelling

    return [MASK] if isinstance(task, MaskedLanguageModelling) else []


def _first_documents(corpus: Corpus) -> list[tuple[str, object]]:
    """Text and label of the first rows of a corpus, as far as it is on this machine."""
    from langmill.data.formats.base import build_format
    from langmill.data.readers import first_rows
    from langmill.data.sources.base import build_source

    where = f"conf/corpus/{corpus.name}.yaml"
    folder = Path(build_source(corpus.source, where).local or f"build/raw/{corpus.name}")
    file_format = build_format(corpus.format, where)
    try:
        files = [folder] if folder.is_file() else file_format.files(folder)
        rows = [row for file in files[:_SAMPLED_FILES] for row in first_rows(file, file_format, _SAMPLED_ROWS)]
    except (LangmillError, OSError):
        return []  # the stages say what is wrong with it
    plain = bool(files) and file_format.is_plain_text(PurePosixPath(files[0]))
    text_field, label_field = "text" if plain else corpus.fields.text, corpus.fields.label
    return [
        (text, row.get(label_field) if label_field else None)
        for row in rows
        if isinstance(text := row.get(text_field), str) and text.strip()
    ]


def _samples(documents: Sequence[tuple[str, object]], task_name: str, task: Task) -> list[str]:
    """Prompts of the corpus's own for a model to go on from."""
    texts = list(dict.fromkeys(" ".join(text.split()[:30]) for text, _ in documents))[:2]
    if special := _special_tokens(task):
        words = [text.split()[:12] for text in texts]
        return [" ".join([*each[:2], special[0], *each[3:]]) for each in words if len(each) > 3]
    if task_name == "language_modelling":
        texts = [" ".join(text.split()[:3]) for text in texts]
    return [text[:200] for text in texts]


def _named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _mean_length(rows: Sequence[Mapping[str, object]], name: str) -> float:
    texts = [value for row in rows if isinstance(value := row.get(name), str)]
    return sum(map(len, texts)) / len(rows) if rows else 0.0


def _scalar(key: str, value: str) -> str:
    """A value of a line in dvc.yaml: names are made so that they need no quotes, paths get them always."""
    from langmill.config.core_yaml import quoted

    return quoted(value) if key == "source" else value


def _quoted(text: str) -> str:
    from langmill.config.core_yaml import literal, quoted

    return quoted(literal(text))


def _corpus_text(name: str, source: Path, fields: Mapping[str, str | None], others: Sequence[str]) -> str:
    label = fields["label"]
    listed = ", ".join(_quoted(each) for each in others[:20])
    known = f" Others in the first rows: {listed}." if others else ""
    return f"""\
name: {name}
description: {_quoted(f"Local files from {source}.")}
licence: not stated
source:
  kind: files
  packages: []
  # A file or a folder, which is read with all below it. dvc.yaml must say the same.
  path: {_quoted(str(source))}
# How files become rows: `auto` goes by their endings; src/langmill/data/formats/ has readers for special shapes.
format:
  name: auto
  options: {{}}
# Which field of a row is what; a .txt file is one document and has none.{known}
fields:
  text: {_quoted(str(fields["text"]))}
  label: {_quoted(label) if label else "null"}
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


def _tokenizer_text(name: str, corpus_name: str, special: Sequence[str]) -> str:
    return (
        f"name: {name}\n# The corpus whose training split it is learned on.\ncorpus: {corpus_name}\n"
        "algorithm: bpe\n# Entries; a small corpus (below a million characters) does better with 1000 to 2000.\n"
        f"vocab_size: 4096\nspecial_tokens: [{', '.join(map(_quoted, special))}]\n"
    )


def _recipe_text(
    name: str, corpus_name: str, tokenizer: str, *, task: str, model: str, training: str, base: str | None, gate: str,
    samples: Sequence[str],
) -> str:  # fmt: skip
    purpose = f"Fine-tuned from {base} on {corpus_name}." if base else f"Trained from scratch on {corpus_name}."
    based = f"\n  base: {base}" if base else ""
    # A prompt and its continuation are one sequence, so it is longer than the prompt_length of conf/task/.
    length = "\n  # Tokens of a sequence: prompt and response.\n  block_length: 256" if gate == "completion" else ""
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
  - /gate: {gate}
  - _self_
name: {name}
description: {purpose}
# What stands here wins over the files named above; `langmill config {name} --explain` tells what each value means.
training:{based}
  # More steps, better model, longer training.
  steps: {300 if base else 500}{length}
  # Prompts of the corpus, answered at each validation.
  samples: [{", ".join(map(_quoted, samples))}]
"""
