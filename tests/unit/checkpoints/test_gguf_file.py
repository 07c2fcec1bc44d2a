"""GGUF files that can't be read: one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from langmill.checkpoints.gguf_file import GgufFile
from langmill.checkpoints.gguf_model import convert
from langmill.errors import SourceError, TokenizerError
from tests.refused import refused
from tests.unit.checkpoints.files import LLAMA, TOKENIZER, network, tensors_of, write_gguf, write_model

pytestmark = pytest.mark.unit


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A file that can be read."""
    write_model(tmp_path / "tiny.gguf", "Llama", stored=Type.Q4_1)
    return tmp_path / "tiny.gguf"


def test_the_header_says_what_there_is(tiny: Path) -> None:
    file = GgufFile(tiny)
    assert (file.architecture, file.text("general.license"), file.text("general.url")) == ("llama", "apache-2.0", None)
    assert file.metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert file.quantizations() == ["Q4_1", "F32"]
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    assert shapes["blk.0.attn_k.weight"] == (32, 64)
    assert sum(tensor.size for tensor in file.tensors) < tiny.stat().st_size


def test_something_else_is_no_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    with refused(SourceError, "unreadable", "pointer.gguf", "no GGUF file"):
        GgufFile(tmp_path / "pointer.gguf")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.1, 0.5, 0.999])
def test_a_file_that_ends_too_early(tiny: Path, share: float) -> None:
    """In its first bytes, in its metadata, its table of tensors, or its weights."""
    content = tiny.read_bytes()
    tiny.write_bytes(content[: max(4, int(share * len(content)))])
    with refused(SourceError, "damaged", "tiny.gguf", "ends too early"):
        GgufFile(tiny)


def test_a_header_that_makes_no_sense(tiny: Path) -> None:
    content = bytearray(tiny.read_bytes())
    at = content.index(b"general.name") + len(b"general.name")
    content[at] = 99  # the number of a kind of value
    tiny.write_bytes(content)
    with refused(SourceError, "damaged", "tiny.gguf"):
        GgufFile(tiny)


@pytest.mark.parametrize(
    ("version", "told"), [(b"\x01\0\0\0", "version 1"), (b"\0\0\0\x03", "another kind of processor")]
)
def test_a_version_that_is_not_read(tiny: Path, version: bytes, told: str) -> None:
    content = bytearray(tiny.read_bytes())
    content[4:8] = version
    tiny.write_bytes(content)
    with refused(SourceError, "unsupported", "tiny.gguf", told):
        GgufFile(tiny)


def test_one_part_of_several(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny-00001-of-00003.gguf", "Llama", split__count=3)
    with refused(SourceError, "unsupported", "3 parts", "llama-gguf-split --merge"):
        GgufFile(tmp_path / "tiny-00001-of-00003.gguf")


def converted(path: Path) -> None:
    out = path.parent / "out"
    out.mkdir()
    convert(path, out)


@pytest.mark.parametrize("architecture", ["frobnicator", "bert", "lfm2"])
def test_an_architecture_that_is_not_read(architecture: str, tmp_path: Path) -> None:
    metadata = {key.replace("llama.", f"{architecture}."): value for key, value in LLAMA.items()}
    path = write_gguf(tmp_path / "x.gguf", architecture, metadata | TOKENIZER, tensors_of(network("Llama")))
    with refused(SourceError, "unsupported", "x.gguf", architecture, "safetensors"):
        converted(path)


def test_positions_that_transformers_would_not_stretch(tmp_path: Path) -> None:
    write_model(tmp_path / "x.gguf", "Llama", llama__rope__scaling__type="yarn")
    with refused(SourceError, "unsupported", "llama.rope.scaling.type", "yarn"):
        converted(tmp_path / "x.gguf")


def test_a_weight_too_many(tmp_path: Path) -> None:
    """The factors of Llama 3.1's positions, for example, without which it would compute something else."""
    tensors = tensors_of(network("Llama"))
    tensors["rope_freqs.weight"] = tensors["output_norm.weight"][:8]
    path = write_gguf(tmp_path / "x.gguf", "llama", LLAMA | TOKENIZER, tensors)
    with refused(SourceError, "unsupported", "rope_freqs.weight"):
        converted(path)


def test_a_weight_too_few(tmp_path: Path) -> None:
    tensors = tensors_of(network("Llama"))
    del tensors["blk.1.ffn_up.weight"]
    path = write_gguf(tmp_path / "x.gguf", "llama", LLAMA | TOKENIZER, tensors)
    with refused(SourceError, "missing", "x.gguf", "model.layers.1.mlp.up_proj.weight"):
        converted(path)


def test_a_weight_of_another_shape(tmp_path: Path) -> None:
    write_model(tmp_path / "x.gguf", "Llama", llama__feed_forward_length=64)
    with refused(SourceError, "mismatch", "(96, 64)", "(64, 64)"):
        converted(tmp_path / "x.gguf")


@pytest.mark.parametrize("changed", [{"tokenizer.ggml.model": "runes"}, {"tokenizer.ggml.tokens": None}])
def test_a_tokenizer_that_is_not_read(changed: dict[str, str | None], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", "llama", LLAMA | TOKENIZER | changed, tensors_of(network("Llama")))
    with refused(TokenizerError, "unsupported", "x.gguf"):
        converted(path)
