"""What can be known of a pretrained model's files before they are made a folder for the stages."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from safetensors import safe_open

from langmill.checkpoints.complete import Fit, require_description, require_network, require_weights, stored_file
from langmill.checkpoints.gguf_file import ENDING
from langmill.checkpoints.gguf_model import describe
from langmill.config.core_yaml import parse_yaml
from langmill.data.sources.archives import members, read_member
from langmill.errors import ConfigError, SourceError, TokenizerError
from langmill.models.base import Kind
from langmill.models.folder import CONFIG_NAME
from langmill.tokenization.tokenizer import Tokenizer

SAFETENSORS = ".safetensors"
CARD = "README.md"
"""The model card, in Hugging Face's form."""
_BESIDE = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")
_OLDER = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "model.safetensors.index.json")
_LONGEST_LICENCE = 80  # characters; more is the text of one


@dataclass(frozen=True)
class Findings:
    """What a model's files say about it."""

    kind: Kind
    parameters: int
    """Its weights, those of a tied head once."""
    licence: str | None
    """As the model itself states it."""
    title: str | None
    """Its name, as it states it."""
    stored: str
    """What the weights are stored as."""
    has_head: bool
    """Whether its own head, which a language model writes with, is there."""
    has_template: bool
    """Whether a chat template comes with it."""
    surplus: str
    """What is said of weights that the network has no place for; empty where there are none."""
    template_fault: str
    """Why the task chat can't use that template; empty where it can, or where there is none."""


def examine(folder: Path) -> Findings:
    """Look at a model's files, as a source has brought them; of a GGUF file, what it says is written beside it.

    Raises:
        SourceError: They are no model, a damaged one, or one that can't be read.
        ConfigError: `transformers` knows no such network.
        TokenizerError: There is no tokenizer, it can't be read, or it is not this model's.
    """
    weights, stored = sorted(folder.glob(f"*{SAFETENSORS}")), stored_file(folder)
    if not weights and stored is None:
        raise SourceError(
            f"There is no model here: one is a {ENDING} file, or {CONFIG_NAME} with weights in {SAFETENSORS} and a "
            "tokenizer (pickled weights, .bin or .pt, can run code and are not opened).",
            "missing",
        )
    if stored is not None:
        file = describe(stored, folder)
        licence, title, kept = file.text("general.license"), file.text("general.name"), ", ".join(file.quantizations())
        parameters = sum(math.prod(tensor.shape) for tensor in file.tensors)
    else:
        weights = require_weights(folder)
        card = folder / CARD
        licence = licence_of_card(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
        title, kept, parameters = None, "safetensors", sum(map(_numbers, weights))
    kind, tokenizer = require_description(folder)
    fit = Fit(has_head=True, surplus=[]) if stored is not None else require_network(folder, kind, weights)
    return Findings(
        kind, parameters, licence, title, kept, fit.has_head, surplus=fit.surplus_told(),
        has_template=tokenizer.chat_template is not None, template_fault=_template_fault(tokenizer),
    )  # fmt: skip


def _template_fault(tokenizer: Tokenizer) -> str:
    if tokenizer.chat_template is None:
        return ""
    try:
        tokenizer.template(tokenizer.chat_template, "Its chat template").end_of_turn()
    except TokenizerError as error:
        return str(error)
    return ""


def candidates(names: Iterable[str]) -> list[list[str]]:
    """The models among the names of an archive's files: GGUF files, and folders as `transformers` saves them."""
    every = sorted(names)
    found = [[name] for name in every if name.endswith(ENDING)]
    for folder in sorted({name.rpartition("/")[0] for name in every if name.endswith(SAFETENSORS)}):
        here = {name for name in every if name.rpartition("/")[0] == folder}
        own = [name for name in here if name.endswith(SAFETENSORS) or name.rpartition("/")[2] in (*_BESIDE, *_OLDER)]
        if any(name.rpartition("/")[2] == CONFIG_NAME for name in own):
            found.append(sorted(own))
    return found


def licence_of_package(archive: Path) -> str | None:
    """The licence that a package's metadata states; None where they state none, or its whole text.

    Raises SourceError where it is no archive.
    """
    names = [name for name in members(archive) if name.endswith((".dist-info/METADATA", "/PKG-INFO"))]
    if not names:
        return None
    metadata = message_from_bytes(read_member(archive, min(names, key=lambda name: name.count("/"))))
    for key in ("License-Expression", "License"):
        said = str(metadata.get(key) or "").strip()
        if said and said != "UNKNOWN" and "\n" not in said and len(said) <= _LONGEST_LICENCE:
            return said
    classifiers = [str(each) for each in metadata.get_all("Classifier") or ()]
    ends = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    return ", ".join(ends) or None


def licence_of_card(text: str) -> str | None:
    """The licence in the front matter of a model card."""
    if not text.startswith("---"):
        return None
    try:
        front = parse_yaml(text[3:].partition("\n---")[0], CARD)
    except ConfigError:
        return None
    said = front.get("license_name") or front.get("license") if isinstance(front, dict) else None
    return said if isinstance(said, str) and said and said != "other" else None


def _numbers(path: Path) -> int:
    with safe_open(path, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
