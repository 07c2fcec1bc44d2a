"""`dvc exp run -S` with settings that a stage composes: what docs/guides/data-versions.md says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.forked import fork_dvc

pytestmark = [pytest.mark.unit, pytest.mark.slow]
GRAPH = """\
stages:
  compose:
    cmd: mkdir -p build && cp settings.yaml build/settings.yaml
    deps: [settings.yaml]
    outs: [build/settings.yaml]
  train:
    cmd: PYTHON train.py
    deps: [train.py]
    params:
      - build/settings.yaml:
          - training
    outs: [build/evaluation]
  never_made:
    cmd: "false"
    outs: [build/another]
metrics:
  - build/another/metrics.json
  - build/evaluation/metrics.json
plots:
  - build/evaluation/loss.csv: {x: step, y: loss}
"""
TRAIN = """\
import json, os, re
steps = int(re.search(r"steps: (\\d+)", open("build/settings.yaml").read())[1])
os.makedirs("build/evaluation", exist_ok=True)
json.dump({"steps": steps}, open("build/evaluation/metrics.json", "w"))
open("build/evaluation/loss.csv", "w").write(f"step,loss\\n1,3\\n{steps},2\\n")
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace that has run once and is committed."""
    (tmp_path / "dvc.yaml").write_text(GRAPH.replace("PYTHON", sys.executable))
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "settings.yaml").write_text("# Mine.\ntraining: {steps: 500}\nother: 1\n")
    (tmp_path / ".gitignore").write_text("/build/\n/.dvc/tmp/\n/.dvc/cache/\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    run(tmp_path, "git", "init", "-q")
    for key, value in (("user.name", "T"), ("user.email", "t@example.org")):
        run(tmp_path, "git", "config", key, value)
    dvc(tmp_path, "repro", "-q", "train")
    run(tmp_path, "git", "add", ".")
    run(tmp_path, "git", "commit", "-qm", "all")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    code, said = fork_dvc(folder, *arguments)
    assert code == 0, said
    return said


def test_a_try_edits_the_settings_runs_what_reads_them_and_is_compared(workspace: Path) -> None:
    said = dvc(workspace, "exp", "run", "-n", "short", "-S", "settings.yaml:training.steps=7", "-S",
               "settings.yaml:+training.rate=0.1", "train")  # fmt: skip
    assert "Ran experiment(s): short" in said
    text = (workspace / "settings.yaml").read_text()
    assert text.startswith("# Mine.\n")
    assert yaml.safe_load(text) == {"training": {"steps": 7, "rate": 0.1}, "other": 1}
    differs = json.loads(dvc(workspace, "metrics", "diff", "HEAD", "short", "--json").splitlines()[-1])
    assert differs == {"build/evaluation/metrics.json": {"steps": {"diff": -493, "new": 7, "old": 500}}}
    assert "index.html" in dvc(workspace, "plots", "diff", "HEAD", "short", "--out", "page")
    run(workspace, "git", "checkout", "-q", ".")
    same = dvc(workspace, "exp", "run", "-n", "other", "-S", "settings.yaml:other=2", "train")
    assert "Running stage 'compose'" in same
    assert "Running stage 'train'" not in same  # it reads another section, and that run is in the cache


def test_queued_tries_run_in_copies_of_the_workspace(workspace: Path) -> None:
    for steps in (8, 9):
        dvc(
            workspace,
            "exp",
            "run",
            "--queue",
            "-n",
            f"q{steps}",
            "-S",
            f"settings.yaml:training.steps={steps}",
            "train",
        )
    assert "steps: 500" in (workspace / "settings.yaml").read_text()
    dvc(workspace, "exp", "run", "--run-all", "-j", "1")
    assert "steps: 500" in (workspace / "settings.yaml").read_text()
    # DVC names the outputs of what was never made, and ends with 255, after it has put all others in place.
    with pytest.raises(AssertionError, match=r"(?s)Checkout failed for following targets.*build/another"):
        dvc(workspace, "exp", "apply", "q9")
    assert json.loads((workspace / "build/evaluation/metrics.json").read_text()) == {"steps": 9}
    run(workspace, "git", "checkout", "-q", ".")
    dvc(workspace, "exp", "branch", "q8", "tried")
    run(workspace, "git", "merge", "-q", "tried")
    dvc(workspace, "checkout", "-q", "--allow-missing")
    assert json.loads((workspace / "build/evaluation/metrics.json").read_text()) == {"steps": 8}
