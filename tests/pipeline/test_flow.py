"""The whole line, small: from a table of texts to models in service; then what changes when something changes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from langmill.cli import call
from tests.pipeline.workspace import CLASSIFIER, LM, edit, langmill, make_here, outs

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(1500)]


def prefect(workspace, question: str) -> list[tuple]:
    """Rows of the flow's database."""
    with sqlite3.connect(f"file:{workspace}/.langmill/prefect/prefect.db?mode=ro", uri=True) as database:
        return database.execute(question).fetchall()


def test_a_run_ends_with_the_table_and_where_to_look(made_workspace, first_run):
    lines = first_run.splitlines()
    assert lines[0] == "Looking at what there is to do ..."
    assert "✓ Train tiny-lm: done in" in first_run
    head = next(index for index, line in enumerate(lines) if line.startswith("recipe"))
    lm, classifier = lines[head + 1], lines[head + 2]
    assert lm.startswith(f"{LM} ")
    assert "bits_per_byte" in lm
    assert "champion" in lm
    assert classifier.startswith(CLASSIFIER)
    assert "accuracy" in classifier
    assert "champion" in classifier
    assert [line.split("  ")[0] for line in lines[-5:-1]][:2] == ["make ui", "make serve"]
    assert "trace tiny-lm" in lines[-3]
    assert lines[-2].startswith(".langmill/versions/tiny/report.html ")
    pages = [*made_workspace.glob(".langmill/runs/*/files/data/report.html")]  # what each model's run in MLflow has
    assert len(pages) == 2
    for page in [made_workspace / ".langmill/versions/tiny/report.html", *pages]:
        assert "No earlier version of these documents is known" in page.read_text()
    log = lines[-1].removeprefix("The full log of the last run: ")
    text = (made_workspace / log).read_text()
    assert "===== train@tiny-lm =====" in text
    for noise in ("Traceback", "Warning", "WARNING"):
        assert noise not in first_run


def test_the_models_are_better_than_doing_nothing(made_workspace):
    metrics = json.loads((made_workspace / f"build/evaluation/{CLASSIFIER}/metrics.json").read_text())
    assert metrics["accuracy"]["low"] > metrics["baselines"]["majority"]["accuracy"]["high"]
    assert metrics["accuracy"]["value"] > 0.9


def test_prefect_has_one_task_a_step_and_what_there_is_to_read(made_workspace):
    runs = prefect(made_workspace, "SELECT name, state_type FROM flow_run")
    assert runs == [(f"make {LM}, {CLASSIFIER}", "COMPLETED")]
    tasks = dict(prefect(made_workspace, "SELECT name, state_type FROM task_run"))
    assert set(tasks) == {
        "compose", "fetch@tiny", "clean@tiny", "contract@tiny", "tokenizer@tiny", f"encode@{LM}",
        f"encode@{CLASSIFIER}", f"train@{LM}", f"finetune@{CLASSIFIER}", f"evaluate@{LM}", f"evaluate@{CLASSIFIER}",
        *(f"{verb} {name}" for verb in ("register", "validate", "rescore", "gate", "promote")
          for name in (LM, CLASSIFIER)),
    }  # fmt: skip
    assert set(tasks.values()) == {"COMPLETED"}
    artifacts = dict(prefect(made_workspace, "SELECT key, type FROM artifact WHERE key IS NOT NULL"))
    assert artifacts == {
        "data-tiny": "markdown",
        "metrics": "table",
        **{f"model-{name}": "markdown" for name in (LM, CLASSIFIER)},
        **{f"verdict-{name}": "markdown" for name in (LM, CLASSIFIER)},
        **{f"mlflow-{name}": "markdown" for name in (LM, CLASSIFIER)},
    }


def test_steps_that_use_every_core_run_one_at_a_time(made_workspace):
    spans = [
        (began, ended, name)
        for name, began, ended in prefect(made_workspace, "SELECT name, start_time, end_time FROM task_run")
        if name.split("@")[0] in ("train", "finetune", "evaluate")
    ]
    assert len(spans) == 4
    for (_, ended, first), (began, _, second) in pairwise(sorted(spans)):
        assert ended <= began, f"{first} and {second} ran side by side"


def test_a_second_run_has_nothing_to_do_and_says_so_quickly(remade_workspace, first_run):
    before = outs(remade_workspace)
    began = time.monotonic()
    done = langmill(remade_workspace, "run")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20
    assert f"Nothing to do: {LM} and {CLASSIFIER} are up to date, registered and judged." in done.stdout
    for name in (LM, CLASSIFIER):  # the same lines of the table
        row = next(line for line in first_run.splitlines() if line.startswith(f"{name} "))
        assert row in done.stdout
    assert outs(remade_workspace) == before
    assert len(prefect(remade_workspace, "SELECT id FROM flow_run")) == 1


def test_status_why_and_trace_tell_how_it_stands(remade_workspace, monkeypatch, capsys):
    began = time.monotonic()
    status = langmill(remade_workspace, "status")
    assert time.monotonic() - began < 15  # 3 s where nothing else runs; benchmarks/ measures it
    heads = ["model", "champion", "trivial baseline", "strong baseline", "challenger", "previous"]
    assert [head.strip() for head in status.stdout.splitlines()[0].split("  ") if head.strip()] == heads
    assert f"{LM}" in status.stdout
    monkeypatch.chdir(remade_workspace)
    assert call(["why", f"train@{LM}"]) == 0
    assert capsys.readouterr().out == f"train@{LM} is up to date.\n"
    edit(remade_workspace / "conf" / "recipe" / f"{CLASSIFIER}.yaml", steps=90)
    assert call(["why", CLASSIFIER]) == 0
    why = capsys.readouterr().out
    assert "  training.steps: 80 → 90\n" in why
    assert f"evaluate@{CLASSIFIER} (Judge {CLASSIFIER} on the test split)\n  it follows finetune@{CLASSIFIER}" in why
    assert f"train@{LM} " not in why
    assert call(["trace", CLASSIFIER]) == 0
    trace = capsys.readouterr().out
    assert f"{CLASSIFIER} version 1, champion" in trace
    assert f"fine-tuned from {LM} version 1" in trace


def test_models_answer_on_the_command_line(made_workspace, monkeypatch, capsys):
    monkeypatch.chdir(made_workspace)
    assert call(["classify", CLASSIFIER, "The film was wonderful and the whole thing felt superb."]) == 0
    label, probability, text = capsys.readouterr().out.rstrip("\n").split("\t")
    assert label == "positive"
    assert float(probability) > 0.5
    assert text.startswith("The film was wonderful")
    assert call(["generate", LM, "--prompt", "The film", "--max-new-tokens", "5", "--temperature", "0"]) == 0
    done = capsys.readouterr()
    assert done.out.startswith("The film")
    assert f"[{LM} version 1]" in done.err
    assert call(["generate", CLASSIFIER, "--prompt", "x"]) == 1
    assert "does not generate text" in capsys.readouterr().err


def test_a_comment_in_the_settings_runs_what_resolves_them_and_nothing_else(remade_workspace):
    before = outs(remade_workspace)
    recipe = remade_workspace / "conf" / "recipe" / f"{CLASSIFIER}.yaml"
    recipe.write_text(recipe.read_text() + "# A comment.\n")
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", f"evaluate@{CLASSIFIER}"], cwd=remade_workspace,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("Running stage")] == [
        "Running stage 'compose':"
    ]
    assert outs(remade_workspace) == before


def test_making_everything_again_gives_the_same_bytes(remade_workspace, monkeypatch):
    """Every stage once more, in this process: the weights are those of the processes that made the first ones."""
    # The senders of the runs' logs, which import MLflow each time, have nobody to send to.
    edit(remade_workspace / "conf" / "operation" / "default.yaml", tracking_uri="http://127.0.0.1:9")
    made = [out["path"] for stage in outs(remade_workspace).values() for out in stage]

    def files() -> dict[str, bytes]:
        found = [path for each in made for path in [remade_workspace / each, *(remade_workspace / each).rglob("*")]]
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    before = files()
    for folder in ("build", ".langmill/runs"):  # what was trained before would be taken again
        shutil.rmtree(remade_workspace / folder)
    monkeypatch.chdir(remade_workspace)
    make_here(LM, CLASSIFIER)
    assert all((remade_workspace / path).exists() for path in made)
    assert len(outs(remade_workspace)) == 11
    after = files()
    assert after.keys() == before.keys()
    assert [path for path, content in before.items() if after[path] != content] == []
