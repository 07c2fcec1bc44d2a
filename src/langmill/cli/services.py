"""`langmill serve`, `ui` and `deploy`: commands that keep running."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from langmill.cli.command import command
from langmill.config.names import nearest
from langmill.errors import ConfigError, LangmillError, RegistryError, TrackingError, TransientError, without_passwords
from langmill.events import LOG_VARIABLE
from langmill.lifetime import PARENT_VARIABLE, end_group
from langmill.workspace import Workspace

HOST = "127.0.0.1"
_LONGEST_INTERVAL_SECONDS = 10 * 365 * 24 * 3600
_START_SECONDS = 120.0
_SERVER_STOP_SECONDS = 4.0  # their databases survive a kill
_WORKER_STOP_SECONDS = 15.0  # a run that is under way ends its stages first
_POLL_SECONDS = 0.25


@dataclass
class Service:
    """A server that a command has started."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    log: Path


@command(example="langmill serve\nlangmill serve --port 8080 reviews-lm\nlangmill serve --retry")
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--host", help="The address to listen on, instead of that of conf/serving/default.yaml.")
@click.option("--port", type=int, help="The port, instead of that of conf/serving/default.yaml; 0 takes a free one.")
@click.option("--retry", is_flag=True, help="Have the server that runs try refused versions again, and start none.")
def serve(recipes: tuple[str, ...], host: str | None, port: int | None, retry: bool) -> None:
    """Serve the champions over HTTP until Ctrl-C.

    The server follows the registry: a new champion takes over without a request being dropped. Each answer names the
    version that gave it. Open the printed address for a page to try the models at.
    """
    from langmill.cli.workspace import operation, require_workspace
    from langmill.config.compose import compose_serving
    from langmill.serving.server import ask_to_retry
    from langmill.serving.server import serve as serve_models
    from langmill.stages.process import sweep_workspace

    if retry:
        require_workspace()
        ask_to_retry(Workspace())
        click.echo(
            "A server of this workspace looks again at the versions that it refused; its /ready says how it went."
        )
        return
    own = operation()
    uri = own.tracking_uri
    settings = compose_serving([] if port is None else [f"serving.port={port}"])
    # Texts, of which an override would make something else.
    named = list(recipes) or settings.recipes
    settings = replace(settings, host=settings.host if host is None else host, recipes=named)
    for line in unserved(settings.recipes, uri):
        click.echo(line)
    sweep_workspace()
    serve_models(settings, uri, Workspace(), own.device)


def unserved(names: Sequence[str], tracking_uri: str) -> list[str]:
    """Make a sentence for each model without a champion; the server loads it once it has one.

    Raises RegistryError where a name is neither a registered model nor a recipe; while the registry does not answer,
    nor a model that was served here before.
    """
    from langmill.config.compose import available
    from langmill.registry.store import ModelRegistry
    from langmill.registry.versions import CHAMPION

    registry = ModelRegistry(tracking_uri)
    try:
        aliased = registry.overview()
        champions = {version.name for version in aliased if CHAMPION in version.aliases}
        known = champions | set(available("recipe"))
        if aliased and not known.issuperset(names):
            known |= set(registry.names())
    except TrackingError:  # the server starts from its cache and asks again
        served = {path.name for path in Workspace().serving.glob("*/")}
        _require_known(names, served | set(available("recipe")), "The registry can't be asked, and there is")
        return []
    _require_known(names, known, "There is")
    return [
        f"{name} has no champion yet; `langmill run {name}` makes one, and this server then takes it up."
        for name in names
        if name not in champions
    ]


def _require_known(names: Sequence[str], known: set[str], there_is: str) -> None:
    for name in names:
        if name not in known:
            meant = nearest(name, sorted(known), f"there are: {', '.join(sorted(known))}.", most=3)
            raise RegistryError(f"{there_is} no model and no recipe named {name!r}; {meant}", "unknown")


@command(example="langmill ui")
def ui() -> None:
    """Open the pages of MLflow and Prefect until Ctrl-C.

    MLflow has the runs with their curves and samples, and the registered models; Prefect has the flow with its steps,
    reports and verdicts. The ports are in conf/operation/default.yaml. Both listen on this machine only.
    """
    from langmill.cli.workspace import operation
    from langmill.tracking.connection import ensure_database

    settings = operation()
    with contextlib.ExitStack() as stack:
        services = []
        require_free_port(settings.mlflow_port, "operation.mlflow_port")
        own_prefect = not prefect_runs(settings.prefect_port)
        if own_prefect:
            require_free_port(settings.prefect_port, "operation.prefect_port")
        click.echo("Starting MLflow and Prefect (10 to 20 seconds) ...")
        mlflow = settings.tracking_uri
        if not mlflow.startswith("http"):
            ensure_database(mlflow)
            services.append(stack.enter_context(mlflow_server(mlflow, settings.mlflow_port)))
            mlflow = services[0].address
        if own_prefect:
            services.append(stack.enter_context(prefect_server(settings.prefect_port)))
        for service in services:
            wait_until_up(service)
        for line in _pages(settings.tracking_uri, without_passwords(mlflow).rstrip("/")):
            click.echo(line)
        click.echo(f"Prefect: http://{HOST}:{settings.prefect_port}/runs")
        click.echo(
            "Ctrl-C stops both." if own_prefect else "Ctrl-C stops MLflow; Prefect belongs to `langmill deploy`."
        )
        wait_for_stop(services)
    click.echo("Stopped.")


def _pages(tracking_uri: str, address: str) -> Iterator[str]:
    """Lines with the addresses of MLflow's pages: the experiments, and each model's runs and versions.

    Raises TrackingError where the server can't be asked.
    """
    from langmill.registry.pages import show_champions
    from langmill.tracking.pages import experiment_paths, experiments_path, model_path

    yield f"MLflow:  {address}{experiments_path()}"
    models = show_champions(tracking_uri)
    paths = experiment_paths(tracking_uri)
    for name in models:
        yield f"  {name}"
        if name in paths:
            yield f"    runs      {address}{paths[name]}"
        yield f"    versions  {address}{model_path(name)}"


@command(example="langmill deploy\nlangmill deploy --cron '0 3 * * 1' reviews-lm")
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--cron", help="Five cron fields, instead of those of conf/operation/default.yaml.")
@click.option("--interval", type=float, help="Every so many seconds instead of a cron schedule, to try it out.")
def deploy(recipes: tuple[str, ...], cron: str | None, interval: float | None) -> None:
    """Run the flow on a schedule, until Ctrl-C.

    Uses the Prefect server on operation.prefect_port, and starts one there if none runs. The schedule stays in that
    server when this command ends; runs that fall due meanwhile start late, when it is back. One run at a time works
    in a workspace: one that falls due during another waits for it.
    """
    from langmill.cli.workspace import operation
    from langmill.config.compose import compose_recipe
    from langmill.config.sections import Schedule
    from langmill.graph.dag import read_graph

    settings = operation()
    if cron is not None and interval is not None:
        raise click.UsageError("--cron and --interval exclude each other; give one of them.")
    if interval is not None and not 1 <= interval <= _LONGEST_INTERVAL_SECONDS:  # a NaN is refused too
        raise ConfigError(
            f"--interval is {interval:g}; allowed is 1 second to {_LONGEST_INTERVAL_SECONDS} seconds (ten years).",
            "impossible",
        )
    schedule = settings.schedule
    if cron is not None:
        try:
            schedule = Schedule(cron, settings.schedule.timezone)
        except ConfigError as error:
            raise ConfigError(f"--{error}.", "impossible") from error
    chosen = list(dict.fromkeys(recipes or settings.recipes))
    read_graph().for_recipes(chosen)
    for name in chosen:
        compose_recipe(name)
    with contextlib.ExitStack() as stack:
        services = []
        if not prefect_runs(settings.prefect_port):
            require_free_port(settings.prefect_port, "operation.prefect_port")
            click.echo("Starting Prefect (10 to 20 seconds) ...")
            services.append(stack.enter_context(prefect_server(settings.prefect_port)))
            wait_until_up(services[0])
        log = Workspace().log("schedule")
        when = ["--interval", str(interval)] if interval else ["--cron", schedule.cron]
        module = ["flows.schedule", *when, "--timezone", schedule.timezone, *recipes]
        environment = {"PREFECT_API_URL": _prefect_api(settings.prefect_port), LOG_VARIABLE: str(log.absolute())}
        worker = stack.enter_context(
            started("The schedule", settings.prefect_port, module, environment, log, stop_seconds=_WORKER_STOP_SECONDS)
        )
        services.append(worker)
        often = f"every {interval:g} seconds" if interval else f"at {schedule.cron} ({schedule.timezone})"
        click.echo(f"{', '.join(chosen)}: scheduled {often}.")
        click.echo(f"Watch it at {worker.address}; its log is {log}. Ctrl-C stops this worker and keeps the schedule.")
        wait_for_stop(services)
    click.echo("Stopped.")


def require_free_port(port: int, field: str) -> None:
    """Raise LangmillError where another program listens on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LangmillError(
                f"Port {port} is in use; stop what uses it, or set another {field} in conf/operation/default.yaml.",
                "busy",
            ) from error


def prefect_runs(port: int) -> bool:
    """Whether this workspace's Prefect server is up on a port."""
    pid_file = Workspace().prefect_server(port)
    try:
        os.kill(int(pid_file.read_text(encoding="utf-8")), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
        return False
    return _answers(f"{_prefect_api(port)}/health")


@contextlib.contextmanager
def prefect_server(port: int) -> Iterator[Service]:
    """Run a Prefect server on the workspace's database during the block."""
    environment = {
        "PREFECT_API_URL": _prefect_api(port),
        "PREFECT_UI_API_URL": _prefect_api(port),
        # So that the holders of concurrency slots survive a restart of the server.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    arguments = ["prefect", "server", "start", "--host", HOST, "--port", str(port), "--log-level", "WARNING"]
    pid_file = Workspace().prefect_server(port)
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    with started("Prefect", port, arguments, environment, Workspace().log("prefect-server")) as service:
        pid_file.write_text(str(service.process.pid), encoding="utf-8")
        try:
            yield service
        finally:
            pid_file.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_prefect() -> Iterator[Service]:
    """Run a Prefect server without pages and schedules during the block.

    A flow without PREFECT_API_URL starts the same for itself (Prefect's `SubprocessASGIServer`), but imports all of the
    server for it (3 s) and waits meanwhile. The port is taken here: another program may have one that is only found.
    """
    with socket.create_server((HOST, 0), backlog=2048) as listener:
        # uvicorn takes an inherited socket for a Unix one, and leaves this out on its connections.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port, descriptor = listener.getsockname()[1], listener.fileno()
        environment = {
            "PREFECT_API_URL": _prefect_api(port),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
        }
        arguments = ["uvicorn", "--factory", "prefect.server.api.server:create_app", "--fd", str(descriptor)]
        arguments += ["--log-level", "error", "--lifespan", "on"]
        log = Workspace().log("prefect-server")
        with started("Prefect", port, arguments, environment, log, descriptors=[descriptor]) as service:
            listener.close()  # it is the server's now: connections are refused once it is gone
            yield service


def mlflow_server(tracking_uri: str, port: int) -> contextlib.AbstractContextManager[Service]:
    """Run MLflow's server on the workspace's database during the block."""
    arguments = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    arguments += ["--artifacts-destination", str(Workspace().artifacts)]
    # Anyone on the machine can read a command line, and this address may hold a password.
    environment = {"MLFLOW_BACKEND_STORE_URI": tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return started("MLflow", port, arguments, environment, Workspace().log("mlflow-server"))


@contextlib.contextmanager
def started(
    name: str,
    port: int,
    module: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    stop_seconds: float = _SERVER_STOP_SECONDS,
    descriptors: Sequence[int] = (),
) -> Iterator[Service]:
    """Run a Python module in a process group of its own during the block: a server on a port of this machine.

    It inherits the file descriptors.
    """
    from langmill.cli.workspace import prefect_environment

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "langmill.lifetime", *module],
            env={**prefect_environment(), **environment, PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            pass_fds=descriptors,
        )  # fmt: skip
    try:
        yield Service(name, f"http://{HOST}:{port}", process, log)
    finally:
        end_group(process, signal.SIGTERM, stop_seconds)


def _prefect_api(port: int) -> str:
    return f"http://{HOST}:{port}/api"


def wait_until_up(service: Service) -> None:
    """Wait until a server answers; raise TransientError if it ends, or does not in time."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if service.process.poll() is not None:
            raise TransientError(f"{service.name} did not start; its log is {service.log}.", "failed")
        if _answers(f"{service.address}/health") or _answers(f"{service.address}/api/health"):
            return
        time.sleep(_POLL_SECONDS)
    sentence = f"{service.name} did not answer within {_START_SECONDS:.0f} seconds; its log is {service.log}."
    raise TransientError(sentence, "unreachable")


def wait_for_stop(services: Sequence[Service]) -> None:
    """Wait for Ctrl-C or SIGTERM; raise LangmillError if a server ends by itself."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            for service in services:
                if service.process.poll() is not None:
                    raise LangmillError(f"{service.name} ended by itself; its log is {service.log}.", "failed")
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        click.echo("\nStopping ...")
    finally:
        signal.signal(signal.SIGTERM, before)


def _answers(url: str) -> bool:
    from urllib.request import ProxyHandler, build_opener

    try:
        with build_opener(ProxyHandler({})).open(url, timeout=2) as response:  # a server of our own, behind no proxy
            return bool(response.status == 200)
    except (OSError, ValueError):  # urllib's own errors are OSErrors
        return False
