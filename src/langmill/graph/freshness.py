"""Which stages are out of date, and why."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langmill.errors import ConfigError
from langmill.graph.dag import Graph, Stage
from langmill.graph.dvc_errors import explained_dvc_errors
from langmill.graph.process import Outcome

PredictParams = Callable[[str], Mapping[str, Any] | None]
"""From the path of a params file to its content once the stage that writes it has run; None if unknown."""


@dataclass(frozen=True)
class Freshness:
    """Whether a stage is up to date."""

    reasons: tuple[str, ...] = ()
    """Changes of the stage's own inputs, in words; empty if there are none."""
    follows: tuple[str, ...] = ()
    """Upstream stages that are out of date."""
    busy: bool = False
    """Whether another process is running it."""

    @property
    def fresh(self) -> bool:
        """Whether it is up to date."""
        return not (self.reasons or self.follows or self.busy)


def freshness_of(graph: Graph, predict: PredictParams | None = None) -> dict[str, Freshness]:
    """Find out which stages are out of date, and why.

    `predict` lets an edit of conf/ show before `compose` has run. Without it, a stage that only reads settings is out
    of date if the stage that writes them is.

    Raises:
        BusyError: Another DVC process holds the workspace's lock.
        GraphError: DVC can't read the workspace.
    """
    from dvc.lock import LockError
    from dvc.repo import lock_repo

    remembered = functools.cache(predict) if predict is not None else None
    result: dict[str, Freshness] = {}
    with explained_dvc_errors(), lock_repo(graph.repo):
        for address, stage in graph.stages.items():
            stale = {upstream for upstream in stage.upstream if not result[upstream].fresh}
            # The current content of the files is right, and cheaper, unless the stage that writes them has to run.
            foresight = remembered if stale & stage.by_params_only else None
            try:
                reasons, busy = tuple(_reasons(graph.nodes[address], foresight)), False
            except LockError:
                reasons, busy = (), True
            except ConfigError as error:  # of this stage's settings alone; the others can be judged
                reasons, busy = (f"its settings are refused: {error}",), False
            if foresight is not None:
                stale -= stage.by_params_only
            result[address] = Freshness(reasons, tuple(sorted(stale)), busy)
    return result


def is_untouched(stage: Stage, states: Mapping[str, Freshness], outcomes: Mapping[str, object]) -> bool:
    """Whether a stage needs no look of DVC's own, which takes a second: it was up to date, and what it reads still is.

    A stage of which it reads settings alone may have run meanwhile: `freshness_of` knew what that would write.
    """
    read = (outcomes[upstream] for upstream in stage.upstream if upstream not in stage.by_params_only)
    state = states.get(stage.address)
    return state is not None and state.fresh and all(outcome is Outcome.unchanged for outcome in read)


def _reasons(node: Any, predict: PredictParams | None) -> Iterator[str]:
    """Describe the changes since a stage last ran; `node` is DVC's stage."""
    from dvc.dependency.param import ParamsDependency

    if not any(item.hash_info for item in (*node.deps, *node.outs)):
        yield "it has not run yet"
        return
    changes = node.status().get(node.addressing, [])
    tables = [change for change in changes if isinstance(change, dict)]
    files = {path: how for table in tables for path, how in table.get("changed deps", {}).items()}
    for dep in dict(zip(map(str, node.deps), node.deps, strict=True)).values():  # one may be listed twice
        if isinstance(dep, ParamsDependency):
            yield from _param_reasons(dep, predict)
        elif str(dep) in files:
            yield {"deleted": f"{dep} is missing", "new": f"{dep} is read for the first time"}.get(
                files[str(dep)], f"{dep} changed"
            )
    for table in tables:
        for path, how in table.get("changed outs", {}).items():
            yield {
                "deleted": f"its output {path} is missing",
                "not in cache": f"its output {path} is not in DVC's cache",
                "new": f"its output {path} is new",
            }.get(how, f"its output {path} was changed by hand")
    if {"changed checksum", "changed command"} & {change for change in changes if isinstance(change, str)}:
        yield "its command or its list of inputs in dvc.yaml changed"
    if "always changed" in changes:
        yield "it runs every time"


def _param_reasons(dep: Any, predict: PredictParams | None) -> Iterator[str]:
    path = os.path.relpath(dep.fs_path, dep.repo.root_dir)
    before = (dep.hash_info.value if dep.hash_info else None) or {}
    values = predict(path) if predict is not None else None
    if values is None:
        if not dep.exists:
            yield f"{path} is missing"
            return
        now: Mapping[str, Any] = dep.read_params()
    else:
        now = {key: _at(values, key) for key in dep.params}
    for key in sorted({*before, *now}):
        if key in dep.params or key in now:
            yield from (f"{where}: {change}" for where, change in _differences(key, before.get(key), now.get(key)))


def _at(values: Any, key: str) -> Any:
    """The value at a dotted key, as `gate.metric`; None where there is none."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _differences(key: str, before: Any, now: Any) -> Iterator[tuple[str, str]]:
    """Yield each leaf that differs between two nested values: its dotted name, and `old → new`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}, key=str):
            yield from _differences(f"{key}.{name}", before.get(name), now.get(name))
    elif before != now:
        yield key, f"{_shown(before)} → {_shown(now)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"
