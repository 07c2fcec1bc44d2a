"""vLLM behind this server: one process a version, in an environment of its own, on a Unix socket that only we open.

Its command line is vLLM's own (`vllm serve FOLDER --uds SOCKET`), and its interface OpenAI's; keys, limits, hosts and
metrics stay this server's. A version that is promoted starts a new process; when that answers, requests to come go
there, and the old process ends once its last request has let go of it, like the weights of a model in this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from langmill import lifetime
from langmill.config.sections import Vllm
from langmill.errors import ConfigError, ModelError
from langmill.serving.jobs import LoadedVersion
from langmill.tasks.base import Generates
from langmill.tasks.loading import load_model

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_STOP_SECONDS = 15.0
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
"""Variables that would lead its interpreter to our packages."""


class VllmProcess:
    """One `vllm serve`, from its start to its end."""

    def __init__(self, settings: Vllm, folder: Path, name: str, log_file: Path) -> None:
        """Start it; it ends with this process, however that ends. Raises ConfigError where there is no such program."""
        program = shutil.which(settings.command)
        if program is None:
            raise ConfigError(
                f"serving.vllm.command {settings.command!r} is not a program; install vLLM in an environment of its "
                "own and name its executable.",
                "missing",
            )
        # A socket's path has 107 characters at most; the folder is open to this user alone.
        self._place = Path(tempfile.mkdtemp(prefix="langmill-vllm-"))
        self.socket = self._place / "socket"
        self.running = 0
        """Answers that it works on for clients of this server; counted in the event loop."""
        self._name = name
        self._seconds = settings.start_seconds
        self.log_file = log_file
        command = [program, "serve", str(folder), "--uds", str(self.socket), "--served-model-name", name]
        environment = {key: value for key, value in os.environ.items() if key not in _OURS}
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", lifetime.__file__, "--", *command, *settings.arguments],
                env={**environment, lifetime.PARENT_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait_until_up(self) -> None:
        """Wait until it answers, and have it answer once.

        Raises ModelError where it ends, or does not answer in time or not as it should.
        """
        import httpx  # which a server without vLLM never waits for

        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://vllm", timeout=self._seconds) as client:
            deadline = time.monotonic() + self._seconds
            while not self._healthy(client):
                if not self.alive:
                    raise ModelError(f"vLLM ended before it answered; its log is {self.log_file}.", "failed")
                if time.monotonic() > deadline:
                    raise ModelError(
                        f"vLLM did not answer within {self._seconds:g} s (serving.vllm.start_seconds); its log is "
                        f"{self.log_file}.",
                        "unreachable",
                    )
                time.sleep(_POLL_SECONDS)
            asked = {"model": self._name, "prompt": "A first look", "max_tokens": 2}
            try:
                response = client.post("/v1/completions", json=asked)
            except httpx.HTTPError as error:
                raise ModelError(f"vLLM broke off its first answer; its log is {self.log_file}.", "failed") from error
            if response.status_code != httpx.codes.OK:
                raise ModelError(
                    f"vLLM's first answer has status {response.status_code}: {response.text[:200]}", "failed"
                )

    @staticmethod
    def _healthy(client: httpx.Client) -> bool:
        import httpx

        with contextlib.suppress(httpx.HTTPError):
            return client.get("/health", timeout=5).status_code == httpx.codes.OK
        return False

    def stop(self) -> None:
        """End it."""
        lifetime.end_group(self._process, signal.SIGTERM, _STOP_SECONDS)
        shutil.rmtree(self._place, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class RemoteVersion(LoadedVersion):
    """A version that a process beside this one runs; `model` has no network."""

    process: VllmProcess = field(kw_only=True)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.alive


class VllmLoader:
    """Makes versions answer in processes of vLLM.

    Args:
        settings: How it is started.
        log_of: The log of a process, by its name.
    """

    def __init__(self, settings: Vllm, log_of: Callable[[str], Path]) -> None:
        self._settings = settings
        self._log_of = log_of
        self._processes: weakref.WeakSet[VllmProcess] = weakref.WeakSet()

    def __call__(self, name: str, version: int, folder: Path) -> LoadedVersion:
        """Start a process on a verified folder and let it answer once.

        Raises:
            ModelError: The model writes nothing, or vLLM does not run it.
            ConfigError: There is no vLLM.
        """
        model = load_model(folder, verify=False, with_network=False)
        if not isinstance(model.task, Generates):
            raise ModelError(f"vLLM serves models that write; leave {name} out of serving.backends.", "unsupported")
        process = VllmProcess(self._settings, folder.absolute(), name, self._log_of(f"vllm-{name}-{version}"))
        try:
            process.wait_until_up()
        except BaseException:
            process.stop()
            raise
        self._processes.add(process)
        remote = RemoteVersion(name, version, model, model.tokenizer.longest_token, process=process)
        # Ending takes seconds, and whoever lets go of it last may be the event loop.
        weakref.finalize(remote, lambda: threading.Thread(target=process.stop, daemon=True).start())
        return remote

    @property
    def load(self) -> int:
        """Answers that the processes work on."""
        return sum(process.running for process in list(self._processes))

    def stop(self) -> None:
        """End all processes."""
        for process in list(self._processes):
            process.stop()
