"""How long a model takes to be ready: `langmill generate`, validation in fresh processes, and the merge of an adapter.

    cd A_WORKSPACE && python benchmarks/start_up.py assistant

In seconds of processor time, which another program on the machine changes less than those of the clock; the latter
stand beside them. The recipe's newest version is validated once more, and what that says is noted on it as always.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from langmill.cli.workspace import operation
from langmill.files import read_json
from langmill.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_state, load_tensors
from langmill.models.low_rank import with_adapter
from langmill.registry.store import ModelRegistry
from langmill.registry.validate import validate
from langmill.workspace import Workspace

IMPORTS = "import torch, langmill.tasks.loading, langmill.registry.store, langmill.models.device"


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    name, registry = arguments.recipe, ModelRegistry(operation().tracking_uri)
    newest = registry.versions(name)[-1]
    asked = [sys.executable, "-m", "langmill.cli", "generate", name, "--prompt", "Hello", "--max-new-tokens", "8"]
    work: dict[str, Callable[[], object]] = {
        "the imports of `langmill generate`": lambda: _run([sys.executable, "-c", IMPORTS]),
        "`langmill generate`, eight tokens, with them": lambda: _run(asked),
        "validation, both processes": lambda: validate(registry, newest, Workspace().model(name), again=True),
    }
    folder = Workspace().model(name)
    if (folder / ADAPTER_WEIGHTS).is_file():
        work["the merge of the adapter"] = lambda: _merge(folder)
    print(f"{'':48}{'processor':>12}{'clock':>12}")
    for title, each in work.items():
        best = min(_timed(each) for _ in range(arguments.rounds))
        print(f"{title:48}{best[0]:10.2f} s{best[1]:10.2f} s")


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    before, began = _processor(), time.perf_counter()
    work()
    return _processor() - before, time.perf_counter() - began


def _processor() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _merge(folder: Path) -> None:
    state, adapter, config = (
        load_state(folder),
        load_tensors(folder / ADAPTER_WEIGHTS),
        read_json(folder / ADAPTER_CONFIG),
    )
    for name, weight in state.items():
        with_adapter(weight, name, adapter, config)


if __name__ == "__main__":
    main()
