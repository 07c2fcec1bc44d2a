"""Model folders: weights, config, tokenizer and manifest, in a form that `transformers` opens too."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from langmill.errors import LangmillError, ModelError
from langmill.files import atomic_folder, read_json, read_manifest, sha256_file, write_json, write_manifest
from langmill.models.huggingface.special_tokens import INSERTED
from langmill.models.low_rank import Recipe

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
TOKENIZER_NAME = "tokenizer.json"
GENERATION_NAME = "generation_config.json"
HUB_CODE = Path(__file__).parent / "hub" / "modeling_langmill.py"
"""The code that `transformers` runs, with trust_remote_code, for networks that it has no class for."""
ADAPTER = "adapter"
"""The subfolder of a model folder with the adapter that was trained, if any."""
ADAPTER_WEIGHTS, ADAPTER_CONFIG = f"{ADAPTER}/adapter_model.safetensors", f"{ADAPTER}/adapter_config.json"
BASE_WEIGHTS = f"base/{WEIGHTS_NAME}"
"""The base's weights in a compact model folder, which has an adapter and no merged weights (docs/decisions/0535)."""
MERGE_NAME = "merge.json"
"""How a compact folder's weights follow from those two: a `Recipe` of `langmill.models.low_rank`."""


@dataclass(frozen=True)
class Interface:
    """Everything that other programs need to use a model as Langmill does."""

    eot_before: bool = False
    """Whether an end-of-text token precedes the input."""
    eot_after: bool = False
    """Whether an end-of-text token follows the input."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """The entries of `generation_config.json`; empty for a model that does not generate."""
    labels: tuple[str, ...] = ()
    """The classes in the order of the logits."""
    max_length: int | None = None
    """Tokens of a text, at most."""
    chat_template: str | None = None
    """The chat template (Jinja) that it is asked through."""
    token_names: Mapping[str, str] = field(default_factory=dict)
    """The special tokens that the template calls `bos_token`, `eos_token` and so on."""
    stop_ids: tuple[int, ...] = ()
    """The tokens that end a text; empty for the end-of-text token alone."""
    around: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    """The special tokens that the network itself puts before and after the input; None where it puts none."""


@dataclass(frozen=True)
class Adapter:
    """A trained adapter of frozen weights (LoRA), in the format of the library `peft`."""

    config: dict[str, Any]
    """The content of `adapter_config.json`."""
    weights: dict[str, Tensor]
    """The content of `adapter_model.safetensors`."""


@runtime_checkable
class Described(Protocol):
    """A network that describes itself for `config.json`."""

    def config(self) -> dict[str, Any]:
        """Describe the network for `config.json`."""

    def stored_names(self) -> dict[str, str]:
        """Names of the weights in the file, by name in the network."""

    def stored_copies(self) -> dict[str, str]:
        """Additional names in the file, each with the name of the weight that it repeats."""


def save_model(
    folder: Path,
    network: nn.Module,
    config: Mapping[str, Any],
    tokenizer_file: Path,
    facts: Mapping[str, Any],
    *,
    adapter: Adapter | None = None,
    interface: Interface | None = None,
) -> None:
    """Write a model folder, whole or not at all; equal weights and settings give equal bytes.

    Args:
        folder: The folder to write; an existing one is replaced.
        network: Anything `Described`.
        config: Entries of `config.json` besides those of the network: at least `langmill`, a mapping that holds
            `eot_id` and everything needed to build the network again.
        tokenizer_file: The `tokenizer.json` that the network was trained with.
        facts: Entries of the manifest besides the files' digests (provenance).
        adapter: The adapter that was trained; also written by itself, to `adapter/`.
        interface: What other programs need; None where none will use the model.

    Raises:
        ModelError: The network does not describe itself.
        SpaceError: The disk is full; an existing folder is untouched.
    """
    if not isinstance(network, Described):
        raise ModelError(f"A {type(network).__name__} can't be saved: it has no config().", code="wrong_type")
    # Sorted and contiguous, since the file's bytes follow the order and layout they are given in.
    names = network.stored_names()
    named = {names[name]: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    named |= {copy: named[name].clone() for copy, name in network.stored_copies().items()}
    state = dict(sorted(named.items()))
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.")
    eot_id = config["langmill"]["eot_id"]
    interface, own = interface or Interface(), network.config()
    described: dict[str, Any] = {
        "bos_token_id": eot_id,
        "eos_token_id": eot_id,
        "pad_token_id": eot_id,
        **({"decoder_start_token_id": eot_id} if own.get("is_encoder_decoder") else {}),
        **own,
        "dtype": dtype,  # transformers 5
        "torch_dtype": dtype,  # transformers 4
        **config,
    }
    if len(interface.stop_ids) > 1:
        described["eos_token_id"] = list(interface.stop_ids)
    if interface.labels:
        described["id2label"] = {str(number): label for number, label in enumerate(interface.labels)}
        described["label2id"] = {label: number for number, label in enumerate(interface.labels)}
    with atomic_folder(folder) as temporary:
        _write_weights(state, temporary / WEIGHTS_NAME)
        write_json(temporary / CONFIG_NAME, described)
        _write_tokenizer(tokenizer_file, temporary, described, interface)
        if interface.generation:
            write_generation_config(temporary, described, interface.generation)
        if "auto_map" in described:
            shutil.copyfile(HUB_CODE, temporary / HUB_CODE.name)
        if adapter is not None:
            _write_weights(dict(sorted(adapter.weights.items())), temporary / ADAPTER_WEIGHTS)
            write_json(temporary / ADAPTER_CONFIG, adapter.config)
        write_manifest(temporary, {**facts, _TOKENIZER_DIGEST: sha256_file(tokenizer_file)})


def write_generation_config(folder: Path, described: Mapping[str, Any], generation: Mapping[str, Any]) -> None:
    """Write `generation_config.json`: the model's special tokens, by its `config.json`, and how it writes."""
    ids = {name: described[name] for name in _GENERATION_IDS if name in described}
    write_json(folder / GENERATION_NAME, {**ids, **generation})


def tokenizer_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256, by the manifest, of the tokenizer that a model was trained with; the folder's has a template added."""
    return str(manifest.get(_TOKENIZER_DIGEST) or manifest["files"][TOKENIZER_NAME])


def _write_tokenizer(file: Path, folder: Path, described: Mapping[str, Any], interface: Interface) -> None:
    """Write the tokenizer so that `transformers` encodes a text as Langmill does.

    A tokenizer with a special-token template of its own, as of pretrained encoders, keeps it; of a network that wraps
    its input, the end-of-text token is put inside it.
    """
    tokenizer = read_json(file)
    special = {added["id"]: added["content"] for added in tokenizer.get("added_tokens", []) if added["special"]}
    eot_id = described["langmill"]["eot_id"]
    end, pad = special.get(eot_id), special.get(described["pad_token_id"])
    # Without the class, transformers would rebuild the tokenizer as Llama's own instead of reading ours.
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if end is not None:
        config |= {"bos_token": end, "eos_token": end, "pad_token": pad or end}
    if mask := next((name for name in _MASK_NAMES if name in special.values()), None):
        config["mask_token"] = mask
    elif interface.chat_template is not None:  # which writes special tokens into a text
        config |= {**interface.token_names, "chat_template": interface.chat_template}
    else:
        config["split_special_tokens"] = True  # the characters of a special token in a text are only text
    if interface.max_length is not None:
        config["model_max_length"] = interface.max_length
    if interface.generation and not described.get("is_encoder_decoder"):
        config |= _CONTINUED
    write_json(folder / _TOKENIZER_CONFIG_NAME, config)
    shutil.copyfile(file, folder / TOKENIZER_NAME)
    if end is not None and (interface.eot_before or interface.eot_after):
        # transformers follows the file alone; Langmill adds special tokens itself.
        prefix, suffix = interface.around or ((), ())
        named = {number: special[number] for number in (*prefix, *suffix) if number in special}
        if len(named) < len({*prefix, *suffix}):
            return
        eot = end if interface.around is None else INSERTED
        parts = [*map(named.get, prefix), *[eot] * interface.eot_before, None]
        parts += [*[eot] * interface.eot_after, *map(named.get, suffix)]
        single = [
            {"Sequence": {"id": "A", "type_id": 0}} if part is None else {"SpecialToken": {"id": part, "type_id": 0}}
            for part in parts
        ]
        tokens = {**{name: (number, name) for number, name in named.items()}, eot: (eot_id, end)}
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                name: {"id": name, "ids": [number], "tokens": [text]} for name, (number, text) in tokens.items()
            },
        }
        write_json(folder / TOKENIZER_NAME, tokenizer)


def complete_tokenizer_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Add to the `tokenizer_config.json` of an older folder what is written today; `config` is its `config.json`."""
    file = folder / _TOKENIZER_CONFIG_NAME
    if (folder / GENERATION_NAME).is_file() and not config.get("is_encoder_decoder") and file.is_file():
        write_json(file, {**read_json(file), **_CONTINUED})


_TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
_CONTINUED = {"padding_side": "left"}
"""Of a decoder: each text of a batch is continued at its end, so what is padded is its beginning."""
_TOKENIZER_DIGEST = "tokenizer_sha256"
_GENERATION_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_MASK_NAMES = ("<|mask|>", "[MASK]", "<mask>")


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`. Raises ModelError where there is none, or it is damaged."""
    try:
        config = read_json(folder / CONFIG_NAME)
    except LangmillError as error:
        raise ModelError(f"{folder} is not a model folder: {error}", code="unreadable") from error
    if not isinstance(config, dict):
        message = f"{folder / CONFIG_NAME} does not hold a model's description; make the folder again."
        raise ModelError(message, code="unreadable")
    return config


def load_state(folder: Path, *, verify: bool = True) -> dict[str, Tensor]:
    """Load the weights by name, onto the CPU; those of a compact folder are merged.

    Raises:
        IntegrityError: A file of the folder differs from the manifest, if `verify`.
        ModelError: There are no weights, or they can't be read.
    """
    if verify:
        read_manifest(folder, verify=True)
    if (folder / MERGE_NAME).is_file():
        return dict(merged_weights(folder))
    return load_tensors(folder / WEIGHTS_NAME)


def merged_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights of a compact folder by name, one at a time in the order of the merged file.

    Raises ModelError where a file is missing, or can't be read.
    """
    base, adapter = load_tensors(folder / BASE_WEIGHTS), load_tensors(folder / ADAPTER_WEIGHTS)
    yield from Recipe(**read_json(folder / MERGE_NAME)).weights(base, adapter, read_json(folder / ADAPTER_CONFIG))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Map a file of weights into memory: what is not read is never loaded.

    Raises ModelError where there is no such file, or it can't be read.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} does not exist, so {path.parent} is not a whole model folder.", code="missing"
        ) from error
    except SafetensorError as error:
        raise ModelError(
            f"{path} is damaged ({error}); make the model again or fetch it anew.", code="damaged"
        ) from error


def load_weights(network: nn.Module, state: Mapping[str, Tensor], where: str, prefix: str = "") -> None:
    """Load weights by name into a network that has exactly these.

    Messages say that they come from `where`, and put `prefix` before their names. Raises ModelError where weights are
    missing, surplus or of another shape; the network is unchanged.
    """
    own = network.state_dict()
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or surplus:
        lacking, extra = (some([f"{prefix}{name}" for name in names]) for names in (missing, surplus))
        complaint = [f"lacks {lacking}"] * bool(missing) + [f"has {extra} too much"] * bool(surplus)
        message = f"{where} does not fit the network: it {' and '.join(complaint)}. Is it of another model?"
        raise ModelError(message, code="mismatch")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{where} does not fit the network: {prefix}{name} has the shape {tuple(tensor.shape)} instead of "
                f"{tuple(own[name].shape)}. Were the model's settings or its vocabulary changed?",
                code="mismatch",
            )
    network.load_state_dict(state)


def own_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a file's weights to the network's names, without its copies; names that it does not know stay.

    A weight that the network shares between modules is once in the file.
    """
    assert isinstance(network, Described)
    stored = network.stored_names()
    known = {own: state[name] for own, name in stored.items() if name in state}
    return known | {name: state[name] for name in state.keys() - {*stored.values(), *network.stored_copies()}}


def backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the backbone's weights of a model, under the backbone's own names."""
    prefix = "model."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _write_weights(state: dict[str, Tensor], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # Rust gives the system's error number only in the text, and a full disk must be distinguished from a bug.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(0o644)


def some(names: list[str]) -> str:
    """The first three names, and how many there are more."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
