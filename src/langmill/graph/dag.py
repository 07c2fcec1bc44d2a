"""Which stages there are, and which follows which: dvc.yaml as DVC reads it.

dvc.yaml says which stage follows which; nothing here or above repeats it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmill.errors import GraphError
from langmill.graph.dvc_errors import explained_dvc_errors, silence_dvc_log
from langmill.graph.locks import clear_stale_locks
from langmill.workspace import Workspace


@dataclass(frozen=True)
class Stage:
    """One step of the graph."""

    address: str
    """DVC's name of it: `train@reviews-lm`."""
    description: str
    outs: tuple[str, ...]
    """The paths it makes, relative to the workspace."""
    upstream: tuple[str, ...]
    """The addresses of the stages whose outputs it reads."""
    by_params_only: frozenset[str] = frozenset()
    """Those of them from which it reads single settings alone, not whole files."""

    @property
    def kind(self) -> str:
        """`train` of `train@reviews-lm`."""
        return self.address.split("@")[0]


@dataclass
class Graph:
    """Stages in an order in which they can run, each after those it reads from."""

    stages: dict[str, Stage]
    root: Path
    nodes: dict[str, Any] = field(repr=False)
    """DVC's own object of each stage."""
    repo: Any = field(repr=False)
    """DVC's own object of the workspace."""

    def stage(self, address: str) -> Stage:
        """The stage of an address.

        Raises:
            GraphError: dvc.yaml has none.
        """
        if address not in self.stages:
            raise GraphError(f"dvc.yaml has no stage {address!r}; there are: {', '.join(self.stages)}.")
        return self.stages[address]

    def names(self, place: Callable[[str], Path]) -> list[str]:
        """The names whose `place` some stage makes (`Workspace().evaluation` gives the recipes)."""
        outs = [out for stage in self.stages.values() for out in stage.outs]
        return [name for out in outs if str(place(name := Path(out).name)) == out]

    def maker(self, place: Callable[[str], Path], name: str) -> Stage:
        """The stage that makes a name's `place`.

        Raises:
            GraphError: There is none; the message lists the known names.
        """
        for stage in self.stages.values():
            if str(place(name)) in stage.outs:
                return stage
        known = ", ".join(self.names(place)) or "none"
        raise GraphError(
            f"dvc.yaml makes no {place(name)}; it knows {known}. A recipe needs a line there: `langmill new recipe` "
            "writes one, and the line of an optional recipe stands there as a comment."
        )

    def ancestors(self, address: str) -> set[str]:
        """The stages that must be done before this one."""
        found: set[str] = set()
        waiting = [address]
        while waiting:
            for upstream in self.stage(waiting.pop()).upstream:
                if upstream not in found:
                    found.add(upstream)
                    waiting.append(upstream)
        return found

    def restricted_to(self, addresses: Iterable[str]) -> Graph:
        """The part of the graph that these stages need, themselves included."""
        wanted = set(addresses)
        for address in list(wanted):
            wanted |= self.ancestors(address)
        stages = {address: stage for address, stage in self.stages.items() if address in wanted}
        return Graph(stages, self.root, self.nodes, self.repo)

    def for_recipes(self, recipes: Sequence[str]) -> Graph:
        """The part of the graph that ends with the evaluation of these recipes.

        Raises:
            GraphError: A recipe has no line in dvc.yaml.
        """
        return self.restricted_to(self.maker(Workspace().evaluation, recipe).address for recipe in recipes)


def read_graph(root: Path = Path()) -> Graph:
    """Read dvc.yaml with DVC, and take what killed DVC processes left behind out of its way.

    Raises:
        GraphError: There is no workspace here, or dvc.yaml is refused (a cycle, two stages with one output, a typo).
    """
    silence_dvc_log()
    clear_stale_locks(root)
    with explained_dvc_errors():
        from dvc.dependency.param import ParamsDependency
        from dvc.repo import Repo

        repo = Repo(str(root))
        edges = repo.index.graph
        nodes = {node.addressing: node for node in edges}
        stages: dict[str, Stage] = {}
        for address in _ordered({node.addressing: [up.addressing for up in edges.successors(node)] for node in edges}):
            node = nodes[address]
            upstream = sorted(up.addressing for up in edges.successors(node))
            files = [dep.fs_path for dep in node.deps if not isinstance(dep, ParamsDependency)]
            by_params = frozenset(
                name
                for name in upstream
                if not any(_overlap(out.fs_path, path) for out in nodes[name].outs for path in files)
            )
            outs = tuple(os.path.relpath(out.fs_path, repo.root_dir) for out in node.outs)
            stages[address] = Stage(address, node.desc or address, outs, tuple(upstream), by_params)
    return Graph(stages, Path(repo.root_dir), nodes, repo)


def _ordered(upstream: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Every address after those it depends on, by name where there is a choice."""
    done: set[str] = set()
    while len(done) < len(upstream):
        for address in sorted(address for address in upstream if address not in done):
            if done.issuperset(upstream[address]):
                done.add(address)
                yield address


def _overlap(one: str, other: str) -> bool:
    """Whether two absolute paths are equal or one lies in the other."""
    first, second = Path(one), Path(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
