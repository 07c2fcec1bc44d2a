from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file, save_file

from langmill.errors import ConflictError, RegistryError, SpaceError, TrackingError, UndecidedError
from langmill.files import read_manifest, write_manifest
from langmill.registry import steps
from langmill.registry.promote import promote, repair, rollback
from langmill.registry.store import ModelRegistry
from langmill.registry.validate import Outcome, validate
from langmill.registry.versions import CHAMPION, PREVIOUS, ModelVersion, State, Tag
from tests.forked import Waiting
from tests.refused import refused
from tests.unit.registry.building import (
    LANGUAGE_MODEL,
    URI,
    build_model,
    recipe_of,
    registered,
    restamp_evaluation,
)

pytestmark = pytest.mark.faults
NAME = LANGUAGE_MODEL


@pytest.fixture
def workspace(registry_workspace: Path) -> Path:
    return registry_workspace


# Two at once, and power cuts


def test_of_two_processes_that_move_an_alias_one_wins(workspace: Path) -> None:
    at_once = multiprocessing.get_context("fork").Barrier(2)

    def race(version: int) -> str:
        registry = ModelRegistry(URI)
        registry.names()  # connected
        at_once.wait(60)
        try:
            registry.move_alias(NAME, "champion", version, None)
        except ConflictError:
            return "lost"
        return "won"

    racers = [Waiting(functools.partial(race, version)) for version in (1, 2)]
    for seed in (1, 2):
        registered(workspace, NAME, seed=seed, factor=1.0)
    for racer in racers:
        racer.begin()
    ended = [racer.end() for racer in racers]
    told = [said for _, said in ended]
    assert sorted(ended) == [(0, "lost"), (0, "won")]
    champion = ModelRegistry(URI).champion(NAME)
    assert champion is not None
    assert champion.version == told.index("won") + 1


def test_of_two_processes_that_register_one_model_one_makes_the_version(workspace: Path) -> None:
    racers = [Waiting(lambda: steps.package_and_register(recipe_of(NAME), URI).fresh) for _ in range(2)]
    for racer in racers:
        racer.begin()
    assert sorted(racer.end() for racer in racers) == [(0, False), (0, True)]
    assert [version.version for version in ModelRegistry(URI).versions(NAME)] == [1]


def test_a_process_that_dies_between_the_moves_is_repaired(workspace: Path) -> None:
    def promote_and_die() -> None:
        move = ModelRegistry.move_alias_locked

        def dying(self: ModelRegistry, name: str, alias: str, *rest: Any) -> None:
            if alias == "champion":
                os.kill(os.getpid(), signal.SIGKILL)
            move(self, name, alias, *rest)

        with mock.patch.object(ModelRegistry, "move_alias_locked", dying):
            promote(ModelRegistry(URI), NAME, 2, force="second", command="test")

    dead = Waiting(promote_and_die)
    for seed in (1, 2):
        registered(workspace, NAME, seed=seed, factor=1.0)
    registry = ModelRegistry(URI)
    promote(registry, NAME, 1, force="first", command="test")
    dead.begin()
    assert dead.end()[0] == -signal.SIGKILL
    assert registry.aliased(NAME, PREVIOUS) is not None
    assert "version 1 is still the champion" in str(repair(registry, NAME))
    champion = registry.champion(NAME)
    assert champion is not None
    assert champion.version == 1
    assert registry.aliased(NAME, PREVIOUS) is None
    promote(registry, NAME, 2, force="second", command="test")  # the lock died with its holder


# Broken models


def registered_weights(workspace: Path) -> Path:
    return next((workspace / ".langmill" / "artifacts").rglob("artifacts/model/model.safetensors"))


def rejected(workspace: Path, version: ModelVersion) -> str:
    """Validate a version, expect a refusal that lasts, and return its reason."""
    registry = ModelRegistry(URI)
    found = validate(registry, version, workspace / "build" / "models" / NAME, again=True)
    assert found.outcome is Outcome.failed
    noted = registry.version(NAME, version.version)
    assert (noted.state, noted.tags[Tag.reason]) == (State.rejected, found.reason)
    assert not validate(registry, noted, workspace / "build" / "models" / NAME, again=False).fresh
    verdict = steps.judge_version(recipe_of(NAME), noted, URI)
    assert verdict.outcome == "refused"
    assert found.reason in verdict.sentence
    with refused(RegistryError, "refused", "failed validation"):
        promote(registry, NAME, version.version, force="I insist", command="test")
    assert registry.champion(NAME) is None
    return found.reason


def test_a_model_whose_bytes_changed_is_refused_until_it_is_whole_again(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5, with_code=True)
    path = registered_weights(workspace)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    reason = rejected(workspace, version)
    assert f"damaged in {path.parent.as_uri()}: model.safetensors differ from manifest.json" in reason
    assert "Delete the version in MLflow's pages" in reason
    assert "DVC" not in reason

    path.write_bytes(whole)
    registry = ModelRegistry(URI)
    found = validate(registry, registry.version(NAME, 1), workspace / "build" / "models" / NAME, again=True)
    assert (found.outcome, found.reason) == (Outcome.passed, "")
    noted = registry.version(NAME, 1)
    assert float(noted.tags[Tag.latency]) > 0
    assert noted.state == State.validated
    assert Tag.reason not in noted.tags


def test_a_model_with_other_weights_is_refused_although_it_is_consistent(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5, with_code=True)
    path = registered_weights(workspace)
    state = load_file(path)
    name = next(iter(sorted(state)))
    state[name] = state[name] + 0.01 * torch.ones_like(state[name])
    save_file(state, path, metadata={"format": "pt"})
    facts = read_manifest(path.parent, verify=False)
    del facts["files"]
    write_manifest(path.parent, facts)
    assert "logits differ from the trained model's by up to" in rejected(workspace, version)


def test_an_empty_package_is_refused(workspace: Path) -> None:
    version = registered(workspace, NAME, seed=1, factor=0.5, with_code=True)
    shutil.rmtree(registered_weights(workspace).parents[2])
    assert "does not load or answer: The files of reviews-lm version 1 are gone from" in rejected(workspace, version)


def test_a_pickled_model_is_refused(workspace: Path) -> None:
    """A package in MLflow's older form would run whatever its pickle says."""
    version = registered(workspace, NAME, seed=1, factor=0.5, with_code=True)
    description = registered_weights(workspace).parents[2] / "MLmodel"
    text = description.read_text()
    lines = [line for line in text.splitlines() if "model_code_path" not in line]
    changed = "\n".join(lines).replace("mlflow.pyfunc.loaders.code_model", "mlflow.pyfunc.model")
    (description.parent / "python_model.pkl").write_bytes(b"\x80\x04N.")
    description.write_text(changed.replace("    code: code\n", "    code: code\n    python_model: python_model.pkl\n"))
    assert "pickle" in rejected(workspace, version)


# A registry that can't be asked


def test_a_locked_registry_is_said_and_nothing_moves(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langmill.tracking.connection._PROBE_SECONDS", 0.2)
    registered(workspace, NAME, seed=1, factor=1.0)
    holder = sqlite3.connect(workspace / ".langmill" / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with refused(TrackingError, "busy", "locked"):
            promote(ModelRegistry(URI), NAME, 1, force="test", command="test")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    registry = ModelRegistry(URI)
    assert registry.champion(NAME) is None
    assert registry.ledger.entries() == []


def test_a_registry_that_is_not_there_is_said() -> None:
    with refused(TrackingError, "unreachable", "http://127.0.0.1:9"):
        ModelRegistry("http://127.0.0.1:9").aliased(NAME, CHAMPION)


# What says nothing about a version


def undecided(workspace: Path, version: ModelVersion) -> str:
    """Validate a version, expect that nothing could be said, and return why; it is still to be validated."""
    registry = ModelRegistry(URI)
    with refused(UndecidedError, "undecided", "next run"):
        steps.validate_version(recipe_of(NAME), version, URI)
    noted = registry.version(NAME, version.version)
    assert noted.state == State.registered
    with refused(RegistryError, "undecided", "never validated"):
        promote(registry, NAME, version.version, force="I insist", command="test")
    return noted.tags[Tag.reason]


@pytest.fixture
def unasked(workspace: Path) -> ModelVersion:
    """A registered version that was never validated."""
    return steps.package_and_register(recipe_of(NAME), URI).version


def test_no_time_rejects_nothing(workspace: Path, unasked: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("langmill.registry.validate._SECONDS", 0.05)
        assert "did not answer within" in undecided(workspace, unasked)
    # The next run asks again. That takes seconds, so it is done here only: the others leave the version just so.
    again = steps.validate_version(recipe_of(NAME), ModelRegistry(URI).version(NAME, unasked.version), URI)
    assert (again.outcome, again.fresh) == (Outcome.passed, True)
    assert Tag.reason not in ModelRegistry(URI).version(NAME, unasked.version).tags


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed from outside (SIGKILL)"),
        ("import sys; sys.stderr.write('MemoryError: '); sys.exit(75)", "It could not be asked: MemoryError"),
    ],
    ids=["killed", "memory"],
)
def test_a_machine_without_memory_rejects_nothing(
    workspace: Path, unasked: ModelVersion, monkeypatch: pytest.MonkeyPatch, program: str, told: str
) -> None:
    other = workspace / "langmill" / "validate.py"
    other.parent.mkdir()
    (other.parent / "probe.py").write_text(program)
    with monkeypatch.context() as patch:
        patch.setattr("langmill.registry.validate.__file__", str(other))
        assert told in undecided(workspace, unasked)


def elsewhere(registry: ModelRegistry, name: str, version: int) -> str:
    """Where packages are that MLflow has to fetch: local ones are read in place."""
    return f"mlflow-artifacts:/models/{name}/{version}"


def test_a_registry_that_goes_away_rejects_nothing(
    workspace: Path, unasked: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: object, **more: object) -> str:
        raise ConnectionError("Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "location", elsewhere)
        patch.setattr("mlflow.artifacts.download_artifacts", unreachable)
        assert "can't be reached" in undecided(workspace, unasked)


def test_a_full_disk_rejects_nothing(workspace: Path, unasked: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "location", elsewhere)
        patch.setattr("mlflow.artifacts.download_artifacts", full)
        assert "No space is left" in undecided(workspace, unasked)


# A full disk


def test_a_full_disk_leaves_the_champion_where_it_was(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        registered(workspace, NAME, seed=seed, factor=1.0)
    registry = ModelRegistry(URI)
    promote(registry, NAME, 1, force="first", command="test")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("langmill.registry.ledger.os.fsync", full)
        with refused(SpaceError, "full", "ledger.jsonl"):
            promote(registry, NAME, 2, force="second", command="test")
    repair(registry, NAME)
    champion = registry.champion(NAME)
    assert champion is not None
    assert champion.version == 1


# A rollback does not wait


def test_a_rollback_does_not_wait_for_an_upload(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for another model's, and not for one of the very model."""
    for seed in (1, 2):
        registered(workspace, NAME, seed=seed, factor=1.0)
    registry = ModelRegistry(URI)
    for version in (1, 2):
        promote(registry, NAME, version, force="test", command="test")
    uploading, rolled_back = threading.Event(), threading.Event()
    upload = MlflowClient.log_artifacts

    def slow(*arguments: object, **more: object) -> None:
        uploading.set()
        assert rolled_back.wait(60)
        upload(*arguments, **more)

    monkeypatch.setattr(MlflowClient, "log_artifacts", slow)
    build_model(workspace, NAME, seed=3)
    restamp_evaluation(workspace, NAME, 1.0)
    with ThreadPoolExecutor() as pool:
        made = [pool.submit(steps.package_and_register, recipe_of(NAME), URI) for _ in range(2)]
        try:
            assert uploading.wait(60)
            rollback(registry, NAME, reason="now", command="test")
        finally:
            rolled_back.set()
        results = [each.result(60) for each in made]
    assert sorted(result.fresh for result in results) == [False, True]
    assert {result.version.version for result in results} == {3}
    champion = registry.champion(NAME)
    assert champion is not None
    assert champion.version == 1
