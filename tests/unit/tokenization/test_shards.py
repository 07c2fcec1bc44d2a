"""Flat files of tokens and their index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmill.errors import IntegrityError
from langmill.files import sha256_file, write_manifest
from langmill.tokenization import shards
from langmill.tokenization.encoding import Example, encode_examples
from langmill.tokenization.shards import EncodedDocument, Shard, ShardSize, shard_facts, write_shard
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
from tests.unit.tokenization.conftest import sentences

pytestmark = pytest.mark.unit
EOT_ID = 7
U2, U4 = np.dtype("<u2"), np.dtype("<u4")


def document(name: str, parts: list[list[int]], label: str | None = None) -> EncodedDocument:
    return EncodedDocument(name, [np.array(part, dtype=U2) for part in parts], sum(map(len, parts)), label)


def write(folder: Path, documents: list[EncodedDocument], dtype: np.dtype[np.unsignedinteger] = U2) -> Shard:
    size = write_shard(folder, "train", documents, EOT_ID, dtype)
    split = {"documents": size.sequences, "tokens": size.tokens, "bytes": size.bytes, "left_out": {}}
    write_manifest(folder, {"dtype": dtype.str, "eot_id": EOT_ID, "splits": {"train": split}})
    return Shard.open(folder, "train")


def test_layout(tmp_path: Path) -> None:
    shard = write(tmp_path, [document("a:1", [[1, 2, 3]], "x"), document("a:2", [[4], [5, 6]]), document("a:3", [[]])])
    assert (tmp_path / "train.tokens").read_bytes() == np.array([1, 2, 3, 7, 4, 5, 6, 7, 7], dtype=U2).tobytes()
    assert shard.tokens.tolist() == [1, 2, 3, 7, 4, 5, 6, 7, 7]
    assert isinstance(shard.tokens, np.memmap)
    assert (shard.num_documents, shard.num_sequences, shard.num_tokens) == (3, 3, 9)
    assert shard.starts.tolist() == [0, 4, 8]
    assert shard.lengths.tolist() == [3, 3, 0]
    assert shard.starts.dtype == shard.lengths.dtype == np.int64
    assert shard.labels == ["x", None, None]
    assert [[part.tolist() for part in shard.parts(number)] for number in range(3)] == [
        [[1, 2, 3]],
        [[4], [5, 6]],
        [[]],
    ]
    assert shard.index.column("num_bytes").to_pylist() == [3, 3, 0]


@pytest.mark.parametrize(("dtype", "largest"), [(U2, 65_535), (U4, 65_536)])
def test_number_types(tmp_path: Path, dtype: np.dtype[np.unsignedinteger], largest: int) -> None:
    found = write(tmp_path, [EncodedDocument("a:1", [np.array([largest], dtype=dtype)], 1, None)], dtype)
    assert found.tokens.tolist() == [largest, EOT_ID]
    assert found.tokens.dtype == dtype


def test_no_documents(tmp_path: Path) -> None:
    shard = write(tmp_path, [])
    assert (shard.num_documents, shard.num_sequences, shard.num_tokens, shard.labels) == (0, 0, 0, [])
    assert shard.lengths.tolist() == []


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=3), st.sampled_from("ab")),
        max_size=12,
    )
)
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[list[int]], str]]) -> None:
    documents = [document(f"a:{number}", parts, label) for number, (parts, label) in enumerate(rows)]
    shard = write(tmp_path_factory.mktemp("shard"), documents)
    assert [[part.tolist() for part in shard.parts(number)] for number in range(len(rows))] == [row[0] for row in rows]
    assert shard.labels == [label for _, label in rows]
    ends = shard.starts + shard.lengths
    assert shard.tokens[ends].tolist() == [EOT_ID] * len(rows)
    assert int((shard.lengths + 1).sum()) == shard.num_tokens


def test_documents_are_taken_one_at_a_time(tmp_path: Path) -> None:
    def many() -> Iterator[EncodedDocument]:
        for number in range(25_000):
            yield document(f"a:{number}", [[number % 100]])

    assert write_shard(tmp_path, "train", many(), EOT_ID, U2) == ShardSize(25_000, 50_000, 25_000)
    assert pq.ParquetFile(tmp_path / "train.index.parquet").num_row_groups == 3


def test_equal_documents_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, [document("a:1", [[1, 2]], "x")])
    for file in ("train.tokens", "train.index.parquet", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [document("a:1", [[1, 2]])])
    assert shard_facts(tmp_path)["splits"]["train"]["tokens"] == 3
    tokens = tmp_path / "train.tokens"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole + b"\0\0")
    with refused(IntegrityError, "damaged", "4 tokens of 1 sequences", "3 of 1"):
        Shard.open(tmp_path, "train")
    tokens.write_bytes(whole[:-1])
    with refused(IntegrityError, "damaged", "train tokens", "make them again"):
        Shard.open(tmp_path, "train")
    tokens.write_bytes(whole)
    (tmp_path / "train.index.parquet").write_bytes(b"x")
    with refused(IntegrityError, "damaged", "train tokens", "make them again"):
        Shard.open(tmp_path, "train")
    (tmp_path / "manifest.json").unlink()
    with refused(IntegrityError, "damaged", "not a finished result"):
        Shard.open(tmp_path, "train")


@pytest.mark.parametrize("name", ["train.tokens", "train.index.parquet"])
def test_a_flipped_byte_is_found_when_a_shard_is_opened(tmp_path: Path, name: str) -> None:
    """Also one that leaves tokens and index as long as they were."""
    write(tmp_path, [document("a:1", [[1, 2]])])
    Shard.open(tmp_path, "train")  # known to be whole, in this process
    whole = (tmp_path / name).read_bytes()
    place = 2 if name.endswith(".tokens") else whole.index(b"a:1")
    (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with refused(IntegrityError, "damaged", name, "`dvc repro`" if name.endswith(".tokens") else "train"):
        Shard.open(tmp_path, "train")
    (tmp_path / name).write_bytes(whole)
    assert Shard.open(tmp_path, "train").num_tokens == 3


def test_a_shard_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(shards, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    write(tmp_path, [document("a:1", [[1, 2]])])
    Shard.open(tmp_path, "train")
    assert read == ["train.tokens", "train.index.parquet"]


def test_examples_are_encoded_part_by_part_and_in_order(tokenizer: Tokenizer) -> None:
    lines = sentences(9000)
    examples = [Example(f"a:{number}", [line, "ü", ""][: number % 3 + 1], None) for number, line in enumerate(lines)]
    encoded = list(encode_examples(iter(examples), tokenizer, threads=2))
    assert [one.id for one in encoded] == [example.id for example in examples]
    for one, example in list(zip(encoded, examples, strict=True))[::500]:
        assert [part.tolist() for part in one.parts] == [tokenizer.encode(part) for part in example.parts]
        assert one.num_bytes == len("".join(example.parts).encode())


def test_encoding_reads_no_further_than_a_batch(tokenizer: Tokenizer) -> None:
    taken = 0

    def examples() -> Iterator[Example]:
        nonlocal taken
        for number in range(50_000):
            taken += 1
            yield Example(str(number), ["x"], "label")

    first = next(encode_examples(examples(), tokenizer, threads=2))
    assert (first.id, first.label) == ("0", "label")
    assert taken <= 5000
