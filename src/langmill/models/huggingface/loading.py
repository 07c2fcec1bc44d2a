"""Networks of `transformers`: read their config, make them with random weights, or load them from a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from langmill.errors import ConfigError, ModelError
from langmill.files import read_json
from langmill.models.base import Kind
from langmill.models.folder import CONFIG_NAME, read_config


def read_description(source: Path) -> Any:
    """Read the config of the network in a folder.

    Raises:
        ModelError: There is none, or `transformers` knows no such network.
    """
    from transformers import AutoConfig

    read_config(source)  # raises a plain error if the file is damaged
    try:
        return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, OSError) as error:
        kind = read_json(source / CONFIG_NAME).get("model_type")
        message = f"transformers can't read {source / CONFIG_NAME} (model_type {kind!r}): {error}"
        raise ModelError(message, code="unsupported") from error


def make_network(auto_class: str, kind: Kind, config: Any) -> Any:
    """Make a network of `transformers` with random weights, in float32.

    Raises:
        ConfigError: The network is of another kind.
    """
    import transformers

    auto = getattr(transformers, auto_class)
    try:
        return auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except ValueError as error:
        raise ConfigError(
            f"model.options.kind is {kind.value!r}, but transformers has no {auto_class} for a "
            f"{config.model_type} model.",
            code="impossible",
        ) from error


def load_network(auto_class: str, folder: Path, config: Any, *, new_head: bool) -> tuple[Any, str]:
    """Load a network from a folder; return it with a complaint about its weights ("" if there is none).

    With `new_head`, a head that is missing there, or of another shape, gets random weights.
    """
    import transformers

    auto = getattr(transformers, auto_class)
    try:
        with quiet():
            network, found = auto.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return None, " ".join(str(error).split())
    body = {id(tensor) for tensor in network.base_model.state_dict(keep_vars=True).values()}
    inside = {name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in body}
    mismatched = {name if isinstance(name, str) else name[0] for name in found["mismatched_keys"]}
    wrong = sorted(name for name in {*found["missing_keys"], *mismatched} if not new_head or name in inside)
    return network, f"{', '.join(wrong[:3])} are missing or of another shape" if wrong else ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's progress bars and warnings off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
