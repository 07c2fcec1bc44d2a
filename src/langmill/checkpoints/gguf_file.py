"""A GGUF file: what llama.cpp and its kind store a model in, often with weights of four or eight bits.

`gguf` reads such files, too, with some 200,000 little arrays for a vocabulary of 50,000, which takes longer than all
the weights; here the header is read in one go, and a weight when it is asked for, so that one at a time is in memory.
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langmill.errors import SourceError

ENDING = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)  # 3 differs from 2 in the order of bytes alone, where it is the other one
_ALIGNMENT = 32
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_ROWS = 2048  # de-quantised at once


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a GGUF file."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as in PyTorch."""
    type_number: int
    """What its numbers are stored as, in the numbers of `gguf.GGMLQuantizationType`."""
    offset: int
    """Of its first byte in the file."""
    size: int
    """In bytes."""


class GgufFile:
    """The header of a GGUF file.

    Attributes:
        path: The file.
        metadata: Its values by key; a vocabulary is a list of texts. A number of 32 bits is the shortest decimal one
            that is rounded to it, so that an epsilon of 1e-5 is not 9.999999747378752e-06.
        tensors: What it holds, in the file's order.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises SourceError where it is no GGUF file, is one that can't be read, or ends too early.
        """
        self.path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise SourceError(
                    f"{path.name} is no GGUF file: it does not begin with GGUF. Is it a pointer that `git lfs pull` "
                    "resolves, or an error page?",
                    "unreadable",
                )
            if size < 24:
                raise self._truncated(size)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                try:
                    self.metadata, self.tensors = self._header(content)
                except (_EndError, struct.error) as error:
                    raise self._truncated(size) from error
                except (UnicodeDecodeError, KeyError, OverflowError, MemoryError) as error:
                    raise SourceError(
                        f"{path.name} is damaged: its header makes no sense. Fetch it again.", "damaged"
                    ) from error
        parts = self.metadata.get("split.count")
        if isinstance(parts, int) and parts > 1:
            raise SourceError(
                f"{path.name} is one of {parts} parts of a model; join them with `llama-gguf-split --merge`, and take "
                "the one file that it writes.",
                "unsupported",
            )
        if not isinstance(self.metadata.get("general.architecture"), str):
            raise SourceError(f"{path.name} does not say which architecture it holds; it is no model.", "missing")
        for tensor in self.tensors:
            if tensor.offset + tensor.size > size:
                raise self._truncated(size, max(each.offset + each.size for each in self.tensors))

    @property
    def architecture(self) -> str:
        """Its name in llama.cpp."""
        return str(self.metadata["general.architecture"])

    def text(self, key: str) -> str | None:
        """A text among the metadata; None where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) and value else None

    def quantizations(self) -> list[str]:
        """What its weights are stored as, as in `Q4_1`, the one of most weights first."""
        from gguf import GGMLQuantizationType

        counts: dict[str, int] = {}
        for tensor in self.tensors:
            name = GGMLQuantizationType(tensor.type_number).name
            counts[name] = counts.get(name, 0) + math.prod(tensor.shape)
        return sorted(counts, key=lambda name: (-counts[name], name))

    def values(self, tensor: StoredTensor) -> np.ndarray:
        """A tensor in float32, de-quantised.

        Raises SourceError where it is stored in a way that `gguf` can't de-quantise.
        """
        from gguf import GGMLQuantizationType, dequantize
        from gguf.quants import quant_shape_to_byte_shape

        kind = GGMLQuantizationType(tensor.type_number)
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            stored = np.frombuffer(file.read(tensor.size), dtype=np.uint8)
        try:
            rows = stored.reshape(quant_shape_to_byte_shape(tensor.shape or (1,), kind))
            rows = rows.reshape(-1, rows.shape[-1])
            values = np.empty((len(rows), math.prod(tensor.shape) // max(1, len(rows))), dtype=np.float32)
            for start in range(0, len(rows), _ROWS):
                values[start : start + _ROWS] = dequantize(rows[start : start + _ROWS], kind)
        except (NotImplementedError, ValueError) as error:
            raise SourceError(
                f"{tensor.name} of {self.path.name} is stored as {kind.name}, which can't be read ({error}); take a "
                "file in another quantization.",
                "unsupported",
            ) from error
        return values.reshape(tensor.shape)

    def _header(self, content: mmap.mmap) -> tuple[dict[str, Any], list[StoredTensor]]:
        cursor = _Cursor(content, len(_MAGIC))
        version = cursor.number("I")
        if version not in _VERSIONS:
            other = "written for another kind of processor" if version & 0xFFFF == 0 else f"version {version}"
            raise SourceError(f"{self.path.name} is a GGUF file of {other}; versions 2 and 3 are read.", "unsupported")
        num_tensors, num_values = cursor.number("Q"), cursor.number("Q")
        metadata: dict[str, Any] = {}
        for _ in range(num_values):
            key = cursor.text()
            metadata[key] = cursor.value(cursor.number("I"))
        entries = []
        for _ in range(num_tensors):
            name, dimensions = cursor.text(), cursor.number("I")
            shape = tuple(reversed([cursor.number("Q") for _ in range(dimensions)]))
            entries.append((name, shape, cursor.number("I"), cursor.number("Q")))
        alignment = int(metadata.get("general.alignment", _ALIGNMENT)) or _ALIGNMENT
        start = -(-cursor.at // alignment) * alignment
        return metadata, [
            StoredTensor(name, shape, kind, start + offset, self._size(name, shape, kind))
            for name, shape, kind, offset in entries
        ]

    def _size(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except ValueError as error:
            raise SourceError(
                f"{name} of {self.path.name} is stored in a way (number {kind}) that the package gguf does not know; "
                "take a file in another quantization, or a newer gguf.",
                "unsupported",
            ) from error
        return math.prod(shape) * size // block

    def _truncated(self, size: int, promised: int | None = None) -> SourceError:
        of = f" of {promised:,}" if promised else ""
        return SourceError(
            f"{self.path.name} ends too early, after {size:,} bytes{of}: it was not fetched to its end. Fetch it "
            "again.",
            "damaged",
        )


class _EndError(Exception):
    """More was to be read than the file has."""


class _Cursor:
    """A place in a file's bytes, from which values are read one after the other."""

    def __init__(self, content: mmap.mmap, at: int) -> None:
        self.content = content
        self.at = at

    def number(self, form: str) -> Any:
        return self._unpack(f"<{form}")[0]

    def text(self) -> str:
        return self._take(self.number("Q")).decode()

    def value(self, kind: int) -> Any:
        """The value of a kind, as the format numbers them. Raises KeyError where there is no such kind."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            item, count = self.number("I"), self.number("Q")
            if item in (_STRING, _ARRAY):
                return [self.value(item) for _ in range(count)]
            if count * struct.calcsize(_FORMATS[item]) > len(self.content) - self.at:
                raise _EndError
            return [_decimal(each, item) for each in self._unpack(f"<{count}{_FORMATS[item]}")]
        return _decimal(self.number(_FORMATS[kind]), kind)

    def _unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return values

    def _take(self, count: int) -> bytes:
        if count > len(self.content) - self.at:
            raise _EndError
        self.at += count
        return self.content[self.at - count : self.at]


def _decimal(value: Any, kind: int) -> Any:
    """A number of 32 bits as a person would have written it."""
    return float(str(np.float32(value))) if kind == _FLOAT32 and math.isfinite(value) else value


def write_without_vocabulary(file: GgufFile, path: Path, left_out: Collection[str]) -> None:
    """Write a file with the same metadata but some, and tensors of the same names that hold one number each.

    What `transformers` makes of a file's metadata hangs on nothing else, and takes seconds for a vocabulary.
    """
    import gguf

    writer = gguf.GGUFWriter(path, file.architecture)
    kinds = gguf.GGUFValueType
    for key, value in file.metadata.items():
        if key in left_out or key == "general.architecture":
            continue
        if isinstance(value, list):
            if value:
                writer.add_array(key, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            writer.add_key_value(key, value, kinds.INT64)
        elif isinstance(value, float):
            writer.add_key_value(key, value, kinds.FLOAT64)
        else:
            writer.add_key_value(key, value, kinds.BOOL if isinstance(value, bool) else kinds.STRING)
    for tensor in file.tensors:
        writer.add_tensor(tensor.name, np.zeros(1, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
