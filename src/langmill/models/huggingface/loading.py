"""Networks of `transformers`: read their config, make them with random weights, or load them from a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from langmill.errors import ConfigError, ModelError
from langmill.files import read_json, read_manifest
from langmill.models.base import Kind
from langmill.models.folder import CONFIG_NAME, WEIGHTS_NAME, load_state, load_tensors, read_config, some
from langmill.models.heads import BACKBONE_TYPE, plain_type

INDEX_NAME = f"{WEIGHTS_NAME}.index.json"
"""What says which of several files each weight is in."""
AUTO_CLASSES = {
    Kind.causal: "AutoModelForCausalLM",
    Kind.encoder_decoder: "AutoModelForSeq2SeqLM",
    Kind.bidirectional: "AutoModelForSequenceClassification",
}
"""The class of `transformers` that makes a network of each kind with its head."""
_OURS = (
    "_name_or_path",
    "auto_map",
    BACKBONE_TYPE,
    "dtype",
    "id2label",
    "label2id",
    "langmill",
    "num_labels",
    "torch_dtype",
)
"""Entries of a `config.json` that whoever saves a folder writes anew, or that only its place decides."""


def required(source: Path | None) -> Path:
    """The folder of a base. Raises ConfigError where there is none."""
    if source is None:
        raise ConfigError(
            "The architecture pretrained needs a model to start from; name it as training.base in conf/recipe/.",
            code="missing",
        )
    return source


def read_description(source: Path) -> Any:
    """Read the config of the network in a folder.

    Raises ModelError where there is none, or `transformers` knows no such network.
    """
    from transformers import AutoConfig

    written = read_config(source)  # raises a plain error if the file is damaged
    plain = plain_type(written)
    try:
        if plain is None:
            return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        kept = {name: value for name, value in written.items() if name not in ("model_type", "auto_map", BACKBONE_TYPE)}
        return AutoConfig.for_model(plain, **kept)
    except Exception as error:  # each family's config class raises its own kinds
        message = f"transformers can't read {source / CONFIG_NAME} (model_type {written.get('model_type')!r}): {error}"
        raise ModelError(message, code="unsupported") from error


def model_type(source: Path) -> str:
    """The type of the network in a folder, by `transformers`' name; of a classifier of ours, that of its backbone.

    Raises ModelError where there is no `config.json`.
    """
    written = read_config(source)
    return plain_type(written) or str(written.get("model_type"))


def describe(source: Path, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """The full content of a folder's `config.json`, with entries replaced and without what is not the network's.

    A file of ours is complete; another one is completed by the config class of `transformers`.

    Raises:
        ConfigError: An entry to be replaced is not there.
        ModelError: There is no such file, or `transformers` knows no such network.
    """
    written = read_config(source)
    if "langmill" not in written:
        written |= read_description(source).to_dict()
    written["model_type"] = model_type(source)
    refuse_unknown(replaced, written, written["model_type"])
    return {name: value for name, value in {**written, **replaced}.items() if name not in _OURS}


def refuse_unknown(replaced: Iterable[str], known: Iterable[str], model_type: str) -> None:
    """Refuse to replace entries of a `config.json` that are not there. Raises ConfigError."""
    unknown = sorted(set(replaced) - set(known))
    if unknown:
        raise ConfigError(
            f"model.options.config replaces {', '.join(unknown)}, which a {model_type} model's {CONFIG_NAME} does not "
            "have.",
            code="unknown",
        )


def kind_of_model(source: Path) -> Kind:
    """The kind of network that the `config.json` in a folder describes.

    Raises:
        ConfigError: `transformers` knows no generating or classifying model of that type.
        ModelError: There is no such file.
    """
    return kind_of_type(model_type(source), str(source / CONFIG_NAME))


def kind_of_type(name: str, where: str) -> Kind:
    """The kind of network of a model type, which `where` names, by `transformers`' lists.

    Raises ConfigError where `transformers` knows no generating or classifying model of that type.
    """
    from transformers.models.auto import modeling_auto

    if name in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return Kind.encoder_decoder
    if name in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return Kind.bidirectional
    if name in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return Kind.causal
    raise ConfigError(
        f"{where} describes a {name} model, which transformers knows neither as a language model nor as an encoder; "
        "take another one, or say its kind as model.options.kind in conf/model/.",
        code="unsupported",
    )


def checkpoint_state(base: Path) -> dict[str, torch.Tensor]:
    """Load the weights of a checkpoint by name, from one file or several, onto the CPU.

    Raises:
        IntegrityError: A file differs from the manifest.
        ModelError: There are no weights, or they can't be read.
    """
    if not (base / INDEX_NAME).is_file() or (base / WEIGHTS_NAME).is_file():
        return load_state(base)
    read_manifest(base, verify=True)
    files = sorted(set(read_json(base / INDEX_NAME).get("weight_map", {}).values()))
    return {name: tensor for file in files for name, tensor in load_tensors(base / Path(file).name).items()}


def refuse_vocabulary(tokenizer: int, network: int) -> None:
    """Refuse a tokenizer of more entries than the network has, with a ModelError."""
    if tokenizer > network:
        message = f"The tokenizer has {tokenizer} entries, the pretrained model only {network}."
        raise ModelError(message, code="mismatch")


def make_network(auto_class: str, kind: Kind, config: Any) -> Any:
    """Make a network of `transformers` with random weights, in float32.

    Raises ConfigError where the network is of another kind.
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


def load_network(
    auto_class: str, folder: Path, config: Any, *, new_head: bool, new_weights: Collection[str]
) -> tuple[Any, str]:
    """Load a network from a folder; return it with a complaint about its weights ("" if there is none).

    With `new_head`, a head that is missing there, or of another shape, gets random weights; so do `new_weights`.
    """
    try:
        network, found = _load(auto_class, folder, config=config, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return None, " ".join(str(error).split())
    wrong = sorted({*found.body, *found.pooler, *([] if new_head else found.head)} - set(new_weights))
    return network, f"missing, or of another shape, is {some(wrong)}" if wrong else ""


def lacking_pooler(network: Any, folder: Path) -> frozenset[str]:
    """The weights of a network's pooler, by name, where no weight in a folder is one.

    It stands between the body's first token and the head; checkpoints of masked language models lack it.
    """
    pooler = {name for name in network.state_dict() if _is_pooler(name)}
    if not pooler or any(map(_is_pooler, _stored_names(folder))):
        return frozenset()
    return frozenset(pooler)


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


def _stored_names(folder: Path) -> list[str]:
    """The names of the weights in a folder. Raises ModelError where they can't be read."""
    if (folder / INDEX_NAME).is_file() and not (folder / WEIGHTS_NAME).is_file():
        return sorted(read_json(folder / INDEX_NAME).get("weight_map", {}))
    return sorted(load_tensors(folder / WEIGHTS_NAME))


@dataclass(frozen=True)
class Differences:
    """What the weights in a folder and those of its network do not have in common, by name."""

    body: list[str]
    """Weights of the body that are missing, or of another shape."""
    pooler: list[str]
    """The same of a pooler, which a classifier can learn."""
    head: list[str]
    surplus: list[str]
    """Weights that the network has no place for, but for those that its class says are of no use (masks, positions)."""
    tied: dict[str, str]
    """Weights that the network reads from another one, by name."""


def compare_weights(kind: Kind, folder: Path) -> Differences:
    """Compare the weights in a folder with those of the network that it describes; none of them is read.

    Raises:
        Exception: Of any kind: `transformers` can't make the network.
    """
    _, found = _load(AUTO_CLASSES[kind], folder, device_map="meta")
    return found


def _load(auto_class: str, folder: Path, **how: Any) -> tuple[Any, Differences]:
    """A network, and what its weights differ in from those in the folder."""
    import transformers

    with quiet():
        network, found = getattr(transformers, auto_class).from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
        )
    body = {id(tensor) for tensor in network.base_model.state_dict(keep_vars=True).values()}
    inside = {name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in body}
    mismatched = {name if isinstance(name, str) else name[0] for name in found["mismatched_keys"]}
    wrong = sorted({*found["missing_keys"], *mismatched})
    pooler = [name for name in wrong if name in inside and _is_pooler(name)]
    return network, Differences(
        body=[name for name in wrong if name in inside and name not in pooler],
        pooler=pooler,
        head=[name for name in wrong if name not in inside],
        surplus=sorted(found["unexpected_keys"]),
        tied=dict(network.all_tied_weights_keys),
    )


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
