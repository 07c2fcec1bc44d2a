"""The text of a corpus's, a tokenizer's and a recipe's file of conf/, with comments for whoever edits it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langmill.config.compose import plain
from langmill.config.core_yaml import dump_yaml, literal, quoted
from langmill.config.sections import CheckpointSource, Training
from langmill.data.formats.base import Shape

if TYPE_CHECKING:
    from langmill.checkpoints.examine import Findings  # brings PyTorch


def corpus_text(name: str, source: Path, fields: Mapping[str, str | None], others: Sequence[str]) -> str:
    """The file of a corpus of local files.

    Args:
        name: The corpus.
        source: The file or folder that it reads.
        fields: The names of the fields `text` and `label`.
        others: The names of the other fields in the first rows.
    """
    listed = ", ".join(_quoted(each) for each in others[:20])
    known = f" Others in the first rows: {listed}." if others else ""
    label = f"\n  label: {_quoted(fields['label'])}" if fields["label"] else ""
    return f"""\
{_corpus_head(name, source)}
# Which field of a row is what; a .txt file is one document and has none.{known}
fields:
  text: {_quoted(str(fields["text"]))}{label}
"""


def shaped_corpus_text(name: str, source: Path, format_name: str, shape: Shape) -> str:
    """The file of a corpus of local files whose format was recognized."""
    return f"""\
{_corpus_head(name, source)}
# How the files become rows: src/langmill/data/formats/{format_name}.py says which fields a row has.
format:
  name: {format_name}
fields:
  text: {_quoted(shape.text)}
  target: {_quoted(shape.target)}
  metadata: [{", ".join(map(_quoted, shape.metadata))}]
cleaning:
  options:
    # Lists and code keep their lines, and a short answer is one too.
    characters: {{preserve_whitespace: true}}
    length: {{min_characters: 1, max_characters: 100000}}
# What belongs together is in one split as a whole.
split:
  by: {_quoted(shape.split_by)}
"""


def _corpus_head(name: str, source: Path) -> str:
    """What the file of every corpus of local files begins with."""
    return f"""\
# What is not said here is as in base.yaml beside this file: how documents are cleaned, which lengths are dropped, which
# shares are held out. Copy from there what should be otherwise.
defaults: [base, _self_]
name: {name}
description: {_quoted(f"Local files from {source}.")}
licence: not stated
source:
  kind: files
  # A file or a folder, which is read with all below it. dvc.yaml must say the same.
  path: {_quoted(str(source))}"""


def tokenizer_text(name: str, corpus_name: str, special: Sequence[str], vocab_size: int) -> str:
    """The file of a tokenizer to learn on a corpus."""
    return (
        f"name: {name}\n# The corpus whose training split it is learned on.\ncorpus: {corpus_name}\n"
        "algorithm: bpe\n# Entries: a smaller corpus does better with fewer, one for every 500 characters or so.\n"
        f"vocab_size: {vocab_size}\nspecial_tokens: [{', '.join(map(_quoted, special))}]\n"
    )


def own_tokenizer_text(name: str) -> str:
    """The file of a pretrained model's own tokenizer."""
    return (
        f"# The pretrained model's own.\nname: {name}\ncorpus: null\nalgorithm: pretrained\nvocab_size: null\n"
        "special_tokens: []\n"
    )


def pretrained_text(name: str, description: str, licence: str, findings: Findings, source: CheckpointSource) -> str:
    """The file of a pretrained model."""
    values = {key: value for key, value in plain(source).items() if key != "options" or value}
    return (
        f"name: {name}\ndescription: {_quoted(description)}\nlicence: {_quoted(licence)}\n"
        f"# What its files say. A recipe for another kind of task is refused.\nkind: {findings.kind.value}\n"
        f"parameters: {findings.parameters}\n"
        "# Where it comes from; dvc.yaml must say a local path, too.\n"
        f"source:\n{textwrap.indent(literal(dump_yaml(values, sort_keys=False, width=10_000)), '  ')}"
    )


def recipe_text(
    name: str, corpus_name: str, tokenizer: str, *, task: str, model: str, training: str, base: str | None, gate: str,
    samples: Sequence[str], steps: int, fitted: Training, options: Mapping[str, str], changes: Mapping[str, int],
    optimizer: Mapping[str, float],
) -> str:  # fmt: skip
    """The file of a recipe.

    `task`, `model`, `training` and `gate` are files of conf/, a `base` is fine-tuned; `training` holds `fitted` but for
    the `changes` and those of its `optimizer`, `model` an architecture's options but for `options`.
    """
    purpose = f"Fine-tuned from {base} on {corpus_name}." if base else f"Trained from scratch on {corpus_name}."
    rates = {
        **{key: f"{value:.1e}" for key, value in optimizer.items()},
        **({"warmup_steps": steps // 5} if fitted.optimizer.warmup_steps > steps // 5 else {}),
    }
    warmup = f"\n  optimizer: {{{', '.join(f'{key}: {value}' for key, value in rates.items())}}}" if rates else ""
    fewer = warmup + (f"\n  validate_every: {steps // 5}" if fitted.validate_every > steps // 5 else "")
    based = f"\n  base: {base}" if base else ""
    sized = "".join(f"\n  {key}: {value}" for key, value in changes.items())
    network = "model:\n  options:\n" + "".join(f"    {key}: {value}\n" for key, value in options.items())
    # A prompt and its continuation are one sequence, so it is longer than the prompt_length of conf/task/.
    length = (
        "\n  # Tokens of a sequence: prompt and response.\n  block_length: 256"
        if gate in ("chat", "completion")
        else ""
    )
    length = sized or length
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
{network if options else ""}training:{based}
  # More steps, better model, longer training; a small corpus is memorised after a few epochs.
  steps: {steps}{fewer}{length}
  # Prompts of the corpus, answered at each validation.
  samples: [{", ".join(map(_quoted, samples))}]
"""


def _quoted(text: str) -> str:
    return quoted(literal(text))
