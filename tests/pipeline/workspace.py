"""A whole workspace on which the real line runs in about a minute: the shipped files, a small corpus, small recipes."""

from __future__ import annotations

import contextlib
import csv
import importlib
import itertools
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
LM, CLASSIFIER = "tiny-lm", "tiny-sentiment"
KEPT = ("reviews", "reviews-lm", "sentiment", "sentiment-decoder", "minilm")
"""The lines of the shipped dvc.yaml that stay: some neighbours, and not the seconds that checking all of them takes."""

_ADJECTIVES = {
    "positive": ["wonderful", "charming", "brilliant", "delightful", "superb", "moving"],
    "negative": ["dreadful", "boring", "clumsy", "awful", "tedious", "stupid"],
}
_SUBJECTS = ["film", "story", "plot", "cast", "music", "ending", "script", "dialogue"]
_CLOSINGS = [
    "I saw it on a rainy evening.",
    "My sister came along.",
    "It ran for two hours.",
    "The hall was half full.",
]


def sentences(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Different labelled texts from which a small model can learn both the language and the label."""
    rows = []
    for label, words in _ADJECTIVES.items():
        for subject, first, second, closing in itertools.product(_SUBJECTS, words, words, _CLOSINGS):
            if first != second:
                rows.append((f"The {subject} was {first} and the whole thing felt {second}. {closing}", label))
    random.Random(seed).shuffle(rows)
    return rows[:count]


def write_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write labelled texts as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *rows])


def langmill(
    workspace: Path, *arguments: str, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one command line in a workspace."""
    return subprocess.run(
        command(*arguments), cwd=workspace, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


def command(*arguments: str) -> list[str]:
    """The command line of `langmill`, with this interpreter."""
    return [sys.executable, "-m", "langmill.cli", *arguments]


def make_here(*recipes: str) -> None:
    """Run the stages of recipes, in the graph's order, in the current folder and this process; DVC keeps nothing."""
    from langmill.graph.dag import read_graph

    for address, stage in read_graph().for_recipes(recipes).stages.items():
        module = importlib.import_module(f"langmill.stages.{'train' if stage.kind == 'finetune' else stage.kind}")
        module.main(address.partition("@")[2])


def edit(path: Path, /, **values: object) -> None:
    """Set values of a YAML file by their (unique) key, line by line, and keep the rest as it is."""
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text, count = re.subn(rf"^(\s*){key}:.*$", rf"\g<1>{key}: {value}", text, flags=re.MULTILINE)
        assert count == 1, f"{path} holds {key} {count} times"
    path.write_text(text, encoding="utf-8")


def outs(workspace: Path) -> dict[str, list[dict[str, object]]]:
    """What dvc.lock says of each stage's outputs."""
    lock = yaml.safe_load((workspace / "dvc.lock").read_text(encoding="utf-8"))
    return {address: stage["outs"] for address, stage in lock["stages"].items()}


def keep(graph: Path, names: Iterable[str]) -> None:
    """Take every name but some out of a dvc.yaml."""
    text = graph.read_text(encoding="utf-8")
    text = re.sub(rf"^      (?!(?:{'|'.join(names)}):)[a-z0-9-]+: \{{.*\}}\n", "", text, flags=re.MULTILINE)
    graph.write_text(text, encoding="utf-8")


OWN_TEXT = {"letters-topic": CLASSIFIER, "letters-lm": LM, "letters": "tiny"}
"""The names of this workspace, by those of the guide for one's own text."""


def guide_commands(page: str = "own-text", own: Mapping[str, str] = OWN_TEXT) -> list[list[str]]:
    """The commands of a guide, in order, with names of this workspace for the guide's."""
    guide = (REPOSITORY / "docs" / "guides" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    lines = [
        re.sub("|".join(own), lambda found: own[found[0]], line) for block in blocks for line in block.splitlines()
    ]
    return [shlex.split(line.removeprefix("langmill "), comments=True) for line in lines]


def create(folder: Path, rows: list[tuple[str, str]] | None = None) -> Path:
    """Make the workspace; the recipes and their lines in dvc.yaml come from the guide's `langmill new`."""
    clone(folder)
    write_csv(folder / "data" / "tiny.csv", sentences(1200) if rows is None else rows)
    from langmill.cli import call  # not before conftest.py has set what libraries read at their import

    with contextlib.chdir(folder):
        for arguments in guide_commands():
            assert arguments[0] != "new" or call(arguments) == 0, arguments
    shrink(folder)
    return folder


def clone(folder: Path) -> None:
    """Copy what a clone of the repository has, with few of its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    for name in ("conf", "src", "flows"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    keep(folder / "dvc.yaml", KEPT)
    (folder / ".dvc").mkdir()
    shutil.copy(REPOSITORY / ".dvc" / "config", folder / ".dvc" / "config")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def shrink(folder: Path) -> None:
    """Make the recipes small, and the shipped ones leave the way."""
    conf = folder / "conf"
    edit(conf / "tokenizer" / "tiny.yaml", vocab_size=400)
    edit(conf / "corpus" / "base.yaml", validation=0.1, test=0.2)
    edit(conf / "model" / "decoder-small.yaml", dim=32, num_layers=1, hidden_dim=64, num_heads=2, num_kv_heads=2)
    small = {
        "batch_size": 16,
        "micro_batch_size": 16,
        "block_length": 64,
        "validate_every": 20,
        "validation_batches": 2,
    }
    edit(conf / "training" / "from-scratch.yaml", **small, threads=1, warmup_steps=5, checkpoint_every=20)
    edit(conf / "training" / "fine-tuning.yaml", batch_size=32, micro_batch_size=32, warmup_steps=5)
    edit(conf / "evaluation" / "default.yaml", bootstrap_samples=200)
    edit(conf / "recipe" / f"{LM}.yaml", steps=60)
    edit(conf / "recipe" / f"{CLASSIFIER}.yaml", steps=80)
    edit(conf / "operation" / "default.yaml", recipes=f"[{LM}, {CLASSIFIER}]", retries=0)
    edit(conf / "serving" / "default.yaml", recipes=f"[{LM}, {CLASSIFIER}]")
