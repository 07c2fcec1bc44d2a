"""`langmill run`, `train`, `evaluate` and `pull`: make models, or pull what others made."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from langmill.cli.command import command
from langmill.errors import BusyError, GraphError, IntegrityError, LangmillError, SpaceError, of_exit_code
from langmill.events import EVENTS_VARIABLE, LOCK_VARIABLE, LOG_VARIABLE, SERVER_VARIABLE, Event, EventReader, StepState
from langmill.lifetime import PARENT_VARIABLE
from langmill.workspace import Workspace

_KEPT_LOGS = 20
_SPACE_BYTES = 8_000_000  # new databases of Prefect and MLflow take about 4 MB
_STOP_SECONDS = 15.0


@command(example="langmill run\nlangmill run reviews-lm")
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option("--wait", is_flag=True, help="Wait for another run in this workspace instead of refusing.")
def run(recipes: tuple[str, ...], wait: bool) -> None:
    """Make models, from raw text to judged versions.

    Runs what is out of date, then registers, validates and judges each model and puts it in service if it is better
    than the champion. Without names it makes the recipes that conf/operation/default.yaml lists. Ctrl-C stops it; the
    next run resumes from the last checkpoint.
    """
    click.echo("Looking at what there is to do ...")
    from langmill.cli.workspace import operation
    from langmill.graph.dag import read_graph
    from langmill.graph.freshness import freshness_of
    from langmill.registry.outcomes import all_settled
    from langmill.stages.foresight import composed_params
    from langmill.stages.process import sweep_workspace

    settings = operation()
    chosen = list(dict.fromkeys(recipes or settings.recipes))
    with _run_lock(Workspace().run_lock, wait=wait):
        sweep_workspace()
        graph = read_graph().for_recipes(chosen)
        stale = [address for address, state in freshness_of(graph, composed_params()).items() if not state.fresh]
        if not stale and all_settled(chosen, settings.tracking_uri):
            click.echo(f"Nothing to do: {_listed(chosen)} up to date, registered and judged.\n")
            _conclude(chosen)
            return
        from langmill.stages.compose import require_composed  # and torch with it: not where nothing is to do

        require_composed(chosen)  # a wrong setting is reported now, not after Prefect has started
        _run_flow(chosen)


@command(example="langmill train reviews-lm")
@click.argument("recipe")
def train(recipe: str) -> None:
    """Train one model, and make what it needs.

    The steps run as `dvc repro` would run them, without Prefect and without the registry.
    """
    _make(Workspace().model, recipe)


@command(example="langmill evaluate sentiment")
@click.argument("recipe")
def evaluate(recipe: str) -> None:
    """Evaluate one model, and make what that needs.

    Prints the report, which is also in build/evaluation/RECIPE/report.md.
    """
    _make(Workspace().evaluation, recipe)
    click.echo((Workspace().evaluation(recipe) / "report.md").read_text(encoding="utf-8"))


@command(example="langmill pull\nlangmill pull reviews-lm")
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
def pull(recipes: tuple[str, ...]) -> None:
    """Pull what others made from DVC's remote.

    Pulls every output that dvc.lock names; with names, what these recipes need. A recipe that nobody has run is
    skipped. What was pulled is not made again: `langmill run` continues from there.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.files import exclusive_lock
    from langmill.graph.dag import read_graph
    from langmill.graph.pulling import pull as pull_outputs

    require_workspace()
    with exclusive_lock(Workspace().run_lock, "Another `langmill` command"):
        graph = read_graph()
        graph = graph.for_recipes(recipes) if recipes else graph
        pulled = pull_outputs(graph)
    never = len(graph.stages) - len(pulled.here) - len(pulled.missing)
    said = f"The outputs of {len(pulled.here)} steps are here as dvc.lock names them"
    click.echo(f"{said}; {never} steps have not run anywhere yet." if never else f"{said}.")
    if pulled.damaged:
        raise IntegrityError(
            f"The remote is damaged, so that outputs of {', '.join(pulled.missing)} are not here: "
            f"{' '.join(pulled.damaged)} Or `langmill run` makes them here."
        )
    if pulled.missing:
        raise GraphError(
            f"The remote lacks outputs of {', '.join(pulled.missing)}; `dvc push` sends them from where they were "
            "made, or `langmill run` makes them here.",
            "missing",
        )


@contextlib.contextmanager
def _run_lock(lock: Path, *, wait: bool) -> Iterator[None]:
    """Hold the workspace's lock for a run: wait for another one, or refuse with a BusyError."""
    from langmill.files import exclusive_lock

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(lock, "Another `langmill run`"))
        except BusyError as error:
            if not wait:
                raise
            click.echo(f"{str(error).split('. ')[0]}; waiting for it to end ...")
            stack.enter_context(exclusive_lock(lock, "Another `langmill run`", wait=True))
        yield


def _run_flow(recipes: Sequence[str]) -> None:
    """Run the Prefect flow in a process of its own and display its events.

    Raises:
        GraphError: A step failed.
        TransientError: Prefect's server did not start.
        KeyboardInterrupt: Someone pressed Ctrl-C; the flow has been stopped.
    """
    from langmill.cli.display import Display
    from langmill.cli.services import temporary_prefect, wait_until_up
    from langmill.cli.workspace import prefect_environment

    workspace = Workspace()
    _require_space(workspace.state)
    log, events = _new_log(workspace.logs), workspace.events
    events.parent.mkdir(parents=True, exist_ok=True)
    events.unlink(missing_ok=True)
    environment = {
        **prefect_environment(),
        EVENTS_VARIABLE: str(events.absolute()),
        LOG_VARIABLE: str(log.absolute()),
        LOCK_VARIABLE: "held",
        PARENT_VARIABLE: str(os.getpid()),
    }
    began = time.time()
    with contextlib.ExitStack() as stack:
        server = None if os.environ.get("PREFECT_API_URL") else stack.enter_context(temporary_prefect())
        if server is not None:
            environment |= {"PREFECT_API_URL": f"{server.address}/api", SERVER_VARIABLE: "own"}
        with log.open("ab") as output:
            flow = subprocess.Popen(
                [sys.executable, "-m", "flows.make_models", *recipes],
                env=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        stack.enter_context(_stopped_at_the_end(flow))
        display = stack.enter_context(Display())
        display.announce("Starting Prefect (10 to 20 seconds) ...")
        if server is not None:
            try:
                wait_until_up(server)
            except LangmillError:
                _require_space(workspace.state)
                raise
        assert flow.stdin is not None
        flow.stdin.close()
        display.follow(EventReader(events).new, lambda: flow.poll() is None)
    if display.summary():
        click.echo(display.summary())
    if flow.returncode != 0:
        _require_space(workspace.state)
        sentences = display.failures or [f"The flow's process ended unexpectedly (code {flow.returncode})."]
        kind = of_exit_code(display.codes.pop()) if len(display.codes) == 1 else None
        sentence = f"{' '.join(dict.fromkeys(sentences))} The full log is {log}."
        raise (kind or GraphError)(sentence, None if kind is SpaceError else "failed")
    from langmill.progress import clock

    click.echo(f"Done in {clock(time.time() - began)}.\n")
    _conclude(recipes)


def _require_space(folder: Path) -> None:
    """Raise SpaceError where there is no room for databases and logs, whose own errors would be unclear."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < _SPACE_BYTES:
        raise SpaceError(
            f"Only {free / 1e6:.1f} MB are left on the disk that holds {folder}, too little for a run's databases and "
            "logs. Nothing that was there before is lost; free some space and run the same command again."
        )


@contextlib.contextmanager
def _stopped_at_the_end(flow: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop all processes of the flow when the block ends, however it ends."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nStopping ... (Ctrl-C again ends it at once)", err=True)
        with contextlib.suppress(ProcessLookupError):
            flow.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            flow.wait(_STOP_SECONDS)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(flow.pid, signal.SIGKILL)
        flow.wait()
        signal.signal(signal.SIGTERM, before)


def _make(place: Callable[[str], Path], recipe: str) -> None:
    """Make one folder of a recipe and everything upstream, one stage after the other."""
    from langmill.cli.display import Display
    from langmill.cli.workspace import require_workspace
    from langmill.files import exclusive_lock
    from langmill.graph.dag import read_graph
    from langmill.graph.freshness import Freshness, freshness_of, is_untouched
    from langmill.graph.process import Outcome, reproduce
    from langmill.stages.compose import require_composed
    from langmill.stages.foresight import composed_params
    from langmill.stages.notes import note_of

    require_workspace()
    news, errors = list[Event](), list[BaseException]()
    cancel = threading.Event()
    with exclusive_lock(Workspace().run_lock, "Another `langmill` command"):
        graph = read_graph()
        graph = graph.restricted_to([graph.maker(place, recipe).address])
        require_composed([recipe])  # DVC would only say that parameters are missing
        states: dict[str, Freshness] = {}
        with contextlib.suppress(BusyError):  # a `dvc status` ends soon: each stage's own process waits for it
            states = freshness_of(graph, composed_params())
        outcomes: dict[str, Outcome] = {}

        def work() -> None:
            for stage in graph.stages.values():
                address, workspace = stage.address, Workspace()
                log, progress = workspace.output(address), workspace.progress(address)
                news.append(Event(address, stage.description, StepState.running))
                try:
                    if is_untouched(stage, states, outcomes):  # DVC's own look would take a second each
                        outcome = Outcome.unchanged
                    else:
                        outcome = reproduce(address, root=graph.root, log=log, progress=progress, cancel=cancel)
                except BaseException as error:
                    errors.append(error)
                    news.append(Event(address, stage.description, StepState.failed, str(error)))
                    return
                outcomes[address] = outcome
                news.append(Event(address, stage.description, StepState.done, note_of(stage, outcome)))

        def take() -> list[Event]:
            taken = news[:]
            del news[: len(taken)]
            return taken

        worker = threading.Thread(target=work, name="stages")
        try:
            with Display() as display:
                worker.start()
                display.follow(take, worker.is_alive)
        finally:
            cancel.set()
            worker.join()
    if errors:
        raise errors[0]
    click.echo(f"{place(recipe)} is up to date. {display.summary()}".rstrip())


def _conclude(recipes: Sequence[str]) -> None:
    """Print the table of results, and where to look next."""
    from langmill.cli.results import table
    from langmill.cli.workspace import own_command
    from langmill.config.compose import compose_serving
    from langmill.registry.outcomes import read_row

    rows = [row for recipe in recipes if (row := read_row(recipe)) is not None]
    if rows:
        click.echo(table(rows) + "\n")
    for row in rows:
        if row.verdict != "champion":
            click.echo(f"{row.recipe}: {row.sentence}\n")
    serving = compose_serving()
    address = f"http://{serving.host}:{serving.port}"
    click.echo("make ui      the runs with their curves, the models, the flow and its reports, in the browser")
    click.echo(f"make serve   the champions over HTTP: a page to try them at {address}, or curl {address}/v1/models")
    click.echo(f"{own_command()} trace {recipes[0]}   the lineage of a model, from its data to its place in service")
    for page in _data_reports(recipes):
        click.echo(f"{page}   what became of its rows: kept, dropped and why, and what has changed, on one page")
    for last in sorted(Workspace().logs.glob("run-*.log"))[-1:]:
        click.echo(f"The full log of the last run: {last}")


def _data_reports(recipes: Sequence[str]) -> list[Path]:
    """The pages of the recipes' corpora."""
    from langmill.config.core_yaml import read_yaml
    from langmill.data.versions import current_report

    files = [Workspace().composed_file("recipe", recipe) for recipe in recipes]
    corpora = dict.fromkeys(read_yaml(path)["corpus"]["name"] for path in files if path.is_file())
    return [page for corpus in corpora if (page := current_report(corpus)).is_file()]


def _new_log(folder: Path) -> Path:
    """Choose a new log file; delete the oldest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("run-*.log"))[: -_KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    return folder / time.strftime("run-%Y%m%d-%H%M%S.log")


def _listed(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"
