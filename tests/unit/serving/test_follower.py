"""Which version is in service, whatever the registry, the disk and the versions do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langmill.config.sections import TrialMode
from langmill.errors import ModelError
from langmill.files import read_json, sha256_bytes, write_json
from langmill.serving import follower as follower_module
from langmill.serving.alias_state import RETRY_NAME, RegisteredVersion
from langmill.serving.engine import Engine
from langmill.serving.follower import Follower
from langmill.serving.metrics import Metrics
from langmill.serving.trial.trials import Trials
from langmill.serving.version_cache import VersionCache, own_loader
from langmill.serving.warm_up import warm_up
from langmill.tasks.loading import LoadedModel
from tests.refused import refused
from tests.unit.serving.conftest import TRIAL, Judge, Shelf, Writer, loaded, loaded_version

pytestmark = pytest.mark.unit


class World:
    """A follower of one model, with everything around it."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self.shelf = Shelf()
        self.metrics = metrics
        self.folder = folder
        self.said: list[str] = []
        self.unloadable: set[str] = set()
        self.nonsense = False
        self.while_loading: list[dict[str, Any]] = []
        self.restart()

    def restart(self) -> None:
        """A new process over the same cache."""
        self.engine = Engine(max_running=1, max_waiting=1, metrics=self.metrics, stalled_seconds=4.0)
        self.follower = Follower(
            names=["m"],
            connect=lambda: self.shelf,
            engine=self.engine,
            metrics=self.metrics,
            cache=VersionCache(self.folder, own_loader(self.load)),
            poll_seconds=0.02,
            say=self.said.append,
        )

    def load(self, folder: Path) -> LoadedModel:
        content = (folder / "weights").read_text(encoding="utf-8")
        self.while_loading.append(self.described)
        if content in self.unloadable:
            raise ModelError(f"{folder} does not fit the network.")
        model = loaded(Writer(content))
        if self.nonsense:
            with torch.no_grad():
                next(model.network.parameters()).fill_(float("nan"))
        return model

    def look(self, version: int | None = None, provenance: str = "") -> int | None:
        """Point the alias somewhere, look once, and say which version is in service."""
        if version is not None:
            self.shelf.alias = RegisteredVersion(version, provenance or f"p{version}")
        self.follower.look("m")
        return self.version

    @property
    def version(self) -> int | None:
        found = self.engine.loaded("m")
        return None if found is None else found.version

    @property
    def described(self) -> dict[str, Any]:
        return self.follower.alias_states["m"].describe()

    def counted(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"langmill_{name}_total", {"model": "m"})


@pytest.fixture
def world(tmp_path: Path, metrics: Metrics) -> Iterator[World]:
    yield World(tmp_path, metrics)


def test_follows_the_alias_forth_and_back(world: World) -> None:
    assert world.look() is None
    assert "names no champion" in world.described["registry"]
    assert [world.look(1), world.look(1), world.look(2), world.look(1)] == [1, 1, 2, 1]
    assert world.described == {"version": 1, "source": "registry"}
    assert [(each.get("version"), each["coming"]) for each in world.while_loading] == [(None, 1), (1, 2), (2, 1)]
    assert world.said == [
        "m: version 1 is in service.",
        "m: version 2 is in service, in place of 1.",
        "m: version 1 is in service, in place of 2.",
    ]
    assert world.shelf.downloads == [1, 2], "going back must not download again"
    assert (world.counted("swaps"), world.counted("swap_failures")) == (3, 0)
    assert world.metrics.registry.get_sample_value("langmill_model_version", {"model": "m"}) == 1


def test_a_damaged_version_never_replaces_a_good_one(world: World) -> None:
    world.look(1)
    world.shelf.damaged.add(2)
    assert [world.look(2), world.look(2), world.look(2)] == [1, 1, 1]
    assert world.shelf.downloads == [1, 2, 2], "fetched once more in case the line was to blame, then left alone"
    assert world.described["refused"]["version"] == 2
    assert "damaged" in world.described["refused"]["reason"]
    assert world.counted("swap_failures") == 1
    assert len(world.said) == 2
    assert "version 2 is not fit for service, version 1 stays in service" in world.said[1]
    assert not (world.folder / "m" / "2").exists()
    assert world.look(3) == 3
    assert "refused" not in world.described


def test_a_damaged_version_is_tried_again_when_it_is_mended_or_someone_asks(world: World) -> None:
    world.look(1)
    world.shelf.damaged.add(2)
    assert world.look(2) == 1
    reason = world.described["refused"]["reason"]
    assert all(said in reason for said in ("file:///registry/m/2", "is tried again", "langmill rollback m")), reason
    world.shelf.damaged.clear()
    assert world.look() == 1, "nothing has changed that can be seen"
    world.shelf.stamps = "mended"
    assert world.look() == 2
    world.unloadable.add("m 3")
    assert world.look(3) == 2
    world.unloadable.clear()
    assert world.look() == 2
    (world.folder / RETRY_NAME).touch()
    assert world.look() == 3


def test_a_copy_that_was_damaged_on_the_way_is_fetched_again(world: World) -> None:
    world.shelf.damaged_once.add(1)
    assert world.look(1) == 1
    assert world.shelf.downloads == [1, 1]
    assert world.counted("swap_failures") == 0


def test_a_version_that_does_not_load_is_tried_again_only_when_the_alias_has_moved(world: World) -> None:
    world.look(1)
    world.unloadable.add("m 2")
    assert [world.look(2), world.look(2)] == [1, 1]
    assert world.counted("swap_failures") == 1
    assert world.look(1) == 1
    assert "refused" not in world.described, "the alias names the version in service: nothing is wrong any more"
    world.unloadable.clear()
    assert world.look(2) == 2


def test_a_version_that_answers_nonsense_is_refused(world: World) -> None:
    world.look(1)
    world.nonsense = True
    assert world.look(2) == 1
    assert "not a number" in world.described["refused"]["reason"]


def test_the_first_version_may_be_refused_too(world: World) -> None:
    world.shelf.damaged.add(1)
    assert world.look(1) is None
    assert "nothing is in service" in world.said[0]


def test_the_registry_may_be_down_while_serving(world: World) -> None:
    world.look(1)
    world.shelf.down = True
    assert [world.look(2), world.look(2)] == [1, 1]
    assert "does not answer" in world.described["registry"]
    assert world.counted("registry_failures") == 2
    world.shelf.down = False
    assert world.look() == 2
    assert "registry" not in world.described


def test_an_alias_that_is_gone_takes_nothing_out_of_service(world: World) -> None:
    world.look(1)
    world.shelf.alias = None
    assert world.look() == 1
    assert "version 1 goes on" in world.described["registry"]


def test_starts_from_the_cache_when_the_registry_is_down(world: World) -> None:
    world.look(1)
    world.restart()
    world.shelf.down = True
    assert world.look() == 1
    assert world.described["source"] == "cache"
    assert "does not answer" in world.described["registry"]
    assert "from the local cache, since the registry does not answer" in world.said[-1]
    world.shelf.down = False
    assert world.look() == 1
    assert world.described == {"version": 1, "source": "registry"}
    assert world.look(2) == 2


def test_a_damaged_cache_is_not_served(world: World) -> None:
    world.look(1)
    world.restart()
    world.shelf.down = True
    (world.folder / "m" / "1" / "weights").write_text("m 1 but not quite", encoding="utf-8")
    assert world.look() is None
    world.shelf.down = False
    assert world.look() == 1
    assert world.shelf.downloads == [1, 1]


def test_a_registry_set_up_anew_counts_from_one_again(world: World) -> None:
    world.look(1, "before")
    assert world.look(1, "after") == 1
    assert world.shelf.downloads == [1, 1]
    assert world.said[-1] == "m: version 1 is in service, in place of 1."
    kept = read_json(world.folder / "m" / "champion.json")
    assert {key: kept[key] for key in ("version", "provenance", "digests")} == {
        "version": 1, "provenance": "after", "digests": {},
    }  # fmt: skip


def test_a_generation_config_that_has_changed_makes_another_version(world: World) -> None:
    for text in ("first", "second"):  # same number, same provenance, same weights
        world.shelf.generation_config = text
        digest = sha256_bytes(text.encode())
        world.shelf.alias = RegisteredVersion(1, "p1", {"generation_config.json": digest})
        assert [world.look(), world.look()] == [1, 1]
        served = world.folder / "m" / "1" / "generation_config.json"
        assert served.read_text(encoding="utf-8") == text
    assert world.shelf.downloads == [1, 1], "one download each"
    assert world.counted("swaps") == 2
    world.restart()
    assert world.look() == 1
    assert world.shelf.downloads == [1, 1], "what lies in the cache is the version that is asked for"


def test_files_that_are_whole_but_not_those_that_were_registered_are_refused(world: World) -> None:
    world.look(1)
    world.shelf.alias = RegisteredVersion(2, "p2", {"weights": "0" * 64})
    assert world.look() == 1
    assert world.described["refused"]["version"] == 2
    assert world.shelf.downloads == [1, 2, 2]


def test_a_cache_of_a_server_before_digests_is_read(world: World) -> None:
    world.look(1)
    write_json(world.folder / "m" / "champion.json", {"version": 1, "provenance": "p1"})
    world.restart()
    world.shelf.down = True
    assert world.look() == 1


def test_a_full_disk_is_not_the_versions_fault(world: World) -> None:
    world.look(1)
    world.shelf.full_disk = True
    assert world.look(2) == 1
    assert "No space left" in world.described["registry"]
    world.shelf.full_disk = False
    assert world.look() == 2
    assert world.counted("swap_failures") == 0


def test_keeps_the_version_in_service_and_the_one_before(world: World) -> None:
    for version in (1, 2, 3, 4):
        world.look(version)
    assert sorted(path.name for path in (world.folder / "m").iterdir() if path.is_dir()) == ["3", "4"]


def test_a_registry_that_hangs_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.look(1)
    world.restart()
    answer, calls = threading.Event(), []
    ask = world.shelf.champion

    def hanging(name: str) -> Any:
        calls.append(name)
        assert answer.wait(10)
        return ask(name)

    monkeypatch.setattr(world.shelf, "champion", hanging)
    monkeypatch.setattr(follower_module, "REGISTRY_TIMEOUT_SECONDS", 0.05)
    assert [world.look(), world.look()] == [1, 1]
    assert world.described["source"] == "cache"
    assert calls == ["m"], "one question at a time"
    world.shelf.alias = RegisteredVersion(2, "p2")
    answer.set()
    wait_for(lambda: world.look() == 2)


def test_follows_by_itself(world: World) -> None:
    world.shelf.alias = RegisteredVersion(1, "p1")
    world.follower.start()
    assert world.follower.looked.wait(5)
    assert world.version == 1
    world.shelf.alias = RegisteredVersion(2, "p2")
    wait_for(lambda: world.version == 2)
    assert world.follower.failure() is None
    world.follower.stop()
    assert "has ended" in str(world.follower.failure())


def test_a_move_that_is_seen_from_here_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.follower, "_poll_seconds", 3600.0)
    world.shelf.alias = RegisteredVersion(1, "p1")
    world.follower.start()
    assert world.follower.looked.wait(5)
    world.shelf.alias = RegisteredVersion(2, "p2")
    wait_for(lambda: world.version == 2)
    world.follower.stop()


def trying(world: World) -> Trials:
    """Let the world's follower try versions on live traffic."""
    trial = replace(TRIAL, mode=TrialMode.shadow)
    world.follower._trials = Trials(trial, world.folder, lambda *_: "", world.metrics.registry, world.said.append)
    return world.follower._trials


def test_a_challenger_is_tried_and_goes_into_service_without_loading_it_again(world: World) -> None:
    trials = trying(world)
    world.look(1)
    world.shelf.other = RegisteredVersion(2, "p2"), False
    world.follower.look_beside("m")
    world.follower.look_beside("m")
    assert trials.any
    assert world.said[-1] == "m: version 2 is on trial and gets a copy of 100% of the requests."
    candidate = trials.loaded("m", RegisteredVersion(2, "p2"))
    assert world.look(2) == 2
    assert world.engine.loaded("m") is candidate
    world.shelf.other = RegisteredVersion(1, "p1"), True
    world.follower.look_beside("m")
    assert trials.any, "it goes on beside the previous version"
    assert world.shelf.downloads == [1, 2]
    world.shelf.other = None
    world.follower.look_beside("m")
    assert not trials.any


def test_a_new_champion_is_tried_beside_the_previous_one_and_an_old_one_is_not(world: World) -> None:
    world.look(1)
    world.look(2)
    world.restart()
    trials = trying(world)
    assert world.look(2) == 2
    world.shelf.other = RegisteredVersion(1, "p1"), True
    world.follower.look_beside("m")
    assert not trials.any, "that promotion was before this server's time"
    assert world.look(3) == 3
    world.shelf.other = RegisteredVersion(2, "p2"), True
    world.follower.look_beside("m")
    assert "version 2 gets a copy of 100% of the requests, to compare version 3 with" in world.said[-1]


def test_a_challenger_that_does_not_load_is_told_of_once(world: World) -> None:
    trials = trying(world)
    world.look(1)
    world.unloadable.add("m 2")
    world.shelf.other = RegisteredVersion(2, "p2"), False
    for _ in range(3):
        world.follower.look_beside("m")
    assert not trials.any
    assert [said for said in world.said if "can't be tried" in said] == [world.said[-1]]
    assert world.version == 1
    assert "refused" not in world.described, "the version in service has nothing to do with it"


def test_a_warm_up_asks_for_what_the_task_offers() -> None:
    judge, writer = Judge(), Writer()
    warm_up(loaded_version("m", 1, judge))
    warm_up(loaded_version("m", 1, writer))
    assert (len(judge.batches), writer.tokens_made) == (1, 2)
    with refused(ModelError, "unsupported"):
        warm_up(loaded_version("m", 1, object()))
    judge.labels = ("one", "two", "three")
    with refused(ModelError, "mismatch"):
        warm_up(loaded_version("m", 1, judge))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
