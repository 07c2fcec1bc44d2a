"""A pretrained model's folder as every other stage needs it, whatever was brought."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from langmill.checkpoints.finite import require_finite
from langmill.checkpoints.gguf_file import ENDING
from langmill.checkpoints.gguf_model import TOKENIZER_CONFIG_NAME, convert
from langmill.errors import LangmillError, ModelError, SourceError, TokenizerError
from langmill.files import read_json, sha256_file
from langmill.models.base import Kind
from langmill.models.folder import CONFIG_NAME, TOKENIZER_NAME, WEIGHTS_NAME, load_tensors, some
from langmill.models.huggingface.llama_shape import FAMILIES as LLAMA_FAMILIES
from langmill.models.huggingface.loading import (
    INDEX_NAME,
    compare_weights,
    kind_of_type,
    model_type,
    quiet,
    read_description,
)
from langmill.tokenization.checkpoint import checkpoint_tokenizer
from langmill.tokenization.template_trial import require_bounded
from langmill.tokenization.tokenizer import Tokenizer

TOKENIZER_FILES = (TOKENIZER_NAME, TOKENIZER_CONFIG_NAME, "chat_template.jinja")
"""What a tokenizer's folder has of a model's."""
_SAFETENSORS = ".safetensors"
logger = logging.getLogger(__name__)


def complete(folder: Path) -> dict[str, Any]:
    """Make what a source has brought a folder with weights in safetensors, a config and a tokenizer.

    Args:
        folder: What was brought; a GGUF file there is replaced by what it holds.

    Returns:
        What the manifest says of the files as they were published, where they are no longer there.

    Raises:
        SourceError: They are no model, a damaged one, or one that can't be read.
        ConfigError: `transformers` knows no such network.
        TokenizerError: There is no tokenizer, or not this model's.
    """
    stored = stored_file(folder)
    facts = {} if stored is None else {"gguf": _convert(stored, folder)}
    weights = require_weights(folder)
    for path in (*folder.glob(f"*{ENDING}"), *folder.glob(f"*{_SAFETENSORS}")):
        if path not in weights:
            path.unlink()
    kind, _ = require_description(folder)
    if stored is None and (told := require_network(folder, kind, weights).surplus_told()):
        logger.warning("%s", told)
    return facts


def stored_file(folder: Path) -> Path | None:
    """The GGUF file that holds a folder's model; None where its weights are in safetensors, or missing.

    Raises:
        SourceError: There are several.
    """
    stored = [] if any(folder.glob(f"*{_SAFETENSORS}")) else sorted(folder.glob(f"*{ENDING}"))
    if len(stored) > 1:
        raise SourceError(
            f"The pretrained model came in {len(stored)} GGUF files ({', '.join(path.name for path in stored)}); "
            "name one of them.",
            "duplicate",
        )
    return stored[0] if stored else None


def _convert(path: Path, folder: Path) -> dict[str, Any]:
    file = convert(path, folder)
    said = {"name": file.text("general.name"), "licence": file.text("general.license")}
    return {
        "file": path.name,
        "sha256": sha256_file(path),
        "architecture": file.architecture,
        "quantizations": file.quantizations(),
        **{key: value for key, value in said.items() if value},
    }


def require_weights(folder: Path) -> list[Path]:
    """The files of a folder's weights, as `transformers` finds them.

    Raises SourceError where there are none in safetensors, one of several is missing, or one is damaged.
    """
    if (folder / "adapter_config.json").is_file():
        raise SourceError(
            "The pretrained model is an adapter, or has one beside its weights; merge the two with peft's "
            "merge_and_unload() and save the model with save_pretrained().",
            "unsupported",
        )
    weights = _weight_files(folder)
    for path in weights:
        try:
            with safe_open(path, framework="np") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise SourceError(
                f"{path.name} of the pretrained model is damaged, or was not fetched to its end ({error}); fetch it "
                "again.",
                "damaged",
            ) from error
    return weights


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS_NAME).is_file():
        return [folder / WEIGHTS_NAME]
    if not (folder / INDEX_NAME).is_file():
        there = some(sorted(path.name for path in folder.glob(f"*{_SAFETENSORS}")))
        others = f" (there is {there}, which transformers does not look for)" if there else ""
        raise SourceError(
            f"The pretrained model has no weights in safetensors: no {WEIGHTS_NAME} and no {INDEX_NAME}{others}. "
            "Pickled ones (.bin, .pt) can run code and are not opened; load it once with transformers and save it with "
            "save_pretrained().",
            "missing",
        )
    listed = _read(folder / INDEX_NAME).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise SourceError(
            f"{INDEX_NAME} of the pretrained model does not say which files its weights are in; fetch it again.",
            "unreadable",
        )
    names = sorted(set(listed.values()))
    if missing := [name for name in names if not (folder / name).is_file() or Path(name).name != name]:
        raise SourceError(
            f"The pretrained model lacks {some(missing)} of the {len(names)} files that its {INDEX_NAME} names; fetch "
            "it again.",
            "missing",
        )
    return [folder / name for name in names]


def _read(path: Path) -> dict[str, Any]:
    """A file of settings. Raises SourceError where it can't be read."""
    title = f"{path.name} of the pretrained model"
    try:
        found = read_json(path)
    except LangmillError as error:
        raise SourceError(
            f"{title} can't be read ({error.__cause__ or error}); fetch it again.", "unreadable"
        ) from error
    if not isinstance(found, dict):
        raise SourceError(f"{title} holds {json.dumps(found)[:40]}, no settings.", "unreadable")
    return found


def require_description(folder: Path) -> tuple[Kind, Tokenizer]:
    """The kind of network that a folder's `config.json` describes, and its tokenizer.

    Raises:
        SourceError: There is no such file, or it can't be read.
        ConfigError: `transformers` knows no such network.
        TokenizerError: There is no tokenizer, it can't be read, or it is not this model's; or the chat template takes
            too long, or writes too much.
    """
    title = f"{CONFIG_NAME} of the pretrained model"
    if not (folder / CONFIG_NAME).is_file():
        raise SourceError(
            f"The pretrained model has no {CONFIG_NAME}, so it is not one of transformers; check its source.", "missing"
        )
    config = _read(folder / CONFIG_NAME)
    if isinstance(config.get("quantization_config"), dict):
        raise SourceError(
            f"The weights of the pretrained model are quantized ({config['quantization_config'].get('quant_method')}), "
            "which can't be fine-tuned here; take the model that they were made of, or its GGUF file.",
            "unsupported",
        )
    if "model_type" not in config:
        raise SourceError(
            f"{title} does not say its model_type, so it is not one of transformers; check its source.", "missing"
        )
    kind = kind_of_type(str(config["model_type"]), title)
    try:
        with quiet():
            read_description(folder)
    except ModelError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise SourceError(f"{title} can't be read by transformers: {reason}", "unreadable") from error
    tokenizer, size = checkpoint_tokenizer(folder), config.get("vocab_size")
    if isinstance(size, int) and tokenizer.vocab_size > size:
        without = some([str(tokenizer.piece(number)) for number in range(size, tokenizer.vocab_size)])
        raise TokenizerError(
            f"The pretrained model's {TOKENIZER_NAME} has {tokenizer.vocab_size} entries, its embedding only {size}: "
            f"there is no row for {without}. It is another model's, or was given tokens that the model was not; "
            "check where both come from.",
            "mismatch",
        )
    if tokenizer.chat_template is not None:
        require_bounded(tokenizer.template(tokenizer.chat_template, "The pretrained model's chat template"))
    return kind, tokenizer


@dataclass(frozen=True)
class Fit:
    """How the weights of a folder fit the network that its `config.json` describes."""

    has_head: bool
    """Whether the network's head is there. An encoder may lack it, and a model in Llama's shape: both can classify."""
    surplus: list[str]
    """Names of weights that the network has no place for, so that they do nothing."""

    def surplus_told(self) -> str:
        """What is said of these; empty where there are none."""
        if not self.surplus:
            return ""
        return f"{CONFIG_NAME} describes a network without {some(self.surplus)}: these weights do nothing."


def require_network(folder: Path, kind: Kind, weights: Sequence[Path]) -> Fit:
    """Refuse weights that are not those of the network that `config.json` describes, or no numbers.

    Args:
        folder: What was brought.
        kind: What kind of network it is.
        weights: The files of its weights.

    Raises:
        SourceError: They are not, or `transformers` can't make the network.
    """
    try:
        found = compare_weights(kind, folder)
    except Exception as error:  # each family's network raises its own kinds
        raise SourceError(
            f"transformers can't make the network that {CONFIG_NAME} of the pretrained model describes "
            f"({type(error).__name__}: {' '.join(str(error).split())}); take another model.",
            "unsupported",
        ) from error
    headless = kind is Kind.bidirectional or model_type(folder) in LLAMA_FAMILIES
    wrong = found.body if headless else [*found.body, *found.head]
    if wrong:
        raise SourceError(
            f"The weights of the pretrained model are not those that its {CONFIG_NAME} describes; missing, or of "
            f"another shape, is {some(wrong)}. Fetch it again, or see that both are of one model.",
            "mismatch",
        )
    state = {name: tensor for path in weights for name, tensor in load_tensors(path).items()}
    for name, other in found.tied.items():
        if name in state and other in state and not torch.equal(state[name], state[other]):
            raise SourceError(
                f"{CONFIG_NAME} of the pretrained model says that {name} is {other} (tie_word_embeddings), but the "
                "weights hold two that differ; write false there if they are two, or take the model from elsewhere.",
                "mismatch",
            )
    for name, tensor in state.items():
        require_finite(name, tensor)
    return Fit(not found.head, found.surplus)
