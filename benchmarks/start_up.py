"""How long a model takes to be ready: `langmill serve` and `generate`, validation, and the merge of an adapter.

    cd A_WORKSPACE && python benchmarks/start_up.py assistant
    cd A_WORKSPACE && python benchmarks/start_up.py reviews-lm sentiment --serve-only --rounds 5

In seconds of processor time, which another program on the machine changes less than those of the clock; the latter
stand beside them, each the median of the rounds. `langmill serve` is timed from its process's start to a /ready that
says 200, with the version in the server's cache, where the first round leaves it. Otherwise the recipe's newest version
is validated once more, and what that says is noted on it as always.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import resource
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
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
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve-only", action="store_true", help="time `langmill serve` alone")
    arguments = parser.parse_args()
    print(f"{'':56}{'processor':>12}{'clock':>12}")
    for name in arguments.recipes:
        _serve(name)  # fetches the version
        work = {f"`langmill serve {name}` until it is ready": lambda name=name: _serve(name)}
        for title, each in (work if arguments.serve_only else work | _others(name)).items():
            rounds = [_timed(each) for _ in range(arguments.rounds)]
            processor, clock = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{title:56}{processor:10.2f} s{clock:10.2f} s", flush=True)


def _others(name: str) -> dict[str, Callable[[], object]]:
    """What else readies a model, by what it is called."""
    registry = ModelRegistry(operation().tracking_uri)
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
    return work


def _serve(name: str) -> None:
    """Start a server and kill it as soon as it is ready."""
    command = [sys.executable, "-m", "langmill.cli", "serve", "--port", "0", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if found := re.search(r"listens on (\S+)", line):
                    break
            else:
                sys.exit(f"`langmill serve {name}` ended: {said}")
            while process.poll() is None:
                with contextlib.suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(f"{found[1]}/ready").close()
                    return
                time.sleep(0.02)
            sys.exit(f"`langmill serve {name}` ended: {process.stdout.read()}")
        finally:
            process.kill()  # its end is not timed


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
