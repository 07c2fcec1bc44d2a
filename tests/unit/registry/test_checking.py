"""Every registered version is checked against its manifests."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from langmill.registry.checking import package_pieces
from langmill.registry.store import ModelRegistry
from tests.unit.registry.building import URI
from tests.unit.registry.moving import NAME

pytestmark = pytest.mark.unit


def test_a_flipped_byte_of_a_version_is_found_and_the_others_are_whole(registry: ModelRegistry) -> None:
    pieces = list(package_pieces(URI))
    read: list[int] = []
    assert [piece.check(read.append) for piece in pieces] == [[], [], []]
    assert read == [piece.num_bytes for piece in pieces]
    assert min(read) > 0
    folder = Path(unquote(urlsplit(registry.location(NAME, 2)).path))
    weights = next(folder.rglob("model.safetensors"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    found = [piece.check(read.append) for piece in package_pieces(URI)]
    assert [len(damages) for damages in found] == [0, 1, 0]
    (damage,) = found[1]
    assert damage.what == f"{NAME} version 2 in the registry"
    assert "model.safetensors" in damage.why
    assert damage.mend
