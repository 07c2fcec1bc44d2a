"""Ask a model in a process of its own what it answers: the two halves of `langmill.registry.validate`.

    python probe.py packaged PACKAGE ANSWER.json       through MLflow, with the package's own code
    python probe.py folder MODEL_FOLDER ANSWER.json    through Langmill's loader, as training and serving do

It exits with `UNDECIDED` where the machine, and not the model, is why there is no answer. It is run as a file and
imports nothing of the installed Langmill by itself, so that the packaged code is really what answers.
"""

from __future__ import annotations

import errno
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNDECIDED = 75  # EX_TEMPFAIL
"""The exit code when nothing can be said of the model."""
_LATENCY_RUNS = 5
_LATENCY_SECONDS = 1.0  # after which no further run is begun
_LATENCY_TOKENS = 32  # of an answer, at most: whether it answers is asked here, not how long it can go on
_PROBE_TOKENS = (2, 24)
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EIO}
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def main(kind: str, model: str, answer: Path) -> None:
    """Load a package (`packaged`) or a model's folder (`folder`), ask it, and write what it said into a JSON file."""
    import torch

    torch.set_num_threads(1)
    found = _packaged(model) if kind == "packaged" else _folder(model)
    answer.write_text(json.dumps(found), encoding="utf-8")


def _packaged(folder: str) -> dict[str, Any]:
    import mlflow.pyfunc
    from mlflow.models import Model

    began = time.perf_counter()
    # Unasked, MLflow would look through every installed package for what the model's requirements are called.
    model = mlflow.pyfunc.load_model(folder, suppress_warnings=True)
    loading = time.perf_counter() - began
    description: Model = model.metadata
    example = description.load_input_example(folder)
    loaded = model.unwrap_python_model().loaded
    rows, latency = timed(lambda: model.predict(example, params=_params(loaded, str(example.iloc[0, 0]))))
    import langmill

    return {
        "rows": len(rows),
        "expected_rows": len(example),
        "load_seconds": loading,
        "latency_ms": latency,
        "code": str(Path(langmill.__file__).parent),
        "logits": _logits(loaded),
    }


def _params(loaded: Any, prompt: str) -> dict[str, int] | None:
    """A short answer's length where the model's own is longer, no more than fits behind the prompt."""
    usual = getattr(loaded.generation_config, "max_new_tokens", None)
    if usual is None or usual <= _LATENCY_TOKENS:
        return None  # what is not asked for is shortened to the room that there is
    room = loaded.task.room(loaded.task.prompt_ids(loaded.tokenizer, prompt), loaded.max_length)
    return {"max_new_tokens": max(1, min(_LATENCY_TOKENS, room))}


def timed(answer: Callable[[], Any]) -> tuple[Any, float]:
    """Ask five times, or fewer where that takes seconds; return the last answer and the median in milliseconds."""
    found: Any = None
    milliseconds: list[float] = []
    while len(milliseconds) < _LATENCY_RUNS and sum(milliseconds) < 1000 * _LATENCY_SECONDS:
        began = time.perf_counter()
        found = answer()
        milliseconds.append(1000 * (time.perf_counter() - began))
    return found, statistics.median(milliseconds)


def _folder(folder: str) -> dict[str, Any]:
    from langmill.tasks.loading import load_model

    return {"logits": _logits(load_model(Path(folder), verify=True))}


def _logits(loaded: Any) -> list[Any]:
    """What the network says of fixed token ids, drawn over the whole vocabulary; the last sequence is padded."""
    import torch

    batch, length = _PROBE_TOKENS
    length = min(length, loaded.max_length)
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(loaded.tokenizer.vocab_size, (batch, length), generator=generator)
    lengths_B = torch.tensor([length] * (batch - 1) + [max(1, length // 2)])
    with torch.inference_mode():
        logits = loaded.network(tokens_BT, lengths_B).float()
    if logits.dim() == 3:  # what stands at padded places is undefined
        logits = torch.stack([logits[index, int(end) - 1] for index, end in enumerate(lengths_B)])
    answer: list[Any] = logits.tolist()
    return answer


def is_machines_fault(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that memory, room or time ran out."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError | ConnectionError | TimeoutError):
            return True
        if isinstance(error, OSError) and error.errno in _MACHINE:
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):  # torch's only word
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except Exception as error:
        if not is_machines_fault(error):
            raise
        sys.stderr.write(f"{type(error).__name__}: {error}".splitlines()[0])
        sys.exit(UNDECIDED)
