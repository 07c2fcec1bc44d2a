"""Networks whose first weights are not drawn, because those of a file follow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_DRAWS = frozenset({Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_})
"""What draws in place: the functions of `torch.nn.init` that a mode sees as a whole, and those that all others call."""

_undefined: ContextVar[bool] = ContextVar("undefined", default=False)


class _Undrawn(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        named = kwargs or {}
        if func in _DRAWS:
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Leave undefined what networks made in the block would draw at random; the generator stays as it is.

    Drawing a hundred million numbers takes seconds, and those of a network that is loaded are thrown away.
    """
    before = _undefined.set(True)
    try:
        with torch.random.fork_rng(devices=[]), _Undrawn():
            yield
    finally:
        _undefined.reset(before)


def weights_are_undefined() -> bool:
    """Whether this runs in a block of `undrawn`, where it would be in vain to copy a weight."""
    return _undefined.get()
