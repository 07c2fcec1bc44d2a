from __future__ import annotations

from ..tasks.conftest import _one_thread, documents, tokenizer  # noqa: F401  # the same fixtures
