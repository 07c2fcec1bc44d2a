"""Models that earlier code made still load, answer as they did, are judged as they were, are packaged and served.

Under `models/` stands a folder for each time that models were kept, with what they answered and scored then.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from langmill.config.compose import compose_serving
from langmill.data.document import Document
from langmill.evaluation.evaluate import Evaluated, evaluate
from langmill.evaluation.folder import write_evaluation
from langmill.files import atomic_folder, read_json
from langmill.models.generation.config import Sampling
from langmill.registry.package import package
from langmill.serving.alias_state import RegisteredVersion
from langmill.serving.app import build_app
from langmill.serving.engine import Engine
from langmill.serving.follower import Follower
from langmill.serving.keys import KeyRing
from langmill.serving.metrics import Metrics
from langmill.serving.service import Service
from langmill.serving.version_cache import VersionCache, own_loader
from langmill.tasks.base import Classifies, Generates
from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.text_stream import generated_text
from tests.golden.training import CONF
from tests.unit.tasks.settings import evaluation, shard, shipped_scorer, training_data

pytestmark = pytest.mark.pipeline
MODELS = Path(__file__).parent / "models"
FOLDERS = sorted(path.parent for path in MODELS.glob("*/*/manifest.json"))
NEW_TOKENS = 16
TOLERANCE = 1e-4  # of a probability or a metric: another processor adds in another order
JUDGING = evaluation(bootstrap_samples=100, threads=1)


@dataclasses.dataclass(frozen=True)
class Old:
    """A kept model with what was noted of it when it was kept."""

    model: LoadedModel
    answers: dict[str, Any]
    """By the prompt, the greedy text; or by the text, its label and that label's probability."""
    metrics: dict[str, float]
    """On the test documents kept beside the model; the one that decides first."""

    @property
    def decides(self) -> str:
        return next(iter(self.metrics))

    def judge(self) -> Evaluated:
        """Evaluate the model with current code."""
        train, test = (documents(self.model.folder.parent, split) for split in ("train", "test"))
        ids = [self.model.tokenizer.encode(document.text) for document in train]
        known = training_data(shard(ids, [document.label for document in train]), train)
        scorer = shipped_scorer(self.model.config["langmill"]["task"]["name"]).with_task(self.model.task)
        return evaluate(self.model, test, known, JUDGING, self.decides, scorer=scorer)


def documents(folder: Path, split: str) -> list[Document]:
    lines = (folder / "documents" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [Document(**json.loads(line)) for line in lines]


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def old(request: pytest.FixtureRequest) -> Old:
    folder: Path = request.param
    return Old(load_model(folder, verify=True), **read_json(folder.parent / "expected.json")[folder.name])


@pytest.fixture(scope="module")
def judged(old: Old) -> Evaluated:
    return old.judge()


def test_some_are_kept() -> None:
    assert {folder.name for folder in FOLDERS} == {"reviews-lm", "sentiment"}
    assert all(sum(path.stat().st_size for path in folder.iterdir()) < 150_000 for folder in FOLDERS)


def test_it_answers_as_it_did(old: Old) -> None:
    check(old, answers_of(old.model, list(old.answers)))


def answers_of(model: LoadedModel, asked: list[str]) -> dict[str, Any]:
    task = model.task
    if isinstance(task, Classifies):
        rows = task.probabilities(model.network, model.tokenizer, asked)
        return {text: [task.labels[row.argmax()], float(row.max())] for text, row in zip(asked, rows, strict=True)}
    assert isinstance(task, Generates) and model.generation_config is not None
    greedy = model.generation_config.decoding(
        (model.tokenizer.eot_id,), {"temperature": 0.0, "max_new_tokens": NEW_TOKENS}
    )
    assert isinstance(greedy, Sampling)
    prompts = {prompt: task.prompt_ids(model.tokenizer, prompt) for prompt in asked}
    return {
        prompt: generated_text(task.generate(model.network, ids, greedy), model.tokenizer.decode, ())
        for prompt, ids in prompts.items()
    }


def check(old: Old, found: dict[str, Any]) -> None:
    """Compare answers with those of then."""
    assert found.keys() == old.answers.keys()
    for asked, then in old.answers.items():
        if isinstance(then, str):
            assert found[asked] == then
        else:
            label, probability = found[asked]
            assert (label, probability) == (then[0], pytest.approx(then[1], abs=TOLERANCE)), asked


def test_it_is_judged_as_it_was(old: Old, judged: Evaluated) -> None:
    found = {name: judged.estimates[name].value for name in old.metrics}
    assert found == pytest.approx(old.metrics, rel=TOLERANCE)


def test_it_is_packaged_and_served(old: Old, judged: Evaluated, tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "evaluation") as folder:
        write_evaluation(folder, old.model, judged, JUDGING, old.decides)
    packaged = package(old.model.folder, tmp_path / "evaluation", tmp_path / "package")
    check(old, asyncio.run(ask(old, packaged / "artifacts" / "model", tmp_path / "cache")))


class Shelf:
    """A registry that has one version, in the folder that a package holds."""

    def __init__(self, folder: Path, provenance: str) -> None:
        self.folder = folder
        self.version = RegisteredVersion(1, provenance)

    def champion(self, name: str) -> Any:
        return self.version

    def download(self, name: str, version: int, into: Path) -> Path:
        return Path(shutil.copytree(self.folder, into))


async def ask(old: Old, folder: Path, cache: Path) -> dict[str, Any]:
    """What the server answers whose follower has found the model in a registry."""
    name, metrics = old.model.recipe, Metrics()
    settings = dataclasses.replace(compose_serving(conf=CONF), recipes=[name])
    engine = Engine.of(settings, metrics)
    follower = Follower(
        names=[name],
        connect=lambda: Shelf(folder, old.model.provenance),
        engine=engine,
        metrics=metrics,
        cache=VersionCache(cache, own_loader(lambda found: load_model(found, verify=False))),
        poll_seconds=settings.poll_seconds,
        say=lambda _: None,
    )
    follower.look(name)
    assert follower.alias_states[name].describe() == {"version": 1, "source": "registry"}
    engine.start()
    try:
        app = build_app(Service(settings, engine, follower, metrics, 1_700_000_000), KeyRing(None))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return dict([pair async for pair in _asked(client, old)])
    finally:
        engine.stop()


async def _asked(client: httpx.AsyncClient, old: Old) -> Any:
    model = old.model.recipe
    if isinstance(old.model.task, Classifies):
        answer = await client.post("/v1/classify", json={"model": model, "input": list(old.answers)})
        assert answer.status_code == 200, answer.text
        for text, row in zip(old.answers, answer.json()["data"], strict=True):
            yield text, [row["label"], row["probability"]]
        return
    for prompt in old.answers:
        body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": NEW_TOKENS}
        answer = await client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        yield prompt, answer.json()["choices"][0]["text"]
