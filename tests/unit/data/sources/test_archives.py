"""Members are taken out of an archive by name; links and names outside it are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from langmill.data.sources.archives import extract
from langmill.errors import SourceError
from tests.refused import refused
from tests.unit.data.settings import file_format
from tests.unit.data.sources.archives import tar
from tests.unit.data.sources.fetching import contents

pytestmark = pytest.mark.unit


def test_tar_members_are_read_by_name_and_links_are_not_followed(into: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    links = {"films/link.txt": "../../secret.txt"}
    archive = tar(tmp_path / "films-1.0.tar.gz", {"films/a.txt": "a", "films/b.txt": "b"}, links)
    extract(archive, ["films/*.txt"], file_format(), into)
    assert contents(into) == {"films/a.txt": "a", "films/b.txt": "b"}
    with refused(SourceError, "missing", "films/link.txt"):
        extract(archive, ["films/link.txt"], file_format(), into)


def test_zip_links_are_not_followed(into: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with refused(SourceError, "missing", "link.txt"):
        extract(tmp_path / "a.zip", ["link.txt"], file_format(), into)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_members_outside_the_archive_are_refused(into: Path, tmp_path: Path, name: str) -> None:
    archive = tar(tmp_path / "films-1.0.tar.gz", {name: "x"}, {})
    with refused(SourceError, "impossible", "outside"):
        extract(archive, ["*.txt"], file_format(), into)
    assert contents(into) == {}


def test_an_archive_that_is_none(into: Path, tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("something else")
    with refused(SourceError, "unreadable", "a.whl"):
        extract(tmp_path / "a.whl", ["a"], file_format(), into)
