"""One setting for where finished models compute, and every door obeys it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from langmill import cli
from langmill.config.compose import compose_serving
from langmill.config.sections import Accelerator, Recipe
from langmill.errors import ConfigError, LangmillError
from langmill.models.device import use_device
from langmill.registry import rescore
from langmill.registry.promote import promote
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import Tag
from langmill.serving import lifecycle
from langmill.serving.keys import KeyRing
from langmill.stages import evaluate
from langmill.tasks import loading
from langmill.workspace import Workspace
from tests.refused import refused
from tests.unit.registry.building import LANGUAGE_MODEL, URI, recipe_of, registered
from tests.unit.registry.judging import in_this_process, rescored

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]


class Loaded(LangmillError):
    """Where a model was about to be loaded."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which torch sees a GPU."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model ends in an error that says on which device."""

    def load_model(folder: Path, *, verify: bool, device: str = "cpu", evaluation: Path | None = None) -> None:
        raise Loaded(device)

    for module in (evaluate, rescore, lifecycle, loading):
        monkeypatch.setattr(module, "load_model", load_model)


def test_auto_takes_a_gpu_and_its_products_are_those_of_fp32(gpu: None) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    assert use_device(Accelerator.cpu) == "cpu"
    assert torch.backends.cudnn.allow_tf32
    assert use_device(Accelerator.auto) == use_device(Accelerator.cuda) == "cuda"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert use_device(Accelerator.auto) == "cpu"
    for wanted in (Accelerator.cuda, Accelerator.mps):
        with refused(ConfigError, "unsupported", f"operation.device is {wanted.value}"):
            use_device(wanted)


@pytest.fixture
def settled(registry_workspace: Path) -> Recipe:
    """A workspace with a champion whose scores are too old to use. Gives its recipe; `operation.device` is `auto`."""
    for name in ("conf", "dvc.yaml"):
        (registry_workspace / name).symlink_to(ROOT / name)
    ModelRegistry(URI).unnote(registered(registry_workspace, LANGUAGE_MODEL, seed=1, factor=0.5), Tag.protocol)
    promote(ModelRegistry(URI), LANGUAGE_MODEL, 1, force="for the test", command="test")
    return recipe_of(LANGUAGE_MODEL)


def test_models_are_judged_there(settled: Recipe, gpu: None, told: None) -> None:
    with pytest.raises(Loaded, match=r"^cuda$"):
        evaluate.main(LANGUAGE_MODEL)


def test_champions_are_scored_again_there(
    settled: Recipe, gpu: None, told: None, registry_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    version = registered(registry_workspace, LANGUAGE_MODEL, seed=2, factor=0.9)
    assert rescored(version, settled, Accelerator.auto).problem == "cuda."


def test_models_are_asked_there(settled: Recipe, gpu: None, told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["generate", LANGUAGE_MODEL, "--prompt", "x"]) == 1
    assert cli.call(["generate", "--model", f"build/models/{LANGUAGE_MODEL}", "--prompt", "x"]) == 1
    assert capsys.readouterr().err.splitlines() == ["cuda", "cuda"]


def test_models_are_served_from_there(gpu: None, told: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(lifecycle, "Follower", lambda **_: None)
    monkeypatch.setattr(lifecycle, "VersionCache", lambda folder, load: asked.update(load=load))
    monkeypatch.setattr(lifecycle, "build_app", lambda *_: None)
    lifecycle.Lifecycle(
        compose_serving(conf=ROOT / "conf"),
        tracking_uri=URI,
        workspace=Workspace(tmp_path),
        keys=KeyRing(None),
        address="",
        device="cuda",
        say=print,
    )
    with pytest.raises(Loaded, match=r"^cuda$"):
        asked["load"](LANGUAGE_MODEL, 1, tmp_path)
