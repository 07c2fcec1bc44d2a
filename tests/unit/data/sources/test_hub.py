"""A data set of the hub: files of a commit by the hub's own client, from a stub of its API; no script runs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from langmill.config.sections import Source
from langmill.data.sources.base import build_source
from langmill.errors import ConfigError
from langmill.files import sha256_bytes

pytestmark = pytest.mark.unit
COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
FILES = {
    ".gitattributes": b"* text",
    "README.md": b"---\nlicense: mit\n---\n",
    "films.py": b"raise SystemExit('a script ran')\n",
    "data/train.csv": b"text\nhello\n",
    "data/test.csv": b"text\ngood bye\n",
    "other/extra.csv": b"text\nleft out\n",
}


@pytest.fixture
def hub() -> Iterator[str]:
    """What huggingface_hub asks for a snapshot: the commit's list of files, then each file's head and bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            place = f"/datasets/me/films/resolve/{COMMIT}/"
            if path == f"/api/datasets/me/films/revision/{COMMIT}":
                listed = [{"rfilename": name} for name in FILES]
                self.send(json.dumps({"id": "me/films", "sha": COMMIT, "siblings": listed}).encode(), body, {})
            elif path.startswith(f"/api/datasets/me/films/tree/{COMMIT}"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": sha256_bytes(data)[:40]}
                    for name, data in FILES.items()
                ]
                self.send(json.dumps(tree).encode(), body, {})
            elif path.startswith(place) and (name := path.removeprefix(place)) in FILES:
                tag = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256_bytes(FILES[name])[:40]}"'}
                self.send(FILES[name], body, tag)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()

        def send(self, data: bytes, body: bool, headers: dict[str, str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def options(**changes: Any) -> dict[str, Any]:
    return {"repository": "me/films", "revision": COMMIT, "files": ["data/*"]} | changes


def fetch(endpoint: str, into: Path, home: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own: the client reads where the hub is when it is imported, and once."""
    code = (
        "import json, sys; from pathlib import Path; from langmill.config.sections import FormatSection, Source;"
        "from langmill.data.sources.base import build_source; from langmill.data.formats.base import build_format;"
        "source = build_source(Source('hub', [], None, json.loads(sys.argv[1])), 'x.yaml');"
        "source.fetch(build_format(FormatSection('auto', {}), 'x'), Path(sys.argv[2]), Path('downloads'))"
    )
    environment = {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
        "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", code, json.dumps(options(**changes)), str(into)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_files_of_a_commit_are_copied_and_no_script_runs(hub: str, into: Path, tmp_path: Path) -> None:
    done = fetch(hub, into, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    found = {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}
    assert found == {name: FILES[name] for name in ("data/train.csv", "data/test.csv")}
    again = tmp_path / "again"
    again.mkdir()
    assert fetch("http://127.0.0.1:9", again, tmp_path / "home").returncode == 0  # from the hub's own cache
    gone = fetch(hub, again, tmp_path / "home", repository="me/none")
    assert "The hub has no me/none at 607a30d783df" in gone.stderr
    nothing = fetch(hub, again, tmp_path / "home", files=["*.md"])
    assert "no file that source.options.files names" in nothing.stderr and ".md" in nothing.stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"revision": "main"}, "40 hexadecimal digits"),
        ({"repository": "../x"}, "a name as in"),
        ({"files": []}, "at least one path"),
    ],
)
def test_settings_that_can_not_be(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_source(Source("hub", [], None, options(**changed)), "x.yaml")
    assert told in str(caught.value)


def test_a_commit_can_not_change() -> None:
    source = build_source(Source("hub", [], None, options()), "x.yaml")
    assert not source.can_change
    assert source.facts() == {"kind": "hub", "repository": "me/films", "revision": COMMIT, "files": ["data/*"]}
