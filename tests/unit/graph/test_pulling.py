import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.cli import main as dvc

from langmill.errors import GraphError
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from langmill.graph.process import Outcome
from langmill.graph.pulling import Pulled, pull
from tests.refused import refused
from tests.unit.graph.running import make, prepare

pytestmark = pytest.mark.unit


def clone(workspace: Path, into: Path) -> Path:
    """What Git would bring elsewhere: no build/, no cache; with the remote of the original."""
    into.mkdir()
    for name in ("dvc.yaml", "dvc.lock", "settings.yaml", "text.txt"):
        shutil.copy(workspace / name, into / name)
    (into / ".dvc").mkdir()
    shutil.copy(workspace / ".dvc" / "config", into / ".dvc" / "config")
    subprocess.run(["git", "init", "-q"], cwd=into, check=True)
    return into


def test_pull_brings_what_was_made_and_nothing_is_made_again(workspace, tmp_path, monkeypatch):
    prepare("settings", "copy@one", "judge@one")
    config = workspace / ".dvc" / "config"
    with refused(GraphError, "missing", "`langmill remote ADDRESS`"):
        pull(read_graph())
    remote = tmp_path / "remote"
    config.write_text(f"{config.read_text()}    remote = shared\n['remote \"shared\"']\n    url = {remote}\n")
    assert dvc(["push", "-q"]) == 0
    there = clone(workspace, tmp_path / "clone")
    monkeypatch.chdir(there)
    assert pull(read_graph().for_recipes(["two"])) == Pulled(("settings",), ())
    assert not (there / "build/copies/one").exists()
    assert pull(read_graph()) == Pulled(("settings", "copy@one", "judge@one"), ())
    assert (there / "build/copies/one/out.txt").read_text() == "hello\n"
    assert all(state.fresh for state in freshness_of(read_graph().for_recipes(["one"])).values())
    assert make(there, "settings", "copy@one", "judge@one") == [Outcome.unchanged] * 3
    assert freshness_of(read_graph())["copy@two"].reasons == ("it has not run yet",)


def test_pull_names_what_the_remote_lacks(workspace, tmp_path, monkeypatch, capfd):
    prepare("settings", "copy@one", "judge@one")
    remote = tmp_path / "remote"
    config = workspace / ".dvc" / "config"
    config.write_text(f"{config.read_text()}    remote = shared\n['remote \"shared\"']\n    url = {remote}\n")
    assert dvc(["push", "-q", "settings", "copy@one"]) == 0
    monkeypatch.chdir(clone(workspace, tmp_path / "clone"))
    assert pull(read_graph()) == Pulled(("settings", "copy@one"), ("judge@one",))
    assert "Traceback" not in capfd.readouterr().err
