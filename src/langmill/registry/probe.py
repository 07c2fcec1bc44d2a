"""Ask a model in a process of its own what it answers: the two halves of `langmill.registry.validate`.

    python probe.py packaged MODEL_URI ANSWER.json    through MLflow, with the package's own code
    python probe.py folder MODEL_FOLDER ANSWER.json   through Langmill's loader, as training and serving do

MLflow's address comes in MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI, since it may hold a password.

It is run as a file and imports nothing of the installed Langmill by itself, so that the packaged code is really what
answers.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

_LATENCY_RUNS = 5
_PROBE_TOKENS = (2, 24)


def main(kind: str, model: str, answer: Path) -> None:
    """Load the model, ask it, and write what it said.

    Args:
        kind: `packaged` or `folder`.
        model: The model's URI or folder.
        answer: The JSON file to write.
    """
    import torch

    torch.set_num_threads(1)
    found = _packaged(model) if kind == "packaged" else _folder(model)
    answer.write_text(json.dumps(found), encoding="utf-8")


def _packaged(uri: str) -> dict[str, Any]:
    import mlflow.pyfunc
    from mlflow.models import Model

    began = time.perf_counter()
    model = mlflow.pyfunc.load_model(uri)
    loading = time.perf_counter() - began
    description: Model = model.metadata
    example = description.load_input_example(uri)
    rows, milliseconds = 0, []
    for _ in range(_LATENCY_RUNS):
        began = time.perf_counter()
        rows = len(model.predict(example))
        milliseconds.append(1000 * (time.perf_counter() - began))
    loaded = model.unwrap_python_model().loaded
    import langmill

    return {
        "rows": rows,
        "expected_rows": len(example),
        "load_seconds": loading,
        "latency_ms": statistics.median(milliseconds),
        "code": str(Path(langmill.__file__).parent),
        "logits": _logits(loaded),
    }


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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
