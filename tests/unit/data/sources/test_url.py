"""Files at addresses: a server of this machine, S3 (moto), the hub, memory, a path; what is recorded and refused."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from langmill.config.sections import Source
from langmill.data.sources.base import CorpusSource, build_source, differences
from langmill.errors import Code, ConfigError, SourceError
from langmill.files import sha256_bytes
from tests.refused import refused
from tests.unit.data.settings import file_format
from tests.unit.data.sources.fetching import contents

pytestmark = pytest.mark.unit
A, B = b"text\nhello\n", b"text\ngood bye\n"


def url(*urls: str, **options: Any) -> CorpusSource:
    return build_source(Source("url", [], None, {"urls": list(urls), **options}), "x.yaml")


def fetched(source: CorpusSource, into: Path, downloads: Path, before: Any = None) -> dict[str, str]:
    """What lies there after the source was looked at, as `langmill refresh` does, and fetched."""
    source.recorded = source.fingerprint(before, downloads)
    for path in into.iterdir():
        path.unlink()
    source.fetch(file_format(), into, downloads)
    return contents(into)


class Server:
    """Files over HTTP, with an ETag where it is told to give one.

    Attributes:
        files: Their bytes, by path.
        bodies: The paths whose bytes were asked for.
    """

    def __init__(self, *, tags: bool) -> None:
        self.files: dict[str, bytes] = {}
        self.bodies: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = self.path.partition("?")[0]
                data = outer.files.get(path)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                if tags and data is not None:
                    self.send_header("ETag", f'"{sha256_bytes(data)[:8]}"')
                self.end_headers()
                if body:
                    outer.bodies.append(path)
                    self.wfile.write(data or b"")

            def log_message(self, format: str, *arguments: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(params=[True, False], ids=["tags", "no tags"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(tags=request.param)
    server.files["/deep/a%20b.csv"] = A
    yield server
    server.stop()


def test_a_file_over_http_is_known_by_its_digest(server: Server, into: Path, tmp_path: Path) -> None:
    source = url(f"{server.address}/deep/a%20b.csv?key=1")
    assert source.can_change
    assert fetched(source, into, tmp_path / "downloads") == {"a b.csv": A.decode()}
    assert source.recorded is not None and source.recorded["a b.csv"]["sha256"] == sha256_bytes(A)
    assert len(server.bodies) == 1  # what was read for the digest is what is brought
    assert "key=1" not in str(source.facts())


def test_what_changes_is_seen_and_what_does_not_is_not_read_again(tmp_path: Path) -> None:
    server = Server(tags=True)
    server.files["/a.csv"] = A
    source, downloads = url(f"{server.address}/a.csv"), tmp_path / "downloads"
    before = source.fingerprint(None, downloads)
    assert source.fingerprint(before, downloads) == before and len(server.bodies) == 1
    server.files["/a.csv"] = B
    after = source.fingerprint(before, downloads)
    assert differences(before, after) == ["a.csv has changed"] and len(server.bodies) == 2
    server.stop()


def test_other_bytes_than_recorded_are_refused(server: Server, into: Path, tmp_path: Path) -> None:
    source = url(f"{server.address}/a.csv")
    server.files["/a.csv"] = A
    source.recorded = source.fingerprint(None, tmp_path / "one")
    server.files["/a.csv"] = B
    with refused(SourceError, "changed", "a.csv", "langmill refresh"):
        source.fetch(file_format(), into, tmp_path / "another machine")


def test_a_required_digest_pins_a_file(server: Server, into: Path, tmp_path: Path) -> None:
    server.files["/a.csv"] = A
    address = f"{server.address}/a.csv"
    pinned = url(address, sha256={"a.csv": sha256_bytes(A).upper()})
    assert not pinned.can_change
    pinned.fetch(file_format(), into, tmp_path / "downloads")
    assert contents(into) == {"a.csv": A.decode()}
    with refused(SourceError, "damaged", "a.csv", sha256_bytes(A), "0" * 64):
        url(address, sha256={"a.csv": "0" * 64}).fetch(file_format(), into, tmp_path / "downloads")


@pytest.mark.parametrize(
    ("path", "code", "told"), [("gone.csv", "missing", "source.options.urls"), ("film.avi", "unreadable", ".avi")]
)
def test_an_address_without_text(server: Server, path: str, code: Code, told: str, into: Path, tmp_path: Path) -> None:
    server.files["/film.avi"] = b"x"
    with refused(SourceError, code, told):
        fetched(url(f"{server.address}/{path}"), into, tmp_path / "downloads")


def test_a_server_that_does_not_answer_may_do_so_later(into: Path, tmp_path: Path) -> None:
    with refused(SourceError, "unreachable", "127.0.0.1:9/a.csv"):
        fetched(url("http://127.0.0.1:9/a.csv"), into, tmp_path / "downloads")


def test_a_signed_address_is_in_no_sentence(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://host/a.csv?X-Amz-Signature=hush"

    def answer(*_: object, **__: object) -> None:
        raise OSError(f"503, message='Slow down', url='{address}'")

    monkeypatch.setattr("fsspec.core.url_to_fs", answer)
    with refused(SourceError, "unreachable", "Slow down", "https://host/a.csv?…'") as caught:
        fetched(url(address), into, tmp_path)
    assert "hush" not in str(caught.value)


def test_a_folder_in_memory_with_what_can_be_read(into: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name, data in {"a.csv": A, "deep/b.csv": B, "deep/c.bin": b"x", ".hidden.csv": A}.items():
        memory.pipe(f"/corpus/{name}", data)
    source = url("memory://corpus/")
    assert fetched(source, into, tmp_path / "downloads") == {"a.csv": A.decode(), "deep/b.csv": B.decode()}
    assert source.fetch(file_format(), tmp_path / "again", tmp_path / "downloads") == {".bin": 1, ".csv": 1}
    before = source.recorded
    memory.pipe("/corpus/d.csv", A)
    memory.rm("/corpus/a.csv")
    after = source.fingerprint(before, tmp_path / "downloads")
    assert differences(before, after) == ["a.csv is gone", "d.csv is new"]
    with refused(SourceError, "changed", "langmill refresh"):
        source.fetch(file_format(), into, tmp_path / "downloads")
    memory.rm("/corpus", recursive=True)


def test_a_pattern_of_paths(into: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / name).write_bytes(A)
    source = url(f"file://{tmp_path}/*.csv")
    assert list(fetched(source, into, tmp_path / "downloads")) == ["a.csv", "b.csv"]
    assert source.facts()["urls"] == ["file://*.csv"]  # no path of this machine


def test_a_sample_has_some_files_of_each_ending(into: Path, tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.csv").write_bytes(A + b"x\n" * (9 - number))
    (tmp_path / "c.txt").write_bytes(A)
    url(f"file://{tmp_path}/*.*").sample(file_format(), into, tmp_path / "downloads")
    assert sorted(contents(into)) == ["6.csv", "7.csv", "8.csv", "c.txt"]


def test_two_files_of_one_name(into: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_bytes(A)
    with refused(SourceError, "duplicate", "a.csv"):
        fetched(url(f"file://{tmp_path}/one/a.csv", f"file://{tmp_path}/two/a.csv"), into, tmp_path / "downloads")


def test_a_bucket(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's own protocol, against moto's server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    storage = {"endpoint_url": f"http://{host}:{port}"}
    bucket = fsspec.filesystem("s3", skip_instance_cache=True, **storage)
    try:
        bucket.mkdir("letters")
        bucket.pipe({"letters/in/a.csv": A, "letters/in/b.csv": B, "letters/other.csv": A})
        source, downloads = url("s3://letters/in/*.csv", storage=storage), tmp_path / "downloads"
        assert fetched(source, into, downloads) == {"a.csv": A.decode(), "b.csv": B.decode()}
        before = source.recorded
        bucket.pipe({"letters/in/b.csv": B})  # the same bytes at a later time
        assert differences(before, source.fingerprint(before, downloads)) == []
        bucket.pipe({"letters/in/b.csv": A})
        assert differences(before, source.fingerprint(before, downloads)) == ["b.csv has changed"]
        with refused(SourceError, "changed", "b.csv"):
            source.fetch(file_format(), into, downloads)
        with refused(SourceError, "missing", "s3://letters/gone.csv"):
            url("s3://letters/gone.csv", storage=storage).fingerprint(None, downloads)
    finally:
        server.stop()


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with refused(SourceError, "missing", 'pip install "langmill[gcs]"'):
        url("gs://letters/a.csv").fingerprint(None, tmp_path)


class Hub(BaseHTTPRequestHandler):
    """What the hub answers to `HfFileSystem` of the data set me/films."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        path, listed = self.path.partition("?")[0], "/api/datasets/me/films/tree/main"
        name = path.removeprefix("/datasets/me/films/resolve/main/")
        if path == "/api/datasets/me/films":
            self.answer(json.dumps({"id": "me/films", "sha": "6" * 40, "siblings": []}).encode())
        elif path.startswith(listed):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": sha256_bytes(data)[:40]}
                for name, data in self.files.items()
            ]
            folder = [] if path != listed else [{"type": "directory", "path": "data", "oid": "1" * 40}]
            self.answer(json.dumps([*folder, *tree]).encode())
        else:
            self.answer(self.files.get(name))

    do_HEAD = do_GET

    def answer(self, data: bytes | None) -> None:
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("X-Error-Code", "RepoNotFound" if "none" in self.path else "EntryNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data or b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


def test_the_hub(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf:// by the hub's own file system, against a stub of its API."""
    monkeypatch.setattr(Hub, "files", {"data/a.csv": A, "data/b.csv": B})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    storage, downloads = {"endpoint": f"http://127.0.0.1:{server.server_port}"}, tmp_path / "downloads"
    try:
        source = url("hf://datasets/me/films/data/*.csv", storage=storage)
        assert fetched(source, into, downloads) == {"a.csv": A.decode(), "b.csv": B.decode()}
        before = source.recorded
        assert differences(before, source.fingerprint(before, downloads)) == []
        monkeypatch.setitem(Hub.files, "data/b.csv", A)
        assert differences(before, source.fingerprint(before, downloads)) == ["b.csv has changed"]
        with refused(SourceError, "changed", "b.csv"):
            source.fetch(file_format(), into, downloads)
        for gone in ("hf://datasets/me/films/gone.csv", "hf://datasets/me/none/a.csv"):
            with refused(SourceError, "missing", gone):
                url(gone, storage=storage).fingerprint(None, downloads)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"urls": []}, "at least one address"),
        ({"urls": ["ftp://x/a.csv"]}, "an address that begins with one of file://"),
        ({"urls": ["a.csv"]}, "an address that begins with"),
        ({"urls": ["simplecache::s3://x/a.csv"]}, "an address that begins with"),
        ({"urls": ["https://user:word@host/a.csv"]}, "without a password"),
        ({"urls": ["s3://x/a"], "storage": {"secret": "x"}}, "come from the environment"),
        ({"urls": ["s3://x/a"], "storage": {"client_kwargs": {"aws_secret_access_key": "x"}}}, "come from the"),
        ({"urls": ["https://x/a"], "storage": {"a": [{"headers": {"Authorization": "x"}}]}}, "come from the"),
        ({"urls": ["s3://x/a"], "sha256": {"a": "1"}}, "64 hexadecimal digits"),
    ],
)
def test_settings_that_can_not_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_source(Source("url", [], None, options), "x.yaml")
    assert told in str(caught.value)
