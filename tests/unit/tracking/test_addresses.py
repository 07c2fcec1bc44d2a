from __future__ import annotations

from pathlib import Path

import pytest

from langmill.tracking.addresses import artifact_root, database_path, resolved_uri
from tests.unit.tracking.logs import URI

pytestmark = pytest.mark.unit


def test_a_relative_database_lies_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_path(URI) == tmp_path / ".langmill" / "mlflow.db"
    assert resolved_uri(URI) == f"sqlite:///{tmp_path}/.langmill/mlflow.db"
    assert resolved_uri(resolved_uri(URI)) == resolved_uri(URI)
    assert artifact_root(URI) == tmp_path / ".langmill" / "artifacts"
    assert database_path("http://localhost:5000") is None
    assert resolved_uri("http://localhost:5000") == "http://localhost:5000"
    assert artifact_root("http://localhost:5000") is None
