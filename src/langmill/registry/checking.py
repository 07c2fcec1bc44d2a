"""Check the files of every registered version against their manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from langmill.errors import LangmillError, RegistryError, TransientError
from langmill.graph.fsck import Damage, Piece
from langmill.registry.artifacts import local_size
from langmill.registry.store import ModelRegistry


def package_pieces(tracking_uri: str) -> Iterator[Piece]:
    """The packages of all registered versions, for `langmill fsck`."""
    registry = ModelRegistry(tracking_uri)
    for name, numbers in sorted(registry.numbers().items()):
        for number in sorted(numbers):
            try:
                size = local_size(registry.location(name, number))
            except RegistryError:
                continue  # deleted meanwhile
            yield Piece(size, _checking(registry, name, number, size))


def _checking(
    registry: ModelRegistry, name: str, number: int, size: int
) -> Callable[[Callable[[int], object]], list[Damage]]:
    def check(on_bytes: Callable[[int], object]) -> list[Damage]:
        try:
            with registry.package(registry.version(name, number)):
                return []
        except TransientError:
            raise
        except LangmillError as error:
            sentence, _, remedy = str(error).partition(". ")
            return [Damage(f"{name} version {number} in the registry", sentence, remedy)]
        finally:
            on_bytes(size)

    return check
