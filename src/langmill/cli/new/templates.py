"""The text of a corpus's, a tokenizer's and a recipe's file of conf/, with comments for whoever edits it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langmill.config.compose import plain
from langmill.config.core_yaml import dump_yaml, literal, quoted
from langmill.config.sections import CheckpointSource, Source, Training

if TYPE_CHECKING:
    from langmill.checkpoints.examine import Findings  # brings PyTorch


@dataclass(frozen=True)
class NewFields:
    """What a new corpus says of the fields of a row."""

    text: str
    label: str | None = None
    target: str | None = None
    ids: Sequence[str] = ()
    metadata: tuple[str, ...] = ()
    """Those that its format makes."""
    split_by: str | None = None
    files: Mapping[str, Mapping[Any, str]] = field(default_factory=dict)
    """The fields of files that call them otherwise, by a pattern of their paths."""

    @property
    def kept(self) -> list[str]:
        """The names under `metadata`."""
        return list(dict.fromkeys([*self.metadata, *self.ids]))


def corpus_text(
    name: str,
    description: str,
    source: str,
    fields: NewFields,
    *,
    format_name: str = "auto",
    options: Mapping[str, object] | None = None,
    others: Sequence[str] = (),
    task: str | None = None,
    num_rows: int | None = None,
) -> str:
    """The file of a corpus.

    Args:
        name: The corpus.
        description: One sentence on what it is.
        source: The lines under `source:`.
        fields: Which field is what.
        format_name: What reads the files.
        options: What the format is told.
        others: The names of all fields in the first rows.
        task: The task that its rows are mostly for.
        num_rows: How many rows it has, if that is known.
    """
    named = [name for said in fields.files.values() for name in said.values()]
    used = {fields.text, fields.label, fields.target, *fields.ids, *named}
    listed = ", ".join(_quoted(each) for each in [each for each in others if each not in used][:20])
    lines = [
        "# What is not said here is as in base.yaml beside this file: how documents are cleaned, which are dropped,",
        "# which are held out. Copy from there what should be otherwise.",
        "defaults: [base, _self_]",
        f"name: {name}",
        f"description: {_quoted(description)}",
        "licence: not stated",
        "source:",
        textwrap.indent(source.rstrip("\n"), "  "),
    ]
    if format_name != "auto" or options:
        lines += ["# How the files become rows; src/langmill/data/formats/ has a file for each format.", "format:"]
        lines.append(f"  name: {format_name}")
        if options:
            lines.append(textwrap.indent(_yaml({"options": dict(options)}), "  "))
    lines += [
        "# Which field of a row is what; a file of plain text is one document and has none."
        + (f" Others in the first rows: {listed}." if listed else ""),
        "fields:",
        f"  text: {_quoted(fields.text)}",
    ]
    lines += [f"  label: {_quoted(fields.label)}"] if fields.label else []
    lines += [f"  target: {_quoted(fields.target)}"] if fields.target else []
    lines += [f"  metadata: [{', '.join(map(_quoted, fields.kept))}]"] if fields.kept else []
    if fields.files:
        lines += [
            "  # The same in files that call them otherwise, by a pattern of their paths.",
            "  files:",
        ]
        lines += [f"    {_quoted(pattern)}: {{{_said(said)}}}" for pattern, said in sorted(fields.files.items())]
    if fields.target or any("target" in said for said in fields.files.values()):
        lines += ["cleaning:", "  options:", "    # A short answer is one too.", "    length: {min_characters: 1}"]
        if task is not None and task != "text_to_text":
            lines.insert(-2, "    # Lists and code keep their lines.\n    characters: {preserve_whitespace: true}")
        elif task is not None:
            lines.append("    # Drops pairs whose target is the text itself.\n    copies: {}")
    share = None if num_rows is None else _share_held_out(num_rows)
    if share is not None or fields.split_by:
        lines.append("split:")
    if share is not None:
        lines.append("  # The twentieths of base.yaml would be too few to go by.")
        lines += [f"  validation: {share}", f"  test: {share}"]
    if fields.split_by:
        lines += ["  # What belongs together is in one split as a whole.", f"  by: {_quoted(fields.split_by)}"]
    return "\n".join(lines) + "\n"


def _share_held_out(num_rows: int) -> float | None:
    """The share of a small corpus that is held out to watch training, and to judge; None where base.yaml's will do.

    A twentieth of 600 documents is what the gate asks for; some more are needed, for a hash is no exact share.
    """
    return 0.2 if 0 < num_rows < 400 else 0.1 if 0 < num_rows < 800 else None


def source_text(source: Source, comment: str) -> str:
    """The lines under `source:`.

    Args:
        source: The source.
        comment: What to know of it, before what it says.
    """
    values = {key: value for key, value in plain(source).items() if value not in (None, [], {})}
    lines = [f"kind: {values.pop('kind')}", *(f"# {line}" for line in textwrap.wrap(comment, 110))]
    if "path" in values:
        lines.append(f"path: {_quoted(values.pop('path'))}")
    return "\n".join([*lines, _yaml(values) if values else ""])


def _said(fields: Mapping[str, str]) -> str:
    return ", ".join(f"{role}: {_quoted(fields[role])}" for role in ("text", "label", "target") if role in fields)


def _yaml(values: Mapping[str, Any]) -> str:
    return literal(dump_yaml(values, sort_keys=False, width=10_000)).rstrip("\n")


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
    length: int | None,
) -> str:  # fmt: skip
    """The file of a recipe.

    `task`, `model`, `training` and `gate` are files of conf/, a `base` is fine-tuned; `training` holds `fitted` but for
    the `changes`, `model` an architecture's options but for `options`. `length` is that of a sequence in tokens;
    None for that of `training`.
    """
    purpose = f"Fine-tuned from {base} on {corpus_name}." if base else f"Trained from scratch on {corpus_name}."
    short = fitted.optimizer.warmup_steps > steps // 5
    warmup = f"\n  optimizer: {{warmup_steps: {steps // 5}}}" if short else ""
    fewer = warmup + (f"\n  validate_every: {steps // 5}" if fitted.validate_every > steps // 5 else "")
    based = f"\n  base: {base}" if base else ""
    sized = "".join(f"\n  {key}: {value}" for key, value in changes.items())
    network = "model:\n  options:\n" + "".join(f"    {key}: {value}\n" for key, value in options.items())
    both = "" if length is None else f"\n  # Tokens of a sequence: prompt and response.\n  block_length: {length}"
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
  steps: {steps}{fewer}{sized or both}
  # Prompts of the corpus, answered at each validation.
  samples: [{", ".join(map(_quoted, samples))}]
"""


def _quoted(text: str) -> str:
    return quoted(literal(text))
