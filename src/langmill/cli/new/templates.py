"""The text of a corpus's, a tokenizer's and a recipe's file of conf/, with comments for whoever edits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from langmill.config.core_yaml import literal, quoted


def corpus_text(name: str, source: Path, fields: Mapping[str, str | None], others: Sequence[str]) -> str:
    """The file of a corpus of local files.

    Args:
        name: The corpus.
        source: The file or folder that it reads.
        fields: The names of the fields `text` and `label`.
        others: The names of the other fields in the first rows.
    """
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


def tokenizer_text(name: str, corpus_name: str, special: Sequence[str]) -> str:
    """The file of a tokenizer to learn on a corpus."""
    return (
        f"name: {name}\n# The corpus whose training split it is learned on.\ncorpus: {corpus_name}\n"
        "algorithm: bpe\n# Entries; a small corpus (below a million characters) does better with 1000 to 2000.\n"
        f"vocab_size: 4096\nspecial_tokens: [{', '.join(map(_quoted, special))}]\n"
    )


def recipe_text(
    name: str, corpus_name: str, tokenizer: str, *, task: str, model: str, training: str, base: str | None, gate: str,
    samples: Sequence[str],
) -> str:  # fmt: skip
    """The file of a recipe: `task`, `model`, `training` and `gate` are files of conf/, a `base` is fine-tuned."""
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


def _quoted(text: str) -> str:
    return quoted(literal(text))
