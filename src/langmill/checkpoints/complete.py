"""A pretrained model's folder as every other stage needs it, whatever was brought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from langmill.checkpoints.gguf_file import ENDING
from langmill.checkpoints.gguf_model import TOKENIZER_CONFIG_NAME, convert
from langmill.errors import LangmillError, ModelError, SourceError, TokenizerError
from langmill.files import read_json, sha256_file
from langmill.models.base import Kind
from langmill.models.folder import CONFIG_NAME, TOKENIZER_NAME
from langmill.models.huggingface.loading import kind_of_type, read_description
from langmill.tokenization.checkpoint import checkpoint_tokenizer
from langmill.tokenization.tokenizer import Tokenizer

TOKENIZER_FILES = (TOKENIZER_NAME, TOKENIZER_CONFIG_NAME, "chat_template.jinja")
"""What a tokenizer's folder has of a model's."""
_SAFETENSORS = ".safetensors"


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
    for path in folder.glob(f"*{ENDING}"):
        path.unlink()
    require_weights(folder)
    require_description(folder)
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


def require_weights(folder: Path) -> None:
    """Refuse a folder without whole weights in safetensors. Raises SourceError."""
    weights = sorted(folder.glob(f"*{_SAFETENSORS}"))
    if not weights:
        raise SourceError(
            "The pretrained model has no weights in safetensors. Pickled ones (.bin, .pt) can run code and are not "
            "opened; load it once with transformers and save it with save_pretrained().",
            "missing",
        )
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


def require_description(folder: Path) -> tuple[Kind, Tokenizer]:
    """The kind of network that a folder's `config.json` describes, and its tokenizer.

    Raises:
        SourceError: There is no such file, or it can't be read.
        ConfigError: `transformers` knows no such network.
        TokenizerError: There is no tokenizer, it can't be read, or it is not this model's.
    """
    title = f"{CONFIG_NAME} of the pretrained model"
    if not (folder / CONFIG_NAME).is_file():
        raise SourceError(
            f"The pretrained model has no {CONFIG_NAME}, so it is not one of transformers; check its source.", "missing"
        )
    try:
        config = read_json(folder / CONFIG_NAME)
    except LangmillError as error:
        cause = error.__cause__ or error
        raise SourceError(f"{title} can't be read ({cause}); fetch it again.", "unreadable") from error
    if not isinstance(config, dict):
        raise SourceError(f"{title} holds {json.dumps(config)[:40]}, no settings.", "unreadable")
    kind = kind_of_type(str(config.get("model_type")), title)
    try:
        read_description(folder)
    except ModelError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise SourceError(f"{title} can't be read by transformers: {reason}", "unreadable") from error
    tokenizer, size = checkpoint_tokenizer(folder), config.get("vocab_size")
    if isinstance(size, int) and tokenizer.vocab_size > size:
        raise TokenizerError(
            f"The pretrained model's {TOKENIZER_NAME} has {tokenizer.vocab_size} entries, its embedding only {size}: "
            "it is another model's. Check where both come from.",
            "mismatch",
        )
    return kind, tokenizer
