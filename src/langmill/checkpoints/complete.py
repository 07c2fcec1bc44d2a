"""A pretrained model's folder as every other stage needs it, whatever was brought."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from langmill.checkpoints.gguf_file import ENDING
from langmill.checkpoints.gguf_model import TOKENIZER_CONFIG_NAME, convert
from langmill.errors import LangmillError, SourceError, TokenizerError
from langmill.files import read_json, sha256_file
from langmill.models.folder import CONFIG_NAME, TOKENIZER_NAME
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
        TokenizerError: There is no tokenizer, or not this model's.
    """
    stored = sorted(folder.glob(f"*{ENDING}"))
    facts: dict[str, Any] = {}
    if stored and not any(folder.glob(f"*{_SAFETENSORS}")):
        if len(stored) > 1:
            raise SourceError(
                f"The pretrained model came in {len(stored)} GGUF files ({', '.join(path.name for path in stored)}); "
                "name one of them.",
                "duplicate",
            )
        facts = {"gguf": _convert(stored[0], folder)}
    for path in stored:
        path.unlink()
    _require_model(folder)
    _require_fitting(checkpoint_tokenizer(folder), read_json(folder / CONFIG_NAME))
    return facts


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


def _require_model(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if CONFIG_NAME not in names:
        raise SourceError(
            "The pretrained model has no config.json, so it is not one of transformers; check its source.", "missing"
        )
    weights = [name for name in names if name.endswith(_SAFETENSORS)]
    if not weights:
        raise SourceError(
            "The pretrained model has no weights in safetensors. Pickled ones (.bin, .pt) can run code and are not "
            "opened; load it once with transformers and save it with save_pretrained().",
            "missing",
        )
    for name in weights:
        try:
            with safe_open(folder / name, framework="np") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise SourceError(
                f"{name} of the pretrained model is damaged, or was not fetched to its end ({error}); fetch it again.",
                "damaged",
            ) from error
    try:
        config = read_json(folder / CONFIG_NAME)
    except LangmillError as error:
        raise SourceError(f"{CONFIG_NAME} of the pretrained model can't be read: {error}", "unreadable") from error
    if not isinstance(config, dict):
        raise SourceError(
            f"{CONFIG_NAME} of the pretrained model holds {json.dumps(config)[:40]}, no settings.", "unreadable"
        )


def _require_fitting(tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    size = config.get("vocab_size")
    if isinstance(size, int) and tokenizer.vocab_size > size:
        raise TokenizerError(
            f"The pretrained model's {TOKENIZER_NAME} has {tokenizer.vocab_size} entries, its embedding only {size}: "
            "it is another model's. Check where both come from.",
            "mismatch",
        )
