"""What keeps running: nothing is announced that can't be, and no password stands in a command line."""

import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from langmill import cli
from langmill.cli import services
from langmill.cli.workspace import prefect_environment
from langmill.errors import RegistryError, TrackingUnreachableError, TransientError
from langmill.lifetime import PARENT_VARIABLE
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHAMPION, ModelVersion
from tests.refused import refused

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
SECRET = "postgresql://me:s3cret@db/mlflow"


@pytest.fixture
def nothing_starts(monkeypatch):
    """In the repository, where any attempt to start a server fails the test."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(services, "started", refuse)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["--cron", "61 * * * *"],
            2,
            "--cron is 61 * * * *: its minute is 61; allowed is",
        ),
        (["--cron", ""], 2, "--cron is an empty text; allowed are five fields"),
        (["--interval", "-5"], 2, "--interval is -5; allowed is 1 second to"),
        (["--interval", "0"], 2, "--interval is 0; allowed is"),
        (["--interval", "1e300"], 2, "--interval is 1e+300; allowed is 1 second to 315360000 seconds (ten years)."),
        (["--interval", "nan"], 2, "--interval is nan; allowed is"),
        (["--interval", "inf"], 2, "--interval is inf; allowed is"),
        (["--interval", "5", "--cron", "0 3 * * *"], 2, "--cron and --interval exclude each other"),
        (["sentimnt"], 1, "dvc.yaml makes no build/evaluation/sentimnt; it knows"),
    ],
)
def test_what_can_never_run_is_not_scheduled(arguments, code, sentence, nothing_starts, capsys):
    assert cli.call(["deploy", *arguments]) == code
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert "scheduled" not in said.out


def version(name: str, *aliases: str) -> ModelVersion:
    """A registered version."""
    return ModelVersion(name, 1, aliases, "", None, {}, None)  # type: ignore[arg-type]


def test_a_name_that_is_neither_a_model_nor_a_recipe_is_not_waited_for(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        ModelRegistry, "overview", lambda self: [version("reviews-lm", CHAMPION), version("bought", "x")]
    )
    monkeypatch.setattr(ModelRegistry, "names", lambda self: ["bought", "plain", "reviews-lm"])
    assert services.unserved(["reviews-lm"], "sqlite:///x.db") == []
    assert services.unserved(["sentiment", "plain"], "sqlite:///x.db") == [
        "sentiment has no champion yet; `langmill run sentiment` makes one, and this server then takes it up.",
        "plain has no champion yet; `langmill run plain` makes one, and this server then takes it up.",
    ]
    with refused(RegistryError, "unknown", "'sentimnt'", "did you mean sentiment"):
        services.unserved(["reviews-lm", "sentimnt"], "sqlite:///x.db")
    with refused(RegistryError, "unknown", "'zzz'", "bought, "):
        services.unserved(["zzz"], "sqlite:///x.db")


def test_a_registry_that_is_away_keeps_no_server_from_its_cache(tmp_path, monkeypatch):
    (tmp_path / "conf/recipe").mkdir(parents=True)
    (tmp_path / "conf/recipe/sentiment.yaml").touch()
    (tmp_path / ".langmill/serving/bought").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def away(self: ModelRegistry) -> list[ModelVersion]:
        raise TrackingUnreachableError("no.")

    monkeypatch.setattr(ModelRegistry, "overview", away)
    assert services.unserved(["sentiment", "bought"], "http://127.0.0.1:1") == []
    with refused(RegistryError, "unknown", "can't be asked", "'sentimnt'", "sentiment?"):
        services.unserved(["sentimnt"], "http://127.0.0.1:1")


def test_a_server_sweeps_what_killed_ones_left_before_it_starts(monkeypatch):
    monkeypatch.chdir(ROOT)
    done: list[str] = []
    monkeypatch.setattr(services, "unserved", lambda names, uri: [])
    monkeypatch.setattr("langmill.stages.process.sweep_workspace", lambda: done.append("swept"))
    monkeypatch.setattr("langmill.serving.server.serve", lambda *arguments: done.append("served"))
    assert cli.call(["serve"]) == 0
    assert done == ["swept", "served"]


@pytest.mark.parametrize("name", ["serving.port=8011", "a,b", "x]", "it's", "1e5", "${training.steps}"])
def test_whatever_stands_for_a_recipe_or_an_address_is_taken_as_it_is(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    told: list = []
    monkeypatch.setattr(services, "unserved", lambda names, uri: told.append(names) or [])
    monkeypatch.setattr("langmill.stages.process.sweep_workspace", lambda: None)
    monkeypatch.setattr("langmill.serving.server.serve", lambda settings, *others: told.append(settings))
    assert cli.call(["serve", name, "--host", "0", "--port", "0"]) == 0
    names, settings = told
    assert (names, settings.recipes, settings.host, settings.port) == ([name], [name], "0", 0)


def test_the_address_of_mlflows_database_stands_in_no_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started: list[tuple[list[str], dict[str, str]]] = []

    class Process:
        pid = 2**22 + 7
        returncode = 0

        def wait(self, seconds: float) -> int:
            return 0

    def popen(command: list[str], *, env: dict[str, str], **options: object) -> Process:
        started.append((command, env))
        return Process()

    monkeypatch.setattr(services.subprocess, "Popen", popen)
    with services.mlflow_server(SECRET, 5000), services.prefect_server(4200):
        pass
    for command, _ in started:
        assert "s3cret" not in " ".join(command)
        assert command[1:3] == ["-m", "langmill.lifetime"]
    # A command that is killed while its servers import takes them with it.
    assert [environment[PARENT_VARIABLE] for _, environment in started] == [str(os.getpid())] * 2
    assert started[0][1]["MLFLOW_BACKEND_STORE_URI"] == SECRET


class Fine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def test_no_proxy_is_asked_for_a_server_of_our_own(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Fine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        services.wait_until_up(services.Service("Prefect", address, SimpleNamespace(poll=lambda: None), Path("log")))
        server.shutdown()
    for own, direct in (("", "127.0.0.1"), ("example.org", "example.org,127.0.0.1"), ("*", "*")):
        monkeypatch.setenv("no_proxy", own)
        environment = prefect_environment()
        assert (environment["NO_PROXY"], environment["no_proxy"]) == (direct, direct)


def test_a_server_that_does_not_start_may_start_the_next_time():
    ended = services.Service("Prefect", "http://127.0.0.1:9", SimpleNamespace(poll=lambda: 1), Path("prefect.log"))
    with refused(TransientError, "failed", "Prefect did not start", "prefect.log"):
        services.wait_until_up(ended)


def test_status_shows_what_was_asked_for_and_counts_the_rest(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.call(["status"]) == 0
    said = capsys.readouterr().out
    assert " steps of reviews-lm, sentiment" in said
    assert "poems" not in said
    assert said.splitlines()[-1].startswith("Of ")
    assert " other recipes " in said.splitlines()[-1]
    assert cli.call(["status", "poems"]) == 0
    said = capsys.readouterr().out
    assert " steps of poems are" in said
    assert "sentiment" not in said
    assert cli.call(["status", "nothing"]) == 1
    assert "dvc.yaml makes no build/evaluation/nothing" in capsys.readouterr().err


def test_the_port_of_a_temporary_server_is_taken_before_the_server_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with services.temporary_prefect() as service:
        port = int(service.address.rpartition(":")[2])
        socket.create_connection((services.HOST, port), timeout=5).close()
        assert service.process.poll() is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((services.HOST, port), timeout=5)
