"""`langmill benchmark`: a pretrained model as it came, a model folder, and what can't be asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill import cli
from tests.unit.evaluation.benchmarks import ROOT, write_model

from ..evaluation.conftest import _one_thread, tokenizer  # noqa: F401  # the same fixtures
from ..tasks.settings import save_tiny_model

pytestmark = pytest.mark.unit


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped settings, and a pretrained model with random weights."""
    for name in ("conf", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_model(tmp_path / "build" / "models" / "smollm2")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_pretrained_model_is_asked_as_it_came(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["benchmark", "smollm2", "data/choices.yaml", "--max-documents", "20", "--answers"]) == 0
    said = capsys.readouterr()
    head, acc, acc_norm, counted, *answers = said.out.splitlines()
    assert head.split() == ["langmill_choices", "value", "interval"]
    assert acc.split()[0] == "acc" and acc_norm.split()[0] == "acc_norm" and " to " in acc
    assert counted.startswith("20 questions of 60, drawn by seed; ") and counted.endswith(" tokens/s")
    assert len(answers) == 20 and "[smollm2 as it came]" in said.err


def test_a_model_folder_is_asked(workspace: Path, tokenizer: object, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    save_tiny_model(workspace / "mine", "language_modelling", (), tokenizer, max_length=128)  # type: ignore[arg-type]
    assert cli.call(["benchmark", "mine", "data/choices.yaml"]) == 0
    assert "60 questions; " in capsys.readouterr().out
    save_tiny_model(workspace / "labels", "classification", ("neg", "pos"), tokenizer, max_length=64)  # type: ignore[arg-type]
    assert cli.call(["benchmark", "labels", "data/choices.yaml"]) == 1
    assert "labels does not continue a text" in capsys.readouterr().err


def test_what_is_not_there_is_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(workspace / "build")
    assert cli.call(["benchmark", "smollm2", "data/choices.yaml"]) == 1
    assert "`dvc repro pretrained@smollm2` brings it" in capsys.readouterr().err
    assert cli.call(["benchmark", "smollm2", "data/none.yaml"]) == 1
    assert "data/none.yaml can't be read" in capsys.readouterr().err
