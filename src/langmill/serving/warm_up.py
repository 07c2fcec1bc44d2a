"""A version's first responses, before any client asks it."""

from __future__ import annotations

import torch

from langmill.errors import ModelError
from langmill.serving.jobs import LoadedVersion
from langmill.serving.routes.base import routes_for


def warm_up(loaded: LoadedVersion) -> None:
    """Let a model answer at each of its routes: memory is touched, kernels are chosen, and nonsense is seen in time.

    Raises ModelError where a weight or a response is not a number, or no route asks for what the task offers.
    """
    model = loaded.model
    with torch.inference_mode():
        for name, weight in model.network.state_dict().items():
            # A finite sum has only finite terms and takes a tenth of the time; another one may be merely too large.
            finite = not weight.is_floating_point() or bool(weight.sum().isfinite() or weight.isfinite().all())
            if not finite:
                raise ModelError(f"The weight {name} holds a value that is not a number.", code="diverged")
        routes = routes_for(model.task)
        if not routes:
            raise ModelError(
                f"{type(model.task).__name__} offers nothing that a route asks for, so it can't be served.",
                code="unsupported",
            )
        for answer in {route.warm_up.__func__: route.warm_up for route in routes}.values():  # type: ignore[attr-defined]
            answer(loaded)  # once where several routes share it
