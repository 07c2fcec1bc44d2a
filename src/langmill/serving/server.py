"""The server's process: takes the port, starts the threads, says what it does, and stops without cutting anyone off."""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.handlers
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from langmill.config.sections import Accelerator, Serving
from langmill.errors import ServingError
from langmill.imports import without_collecting
from langmill.serving.alias_state import RETRY_NAME
from langmill.serving.keys import KeyRing
from langmill.workspace import Workspace

_BACKLOG = 1024
_LOG_BYTES = 10_000_000
_LOG_FILES = 3


def serve(settings: Serving, tracking_uri: str, workspace: Workspace, device: Accelerator = Accelerator.auto) -> None:
    """Serve the champions until SIGTERM or SIGINT; returns when every request has been answered.

    Args:
        settings: The server's settings.
        tracking_uri: Where the registry is, as MLflow writes it.
        workspace: Where downloaded versions and the log go.
        device: Where the models compute.

    Raises:
        ServingError: The port can't be taken, or the file with the keys can't be read.
        ConfigError: The machine has no such device.
    """
    with (
        _early_end(),
        contextlib.closing(listen(settings.host, settings.port)) as listener,
        _logging(workspace.log("serve")),
    ):
        _raise_file_limit()
        keys = KeyRing(settings.api_keys_file)
        if keys.warning:
            _say(f"  {keys.warning}")
        address = _address(settings.host, listener.getsockname()[1])
        _say(f"Langmill listens on {address} and loads {', '.join(settings.recipes)} ...")
        with without_collecting():
            # Heavy imports come only now: a port in use is known at once.
            from langmill.models.device import use_device
            from langmill.serving.lifecycle import Lifecycle

            lifecycle = Lifecycle(
                settings,
                tracking_uri=tracking_uri,
                workspace=workspace,
                keys=keys,
                address=address,
                device=use_device(device),
                say=_say,
            )
        cut_off = lifecycle.run(listener)
        _say(f"Stopped; {cut_off} requests were broken off." if cut_off else "Stopped; every request was answered.")


def _raise_file_limit() -> None:
    """Let the process open as many files as it may: each connection is one, and the usual limit is low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems say "unlimited" and mean less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ask_to_retry(workspace: Workspace) -> None:
    """Have the servers of a workspace try versions again that they refused."""
    workspace.serving.mkdir(parents=True, exist_ok=True)
    (workspace.serving / RETRY_NAME).touch()


class _StoppedError(BaseException):
    """A signal came while the server was still loading."""


@contextlib.contextmanager
def _early_end() -> Iterator[None]:
    """Make a signal before the event loop takes over a calm end, and not a stack trace out of an import."""

    def stop(*_: object) -> None:
        raise _StoppedError

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _StoppedError:
        _say("Stopped before anything was served.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; connections wait in it until the server is up.

    Raises ServingError where the port is in use or not allowed, or the host is not one of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServingError(
            f"serving.host {host!r} is not an address ({error.strerror}); 127.0.0.1 is this machine.", code="unknown"
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a restart must wait for old connections
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServingError(
                f"Port {port} on {host} is in use{_holder(port)}; stop what uses it, or choose another one with "
                "serving.port (0 takes a free one).",
                code="busy",
            ) from error
        if error.errno == errno.EACCES:
            raise ServingError(
                f"Port {port} on {host} is not open to this user; choose one above 1023 with serving.port.",
                code="refused",
            ) from error
        raise ServingError(
            f"{host} port {port} can't be listened on ({error.strerror}); choose another serving.host.",
            code="impossible",
        ) from error
    return listener


def _holder(port: int) -> str:
    """Which process listens on a port, as far as this user may know."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,) and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _address(host: str, port: int) -> str:
    """The URL at which a person on this machine finds the server."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Send every log record of the process, the access log included, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
