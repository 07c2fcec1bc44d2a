"""`langmill remote`, `fsck` and what they find: a flipped byte wherever it is."""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.errors import IntegrityError
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from langmill.graph.outputs import Outputs
from tests.refused import refused
from tests.unit.cli.test_diff import BEFORE
from tests.unit.data.contract.versions import ROOT, dvc, git, keep_version, make_workspace

pytestmark = pytest.mark.unit


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    make_workspace(folder)
    shutil.copytree(ROOT / "conf/operation", folder / "conf/operation")
    monkeypatch.chdir(folder)
    keep_version(folder, BEFORE, "v1")
    return folder


def flip(path: Path) -> Path:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".dir"))


def clone(workspace: Path, into: Path, files: Iterable[str] = ("dvc.yaml", "dvc.lock", "conf", ".dvc/config")) -> Path:
    """What Git brings of a workspace."""
    git(workspace, "add", ".")
    git(workspace, "commit", "-qm", "all", "--allow-empty")
    git(workspace, "clone", "-q", ".", str(into))
    assert all((into / name).exists() for name in files)
    return into


def test_one_command_sets_a_remote_that_is_checked_and_keeps_credentials(workspace, capsys):
    assert call(["remote", "s3://bucket/a"]) == 0
    dvc(workspace, "remote", "modify", "shared", "endpointurl", "http://here")
    assert call(["remote", "s3://bucket/a"]) == 0
    settings = configparser.ConfigParser()
    settings.read(workspace / ".dvc/config")
    section = settings["'remote \"shared\"'"]
    assert (section["url"], section["verify"], section["endpointurl"]) == ("s3://bucket/a", "True", "http://here")
    assert settings["core"]["remote"] == "shared"
    assert call(["remote", "gs://other", "--local"]) == 0
    assert "gs://other" in (workspace / ".dvc/config.local").read_text()
    capsys.readouterr()
    assert call(["remote", "s3://bucket/b"]) == 0
    assert "shared is s3://bucket/b (was s3://bucket/a)" in capsys.readouterr().out
    assert "endpointurl" not in (workspace / ".dvc/config").read_text()


def test_what_is_pushed_and_pulled_leaves_nothing_to_redo(workspace, tmp_path, monkeypatch, capsys):
    remote = tmp_path / "remote"
    assert call(["remote", str(remote)]) == 0
    assert dvc(workspace, "push") == 0
    there = clone(workspace, tmp_path / "clone")
    monkeypatch.chdir(there)
    assert call(["pull"]) == 0
    assert all(state.fresh for state in freshness_of(read_graph()).values())
    assert call(["fsck", "--remote"]) == 0
    assert "all are what they were" in capsys.readouterr().out


def test_a_flipped_byte_of_the_remote_is_found_by_pull_fsck_and_diff(workspace, tmp_path, monkeypatch, capsys):
    remote = tmp_path / "remote"
    assert call(["remote", str(remote)]) == 0
    assert dvc(workspace, "push") == 0
    there = clone(workspace, tmp_path / "clone")
    damaged = flip(objects(remote)[0])
    capsys.readouterr()
    assert call(["fsck", "--remote"]) == 1
    said = capsys.readouterr()
    assert str(damaged) in said.out
    assert "build/documents/tiny/" in said.out
    (listed,) = remote.rglob("*.dir")
    assert f"Delete it there together with {listed}" in said.out
    monkeypatch.chdir(there)
    assert call(["pull"]) != 0
    assert f"together with {listed}" in capsys.readouterr().err
    with refused(IntegrityError, "damaged", str(damaged), "dvc push"):
        outputs = Outputs()
        outputs.files(outputs.noted()["build/documents/tiny"])
    damaged.unlink()
    listed.unlink()  # or else DVC believes that the remote has all of the folder
    assert dvc(workspace, "push") == 0
    assert call(["pull"]) == 0


def test_without_the_cache_an_output_is_checked_by_its_manifest(workspace, capsys):
    shutil.rmtree(workspace / ".dvc/cache")
    assert call(["fsck"]) == 0
    flip(workspace / "build/documents/tiny/train.parquet")
    assert call(["fsck"]) == 1
    assert "build/documents/tiny/train.parquet: it is not what manifest.json" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["cache", "output", "missing", "surplus", "list"])
def test_fsck_finds_what_is_not_what_it_was(workspace, capsys, place):
    assert call(["fsck"]) == 0
    capsys.readouterr()
    document = workspace / "build/documents/tiny/train.parquet"
    if place == "cache":
        named = str(flip(objects(workspace / ".dvc/cache/files")[0]).relative_to(workspace))
    elif place == "list":
        (path,) = (workspace / ".dvc/cache/files").rglob("*.dir")
        named = str(flip(path).relative_to(workspace))
    elif place == "output":
        named = str(flip(document).relative_to(workspace))
    elif place == "missing":
        document.unlink()
        named = "build/documents/tiny/train.parquet: it is missing"
    else:
        (document.parent / "more.txt").write_text("more")
        named = "build/documents/tiny/more.txt"
    assert call(["fsck"]) == 1
    said = capsys.readouterr()
    assert named in said.out
    assert "not what they should be" in said.err


def test_a_remote_that_is_not_checked_is_told(workspace, tmp_path, capsys):
    dvc(workspace, "remote", "add", "-d", "plain", str(tmp_path / "remote"))
    assert call(["fsck"]) == 0
    assert "`dvc remote modify plain verify true`" in capsys.readouterr().out
    git(workspace, "checkout", "-q", ".dvc/config")
    assert call(["fsck", "--remote"]) == 1
    assert "`langmill remote ADDRESS`" in capsys.readouterr().err
