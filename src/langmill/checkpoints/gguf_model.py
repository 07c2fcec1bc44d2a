"""A GGUF file as a plain model folder: the one that `transformers` would save after it has read the file.

`transformers` says what the network is and how its weights are called and laid out; a weight is read, de-quantised,
put in place and written before the next one, so that a model needs little more memory than its largest weight.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langmill.checkpoints.finite import require_finite
from langmill.checkpoints.gguf_file import GgufFile, write_without_vocabulary
from langmill.errors import ConfigError, SourceError, TokenizerError
from langmill.files import temporary_folder, write_json
from langmill.models.base import Kind
from langmill.models.folder import CONFIG_NAME, GENERATION_NAME, TOKENIZER_NAME, WEIGHTS_NAME, some
from langmill.models.huggingface.loading import AUTO_CLASSES, kind_of_type, quiet
from langmill.progress import track

logger = logging.getLogger(__name__)

TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
_VOCABULARY = tuple(f"tokenizer.ggml.{key}" for key in ("tokens", "merges", "scores", "token_type"))
_AS_GPT2 = {"default", "exaone4", "gpt-2", "jais", "mpt", "olmo", "phi-2", "roberta-bpe"}
"""Names that llama.cpp has for GPT-2's pattern, which `transformers` takes for every name that it does not know."""
_DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""Names that llama.cpp has for "each digit by itself, then GPT-2's pattern"; `transformers` reads the pattern alone."""


def convert(path: Path, folder: Path) -> GgufFile:
    """Write what a GGUF file holds as `model.safetensors`, `config.json`, `tokenizer.json` and their like.

    Args:
        path: The file.
        folder: An existing folder.

    Returns:
        The file's header.

    Raises:
        SourceError: It is no GGUF file, ends too early, or holds a network that `transformers` can't read.
        TokenizerError: Its tokenizer can't be read.
    """
    file = GgufFile(path)
    with quiet():
        network, config = _write_description(file, folder)
        _write_weights(file, network, config, folder / WEIGHTS_NAME)
    return file


def describe(path: Path, folder: Path) -> GgufFile:
    """Do what `convert` does but for the weights, which are not read; arguments and errors are the same."""
    file = GgufFile(path)
    with quiet():
        network, config = _write_description(file, folder)
        _, names = _names_of_weights(file, network, config)
    own = _first_names(network)
    present = {own.get(names[tensor.name]) for tensor in file.tensors}
    _refuse_missing(file, set(own.values()) - present)
    return file


def _write_description(file: GgufFile, folder: Path) -> tuple[Any, Any]:
    """Write all but the weights; return the network without weights, and its config."""
    config = _config(file)
    network = _network(file, config)
    described = _described(config, type(network).__name__)
    write_json(folder / CONFIG_NAME, described)
    write_json(folder / GENERATION_NAME, _generation(file, described))
    _write_tokenizer(file, folder, described)
    return network, config


def _config(file: GgufFile) -> Any:
    """What `transformers` makes of the metadata."""
    from transformers import AutoConfig
    from transformers.integrations.gguf.utils import is_gguf_arch_supported

    name, architecture = file.path.name, file.architecture
    if is_gguf_arch_supported(architecture):
        raise SourceError(
            f"{name} holds a {architecture}, whose weights are not read one by one; take the model in safetensors.",
            "unsupported",
        )
    scaling = file.text(f"{architecture}.rope.scaling.type")
    if scaling not in (None, "none"):
        raise SourceError(
            f"{name} stretches its positions ({architecture}.rope.scaling.type is {scaling}), which transformers does "
            "not read of a GGUF file; take the model in safetensors.",
            "unsupported",
        )
    with temporary_folder() as folder:
        write_without_vocabulary(file, folder / "header.gguf", _VOCABULARY)
        try:
            config = AutoConfig.from_pretrained(folder, gguf_file="header.gguf", local_files_only=True)
        except Exception as error:  # each family's config class raises its own kinds
            raise SourceError(
                f"{name} holds a {architecture}, which transformers can't read of a GGUF file "
                f"({' '.join(str(error).split())}); take the model in safetensors, or another one.",
                "unsupported",
            ) from error
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    config.vocab_size = int(file.metadata.get(f"{architecture}.vocab_size", len(tokens or ())))
    return config


def _network(file: GgufFile, config: Any) -> Any:
    """The network without weights."""
    import transformers

    where = f"{file.path.name} ({file.architecture})"
    try:
        kind = kind_of_type(config.model_type, where)
    except ConfigError as error:
        raise SourceError(str(error), "unsupported") from error
    if kind is Kind.bidirectional:
        raise SourceError(
            f"{where} is an encoder, which is not read of a GGUF file; take it in safetensors.", "unsupported"
        )
    auto = getattr(transformers, AUTO_CLASSES[kind])
    with torch.device("meta"):
        return auto.from_config(config, dtype=torch.float32)


def _write_weights(file: GgufFile, network: Any, config: Any, path: Path) -> None:
    """Write the weights in float32 as the library safetensors would, one after the other."""
    state, kept = network.state_dict(), _first_names(network)
    shapes = {name: tuple(state[name].shape) for name in sorted(set(kept.values()))}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    missing = set(shapes)
    with path.open("wb") as out, track(f"De-quantising {file.path.name}", len(file.tensors), "weights") as progress:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + end)
        for stored, name, values in _weights(file, network, config):
            progress.advance()
            own = kept[name]
            if tuple(values.shape) != shapes[own]:
                raise SourceError(
                    f"{stored} of {file.path.name} has the shape {tuple(values.shape)}, where what transformers makes "
                    f"of the file's metadata has {shapes[own]}; take the model in safetensors, or another one.",
                    "mismatch",
                )
            plain = np.ascontiguousarray(values, dtype="<f4")
            require_finite(stored, torch.from_numpy(plain))
            out.seek(8 + len(text) + header[own]["data_offsets"][0])
            out.write(plain.data)
            missing.discard(own)
    _refuse_missing(file, missing)


def _first_names(network: Any) -> dict[str, str]:
    """For each name of a weight, the one in the file: a weight that modules share is once there, by its first name."""
    state = network.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    for name, tensor in state.items():
        first.setdefault(id(tensor), name)
    return {name: first[id(tensor)] for name, tensor in state.items()}


def _refuse_missing(file: GgufFile, missing: set[str]) -> None:
    if missing:
        raise SourceError(f"{file.path.name} lacks weights of its network: {some(sorted(missing))}.", "missing")


def _names_of_weights(file: GgufFile, network: Any, config: Any) -> tuple[Any, Mapping[str, str]]:
    """What lays the weights out as the network has them, and their names there by those in the file."""
    from transformers import modeling_gguf_pytorch_utils as theirs

    processor = theirs.TENSOR_PROCESSORS.get(file.architecture, theirs.TensorProcessor)(config=config.to_dict())
    try:
        names: Mapping[str, str] = theirs.get_gguf_hf_weights_map(_Names(network), processor)
    except NotImplementedError as error:
        raise SourceError(f"{file.path.name}: {error}", "unsupported") from error
    unknown = [tensor.name for tensor in file.tensors if tensor.name not in names]
    if unknown:
        raise SourceError(
            f"{file.path.name} has {', '.join(unknown[:3])}, which {type(network).__name__} of transformers has no "
            "place for, so it would compute something else; take the model in safetensors.",
            "unsupported",
        )
    return processor, names


def _weights(file: GgufFile, network: Any, config: Any) -> Iterator[tuple[str, str, np.ndarray]]:
    """Each weight, by its name in the file and in the network, laid out as the network has it."""
    processor, names = _names_of_weights(file, network, config)
    joined: dict[str, torch.Tensor] = {}  # weights that the network has in one, as those of experts
    for tensor in file.tensors:
        made = processor.process(
            weights=file.values(tensor),
            name=tensor.name,
            tensor_key_mapping=names,
            parsed_parameters={"tensors": joined},
        )
        if made.name is not None:
            yield tensor.name, names[made.name], made.weights
    for name, values in joined.items():
        yield name, name, values.float().numpy()


class _Names:
    """A network's names, for `transformers` to find those in the file: its own, and those below its head.

    Given the network, it would look through every module in it, which takes ten seconds for thirty layers.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self.config = network.config

    def state_dict(self) -> dict[str, Any]:
        return dict(self.network.state_dict())

    def named_children(self) -> list[tuple[str, _Names]]:
        body = self.network.base_model
        return [] if body is self.network else [(self.network.base_model_prefix, _Names(body))]


def _described(config: Any, class_name: str) -> dict[str, Any]:
    """The content of `config.json`, without what hangs on this machine."""
    described = json.loads(config.to_json_string(use_diff=True))
    described = {name: value for name, value in described.items() if not name.startswith("_")}
    described.pop("transformers_version", None)
    described.pop("quantization_config", None)
    return {**described, "architectures": [class_name], "dtype": "float32", "torch_dtype": "float32"}


def _generation(file: GgufFile, described: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `generation_config.json`: the special tokens, with every one that ends a text or a turn."""
    wanted = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    found = {name: described[name] for name in wanted if described.get(name) is not None}
    ends = found.get("eos_token_id")
    if ends is not None:
        ends = [*ends] if isinstance(ends, list) else [ends]
        for key in ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"):
            if isinstance(end := file.metadata.get(key), int) and end not in ends:
                ends.append(end)
        found["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    return found


def _write_tokenizer(file: GgufFile, folder: Path, described: Mapping[str, Any]) -> None:
    """Write `tokenizer.json`, and `tokenizer_config.json` with the chat template."""
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    try:
        architecture, vocabulary, own = get_gguf_tokenizer(str(file.path))
        backend, _ = convert_gguf_tokenizer(architecture, vocabulary)
        split = vocabulary.get("pre_tokenizer_type", "default")
        if split not in {*GGUF_PRE_TOKENIZER_SPLITS, *_AS_GPT2, *_DIGITS_APART} and "merges" in vocabulary:
            logger.warning(
                "%s splits texts into words as %s does, which transformers does not know: it takes GPT-2's pattern, "
                "and the model may read some texts as it has never seen them.", file.path.name, split,
            )  # fmt: skip
        if split in _DIGITS_APART:
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        own = {name: value for name, value in own.items() if value is not None}
        made = PreTrainedTokenizerFast(tokenizer_object=backend, **own)  # adds what goes before and after a text
    except Exception as error:  # the libraries raise many kinds, the bare class among them
        raise TokenizerError(
            f"The tokenizer in {file.path.name} can't be read: {' '.join(str(error).split())}", "unsupported"
        ) from error
    made.backend_tokenizer.save(str(folder / TOKENIZER_NAME))
    length = described.get("max_position_embeddings") or described.get("n_positions")
    config = {
        # Without the class, transformers would rebuild the tokenizer as the architecture's own instead of reading it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **own,
        **({"model_max_length": length} if length else {}),
    }
    write_json(folder / TOKENIZER_CONFIG_NAME, config)
