"""The stages and their dependencies: dvc.yaml as DVC reads it.

dvc.yaml alone defines the order of the stages; nothing here or above repeats it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmill.config.names import did_you_mean, only_a_base
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
    """Paths of its outputs, relative to the workspace."""
    upstream: tuple[str, ...]
    """Addresses of the stages whose outputs it reads."""
    by_params_only: frozenset[str] = frozenset()
    """The upstream stages of which it reads single settings only, not whole files."""

    @property
    def kind(self) -> str:
        """`train` of `train@reviews-lm`."""
        return self.address.split("@")[0]


@dataclass
class Graph:
    """Stages in topological order."""

    stages: dict[str, Stage]
    root: Path
    nodes: dict[str, Any] = field(repr=False)
    """DVC's object of each stage."""
    repo: Any = field(repr=False)
    """DVC's object of the workspace."""

    def stage(self, address: str) -> Stage:
        """Find a stage by its address; GraphError where dvc.yaml has none."""
        if address not in self.stages:
            name = address.partition("@")[2]
            of_name = [each for each in self.stages if name and each.partition("@")[2] == name]  # train, or finetune
            near = difflib.get_close_matches(address, of_name, n=1, cutoff=0.4)
            close = ", ".join(near or difflib.get_close_matches(address, self.stages, n=3))
            hint = f"did you mean {close}?" if close else f"there are: {', '.join(self.stages)}."
            raise GraphError(f"dvc.yaml has no stage {address!r}; {hint}", "unknown")
        return self.stages[address]

    def names(self, place: Callable[[str], Path]) -> list[str]:
        """Names whose `place` some stage makes (of `Workspace().evaluation`: the recipes)."""
        outs = [out for stage in self.stages.values() for out in stage.outs]
        return [name for out in outs if str(place(name := Path(out).name)) == out]

    def maker(self, place: Callable[[str], Path], name: str) -> Stage:
        """Find the stage that makes a name's `place`; GraphError, with the known names, where there is none."""
        for stage in self.stages.values():
            if str(place(name)) in stage.outs:
                return stage
        if str(Workspace().model(name)) in {out for stage in self.stages.values() for out in stage.outs}:
            raise GraphError(only_a_base(name), "mismatch")
        known = self.names(place)
        raise GraphError(
            f"dvc.yaml makes no {place(name)}; it knows {', '.join(known) or 'none'}.{did_you_mean(name, known)} A "
            "recipe needs a line there: `langmill new recipe` writes one, and the line of an optional recipe stands "
            "there as a comment.",
            "unknown",
        )

    def ancestors(self, address: str) -> set[str]:
        """Addresses of all stages upstream of this one, direct or not."""
        found: set[str] = set()
        waiting = [address]
        while waiting:
            for upstream in self.stage(waiting.pop()).upstream:
                if upstream not in found:
                    found.add(upstream)
                    waiting.append(upstream)
        return found

    def restricted_to(self, addresses: Iterable[str]) -> Graph:
        """Select these stages and all upstream of them."""
        wanted = set(addresses)
        for address in list(wanted):
            wanted |= self.ancestors(address)
        stages = {address: stage for address, stage in self.stages.items() if address in wanted}
        return Graph(stages, self.root, self.nodes, self.repo)

    def for_recipes(self, recipes: Sequence[str]) -> Graph:
        """Select the evaluations of these recipes and all upstream of them. Raises as `maker`."""
        return self.restricted_to(self.maker(Workspace().evaluation, recipe).address for recipe in recipes)


def read_graph(root: Path = Path()) -> Graph:
    """Read dvc.yaml with DVC, after clearing the stale locks of killed DVC processes.

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
        reads = {node.addressing: sorted(up.addressing for up in edges.successors(node)) for node in edges}
        stages: dict[str, Stage] = {}
        for address in _ordered(reads):
            node, upstream = nodes[address], reads[address]
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
    """Sort the addresses topologically, by name where there is a choice."""
    done: set[str] = set()
    while len(done) < len(upstream):
        for address in sorted(address for address in upstream if address not in done):
            if done.issuperset(upstream[address]):
                done.add(address)
                yield address


def _overlap(one: str, other: str) -> bool:
    """Whether two absolute paths are equal or one is in the other."""
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)
