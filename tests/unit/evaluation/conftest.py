from __future__ import annotations

import pytest

from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.tokenizer import Tokenizer

from ..tasks.conftest import _one_thread, documents, tokenizer  # noqa: F401  # the same fixtures
from ..tasks.settings import save_tiny_model


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> LoadedModel:  # noqa: F811
    folder = tmp_path_factory.mktemp("models") / "lm"
    save_tiny_model(folder, "language_modelling", (), tokenizer, max_length=24)
    return load_model(folder, verify=True)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> LoadedModel:  # noqa: F811
    folder = tmp_path_factory.mktemp("models") / "classifier"
    save_tiny_model(folder, "classification", ("neg", "pos"), tokenizer, max_length=16)
    return load_model(folder, verify=True)
