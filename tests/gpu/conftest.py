"""What the other tests' fixtures are for a card, and cuBLAS as a train stage has it."""

from __future__ import annotations

import os

# torch asks once in a process whether cuBLAS is deterministic, and here other tests may use it before a training does.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from tests.unit.models.conftest import make_model, tokenizer_file  # noqa: F401  # the same fixtures
from tests.unit.tasks.conftest import chatml, documents, tokenizer  # noqa: F401
