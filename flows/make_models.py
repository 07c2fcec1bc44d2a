"""The main job: bring every stage of the graph up to date, then register, validate, judge and promote each model.

Which stage follows which is read from DVC; DVC is also the only cache. A step is a plain function; here it becomes a
Prefect task with retries. What follows the graph changes the world outside the workspace's files, so it is not in the
graph: each of those functions can be repeated without harm.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FailedRun
from prefect.futures import PrefectFuture
from prefect.states import Cancelled as CancelledState
from prefect.states import Completed, Failed, State

from flows import artifacts
from flows.records import PREFECT_ERRORS, log_sentence, mark_crashed, suppress_prefect_errors, tag_run
from langmill.config.compose import compose_operation, compose_recipe
from langmill.config.sections import Operation, Recipe
from langmill.errors import LangmillError, SpaceError, TransientError, without_passwords
from langmill.events import LOCK_VARIABLE, LOG_VARIABLE, SERVER_VARIABLE, UP_TO_DATE, Event, EventLog, StepState
from langmill.files import causes, exclusive_lock, full_disk_sentence, is_full_disk
from langmill.graph.dag import Graph, Stage, read_graph
from langmill.graph.freshness import freshness_of, is_untouched
from langmill.graph.process import Outcome, reproduce
from langmill.lifetime import INTERRUPTED, end_with_parent
from langmill.registry.outcomes import settle
from langmill.stages.foresight import composed_params
from langmill.stages.notes import note_of
from langmill.stages.process import sweep_workspace
from langmill.tracking.explained import first_line
from langmill.workspace import Workspace

_LOOK_SECONDS = 0.5
_NAMED = 4  # recipes in the name of a run
logger = logging.getLogger("langmill.flow")


@dataclass
class Step:
    """One task of the flow."""

    key: str
    title: str
    upstream: tuple[str, ...]
    work: Callable[[Mapping[str, Any]], Any]
    """Gets the results of the upstream steps, by key."""
    note: Callable[[Any], str] = lambda result: ""
    """What to say of the result."""
    idle: Callable[[Any], bool] = lambda result: True
    """Whether the result was there before."""
    alone: bool = False
    """It uses the whole machine: never beside another such step."""


class Course:
    """Runs steps as Prefect tasks, each as soon as those before it are done, some side by side.

    A step after a failed one is skipped; the others go on.
    """

    def __init__(self, steps: Sequence[Step], operation: Operation, cancel: threading.Event) -> None:
        self.results: dict[str, Any] = {}
        self.failures: dict[str, BaseException] = {}
        self.skipped: set[str] = set()
        self._steps = {step.key: step for step in steps}
        self._waiting = dict(self._steps)
        self._running: set[str] = set()
        self._futures: dict[str, PrefectFuture[Any]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._operation = operation
        self._cancel = cancel
        self._events = EventLog.from_environment()

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return all(self._steps[key].idle(result) for key, result in self.results.items())

    def run(self) -> None:
        """Run every step, or skip it; returns when none is at work any more."""
        for step in self._steps.values():
            self._say(step, StepState.waiting)
        try:
            self._drive()
        except KeyboardInterrupt:  # end calmly: the stages are stopped, the rest is skipped
            self._cancel.set()
            self._drive()
        except BaseException:  # Prefect's own cancellation: it wants its exception back
            self._cancel.set()
            raise

    def _drive(self) -> None:
        while self._running or self._waiting:
            for step in list(self._waiting.values()):
                if self._cancel.is_set() or any(up in self.failures or up in self.skipped for up in step.upstream):
                    self.skipped.add(step.key)
                    del self._waiting[step.key]
                    self._say(step, StepState.skipped)
                elif all(up in self.results for up in step.upstream) and self._has_room(step):
                    del self._waiting[step.key]
                    self._running.add(step.key)
                    self._start(step)
            with contextlib.suppress(queue.Empty):
                self._finish(self._steps[self._ended.get(timeout=_LOOK_SECONDS)])

    def _has_room(self, step: Step) -> bool:
        if len(self._running) >= self._operation.parallel:
            return False
        return not (step.alone and any(self._steps[key].alone for key in self._running))

    def _start(self, step: Step) -> None:
        attempts = iter(range(self._operation.retries, -1, -1))
        again = threading.Event()

        def work() -> Any:
            left = next(attempts)
            again.clear()
            self._say(step, StepState.running)
            try:
                return step.work(self.results)
            except TransientError as error:  # nothing else gets better by itself
                if left and not self._cancel.is_set():
                    again.set()
                    self._say(step, StepState.waiting, f"{error} Trying again.")
                raise

        runner = task(
            work,
            name=step.key,
            task_run_name=step.key,
            description=step.title,
            retries=self._operation.retries,
            retry_delay_seconds=self._operation.retry_seconds,
            retry_condition_fn=lambda *_: again.is_set() and not self._cancel.is_set(),
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        future = runner.submit(wait_for=[self._futures[key] for key in step.upstream])
        self._futures[step.key] = future
        future.add_done_callback(lambda _: self._ended.put(step.key))

    def _finish(self, step: Step) -> None:
        self._running.discard(step.key)
        result = self._futures[step.key].result(raise_on_failure=False)
        if isinstance(result, BaseException):
            self.failures[step.key] = result
            logger.error("%s failed", step.key, exc_info=result)
            self._events.write(Event(step.key, step.title, StepState.failed, *_explained(result)))
        else:
            self.results[step.key] = result
            self._say(step, StepState.done, step.note(result))

    def _say(self, step: Step, state: StepState, note: str = "") -> None:
        self._events.write(Event(step.key, step.title, state, without_passwords(note)))


def _run_name() -> str:
    chosen = runtime.flow_run.parameters.get("recipes")
    if not chosen:
        try:
            chosen = compose_operation().recipes
        except LangmillError:  # the flow itself then fails with it
            return "make the default recipes"
    more = len(chosen) - _NAMED
    return f"make {', '.join(chosen[:_NAMED])}" + (f" and {more} more" if more > 0 else "")


@flow(name="make-models", flow_run_name=_run_name, validate_parameters=False)  # type: ignore[untyped-decorator]
def make_models(recipes: list[str] | None = None) -> State[Any]:
    """Make, register and judge models.

    Args:
        recipes: Names of recipes in dvc.yaml; without any, those of conf/operation/default.yaml.
    """
    tag_run()
    operation = compose_operation()
    chosen = list(dict.fromkeys(recipes or operation.recipes))
    settings = [compose_recipe(name) for name in chosen]
    cancel = threading.Event()
    with _workspace():
        mark_crashed(make_models.name)
        graph = read_graph().for_recipes(chosen)
        steps = list(_stage_steps(graph, operation, cancel))
        for recipe in settings:
            steps += _registry_steps(graph, recipe, operation, cancel)
        course = Course(steps, operation, cancel)
        course.run()
        with suppress_prefect_errors("publishing artifacts"):
            artifacts.publish(settings, course.results, operation)
    if cancel.is_set():
        return CancelledState(message="Stopped; the next run resumes from there.")
    if course.failures:
        reasons = [f"{key}: {_explained(error)[0]}" for key, error in course.failures.items()]
        return Failed(message=" ".join([*reasons, log_sentence(os.environ.get(LOG_VARIABLE))]).rstrip())
    if course.idle:
        return Completed(name="Nothing to do", message=f"{', '.join(chosen)}: everything was up to date.")
    return Completed(message=f"{', '.join(chosen)}: done.")


def _stage_steps(graph: Graph, operation: Operation, cancel: threading.Event) -> Iterator[Step]:
    """A step for each stage; one that is up to date with all before it costs nothing."""
    states = freshness_of(graph, composed_params())
    for stage in graph.stages.values():

        def work(done: Mapping[str, Any], stage: Stage = stage) -> Outcome:
            return Outcome.unchanged if is_untouched(stage, states, done) else _run_stage(stage, cancel)

        note, alone = functools.partial(note_of, stage), stage.kind in operation.one_at_a_time
        yield Step(stage.address, stage.description, stage.upstream, work, note, _unchanged, alone)


def _unchanged(outcome: Outcome) -> bool:
    return outcome is Outcome.unchanged


def _run_stage(stage: Stage, cancel: threading.Event) -> Outcome:
    workspace = Workspace()
    output, progress = workspace.output(stage.address), workspace.progress(stage.address)
    try:
        return reproduce(stage.address, root=workspace.root, log=output, progress=progress, cancel=cancel)
    finally:
        _keep_logs(stage.address, output)
        if stage.kind == "contract" and not cancel.is_set():
            artifacts.write_version_report(stage.address.partition("@")[2])


def _keep_logs(address: str, output: Path) -> None:
    """Add what a step's process said, and its own log, to the run's log."""
    name = os.environ.get(LOG_VARIABLE)
    if name is None:
        return
    parts = [f"\n===== {address} =====\n"]
    for path in (output, Workspace().log(address)):
        with contextlib.suppress(OSError):
            parts.append(path.read_text(encoding="utf-8", errors="replace"))
    with contextlib.suppress(OSError):  # on a full disk the stage's own sentence matters more
        with Path(name).open("a", encoding="utf-8") as log:
            log.write(without_passwords("".join(parts)))
        output.unlink(missing_ok=True)


def _registry_steps(graph: Graph, recipe: Recipe, operation: Operation, cancel: threading.Event) -> list[Step]:
    """What is done with a model once it is made."""
    name, uri = recipe.name, operation.tracking_uri
    made = graph.maker(Workspace().evaluation, name).address
    verbs = ("register", "validate", "rescore", "gate", "promote")
    register, validate, rescore, gate, promote = (f"{verb} {name}" for verb in verbs)

    alone = "evaluate" in operation.one_at_a_time  # a rescoring is the same work

    def registered(done: Mapping[str, Any]) -> Any:
        from langmill.registry.steps import package_and_register

        return package_and_register(recipe, uri)

    def validated(done: Mapping[str, Any]) -> Any:
        from langmill.registry.steps import validate_version

        return validate_version(recipe, done[register].version, uri)

    def rescored(done: Mapping[str, Any]) -> Any:
        from langmill.registry.steps import rescore_champion

        version, workspace = done[register].version, Workspace()
        log, progress = workspace.output(rescore), workspace.progress(rescore)
        try:
            return rescore_champion(recipe, version, uri, operation.device, log=log, progress=progress, cancel=cancel)
        finally:
            if log.is_file():
                _keep_logs(rescore, log)

    def judged(done: Mapping[str, Any]) -> Any:
        from langmill.registry.steps import judge_version

        return judge_version(recipe, done[register].version, uri, done[rescore].problem)

    def promoted(done: Mapping[str, Any]) -> Any:
        from langmill.registry.steps import promote_if_passed

        verdict = done[gate]
        promotion = promote_if_passed(done[register].version, verdict, uri, "make-models")
        settle(name, done[register].version.version, promotion.champion, verdict.outcome, promotion.sentence)
        return promotion

    def note_version(result: Any) -> str:
        return f"version {result.version.version}" + ("" if result.fresh else ", as before")

    def note_rescored(result: Any) -> str:
        return str(result.problem) if result.needed else UP_TO_DATE

    def note_champion(result: Any) -> str:
        if result.moved:
            return str(result.sentence)
        return f"version {result.champion} stays" if result.champion is not None else "none yet"

    return [
        Step(register, f"Register {name}", (made,), registered, note_version, lambda result: not result.fresh),
        Step(validate, f"Try {name} in a fresh process", (register,), validated, lambda result: str(result.reason)),
        Step(
            rescore,
            f"Score the champion of {name} again",
            (register, validate),
            rescored,
            note_rescored,
            lambda result: not result.needed,
            alone,
        ),
        Step(gate, f"Ask the gate about {name}", (register, rescore), judged, lambda verdict: str(verdict.outcome)),
        Step(
            promote,
            f"Settle the champion of {name}",
            (register, gate),
            promoted,
            note_champion,
            lambda result: not result.moved,
        ),
    ]


def _explained(error: BaseException) -> tuple[str, int]:
    """An error in a sentence for whoever started the run, and the exit code of its kind; the log keeps the trace."""
    kind: type[LangmillError] = LangmillError
    sentence = f"A bug in Langmill: {type(error).__name__}: {error}."
    if isinstance(error, LangmillError):
        kind, sentence = type(error), str(error)
    elif is_full_disk(error):
        kind, sentence = SpaceError, full_disk_sentence(Workspace().state)
    elif any(isinstance(cause, PREFECT_ERRORS) for cause in causes(error)):  # Prefect wraps some in a RuntimeError
        own = os.environ.get(SERVER_VARIABLE) == "own"
        address = "of this run" if own else os.environ.get("PREFECT_API_URL")
        said = first_line(str(error)).rstrip(".")
        kind = TransientError
        sentence = (
            f"The Prefect server {address} can't be used: {type(error).__name__}: {said}. Check "
            "PREFECT_API_URL and that the server is up; the next run resumes from there."
        )
    return without_passwords(sentence), kind.exit_code


@contextlib.contextmanager
def _workspace() -> Iterator[None]:
    """Hold the workspace's lock, unless the process that started this one holds it; a scheduled run waits for it."""
    if os.environ.get(LOCK_VARIABLE) == "held":
        yield
        return
    end_with_parent()  # the schedule's worker, which started this run in a process group of its own
    with exclusive_lock(Workspace().run_lock, "A scheduled run", wait=True):
        sweep_workspace()
        yield


def main(arguments: Sequence[str]) -> int:
    """Run the flow once, for `langmill run`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.make_models", description=__doc__)
    parser.add_argument("recipes", nargs="*")
    recipes = parser.parse_args(arguments).recipes
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    error: object
    try:
        if os.environ.get(SERVER_VARIABLE) == "own":
            sys.stdin.read()  # closed when the server is up
        state = make_models(recipes or None, return_state=True)
        if state.is_completed():
            return 0
        if state.is_cancelled():
            return INTERRUPTED
        error = state.result(raise_on_failure=False)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as failure:
        logger.exception("The flow could not be run")
        error = failure
    if isinstance(error, Exception) and not isinstance(error, FailedRun):  # outside any step, so nobody said it yet
        sentence, code = _explained(error)
        EventLog.from_environment().write(Event("flow", "The flow", StepState.failed, sentence, code))
        return code
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
