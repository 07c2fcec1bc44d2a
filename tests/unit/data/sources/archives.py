"""Package indexes of a test's own: a folder for pip, a server on this machine for npm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

from langmill.files import sha256_bytes, sha256_file


def wheel(folder: Path, members: dict[str, str], name: str = "films") -> str:
    """Write NAME-1.0 as a wheel and return its SHA-256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {
            **members,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return sha256_file(path)


def sdist(folder: Path, members: dict[str, str], runs: str = "") -> str:
    """Write films-1.0 as a source archive whose setup.py runs a line, and return its SHA-256."""
    setup = f"{runs}\nfrom setuptools import setup\nsetup(name='films', version='1.0')\n"
    files = {"setup.py": setup, "PKG-INFO": "Metadata-Version: 2.1\nName: films\nVersion: 1.0\n", **members}
    path = tar(folder / "films-1.0.tar.gz", {f"films-1.0/{name}": text for name, text in files.items()}, {})
    return sha256_file(path)


def tar(path: Path, members: dict[str, str], links: dict[str, str]) -> Path:
    """Write a tar archive with symbolic links."""
    path.write_bytes(_tarred(members, links))
    return path


def _tarred(members: dict[str, str], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE
            entry.linkname = target
            archive.addfile(entry)
    return buffer.getvalue()


class Registry:
    """What npm asks: a package's versions by its name, and the archives.

    Attributes:
        address: Where it answers.
        requests: The paths that were asked for.
    """

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = unquote(self.path.partition("?")[0])
                outer.requests.append(path)
                body = outer._answers.get(path)
                self.send_response(200 if body is not None else 404)
                self.end_headers()
                self.wfile.write(body if body is not None else b"{}")

            def log_message(self, format: str, *arguments: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def add(self, name: str, version: str, members: dict[str, str], scripts: dict[str, str] | None = None) -> str:
        """Offer a package and return its archive's SHA-256."""
        manifest = {"name": name, "version": version, "scripts": scripts or {}}
        files = {"package.json": json.dumps(manifest), **members}
        data = _tarred({f"package/{path}": text for path, text in files.items()}, {})
        place = f"/{name}/-/{version}.tgz"
        integrity = base64.b64encode(hashlib.sha512(data).digest()).decode()
        dist = {"tarball": f"{self.address.rstrip('/')}{place}", "integrity": f"sha512-{integrity}"}
        packument = {"name": name, "dist-tags": {"latest": version}, "versions": {version: {**manifest, "dist": dist}}}
        self._answers |= {place: data, f"/{name}": json.dumps(packument).encode()}
        return sha256_bytes(data)

    def __enter__(self) -> Registry:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
