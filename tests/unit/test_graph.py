"""The graph module against a small real DVC workspace."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from langmill.errors import GraphError
from langmill.graph import (
    Cancelled,
    Freshness,
    Outcome,
    failure_sentence,
    heal_locks,
    read_graph,
    run,
)

pytestmark = pytest.mark.unit

DVC_YAML = """
vars:
  - names:
      one: {source: text.txt}
      two: {source: text.txt}
stages:
  settings:
    desc: Write the settings
    cmd: mkdir -p build && cp settings.yaml build/settings.yaml
    deps: [settings.yaml]
    outs: [build/settings.yaml]
  copy:
    foreach: ${names}
    do:
      desc: Copy ${key}
      cmd: mkdir -p build/copies/${key} && cp ${item.source} build/copies/${key}/out.txt
      deps: ["${item.source}"]
      params:
        - build/settings.yaml:
            - training
      outs:
        - build/copies/${key}
  judge:
    foreach: ${names}
    do:
      desc: Judge ${key}
      cmd: mkdir -p build/evaluation/${key} && wc -c build/copies/${key}/out.txt > build/evaluation/${key}/size
      deps:
        - build/copies/${key}
      outs:
        - build/evaluation/${key}
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace whose stages take no time."""
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "settings.yaml").write_text("training: {steps: 500, optimizer: {rate: 0.1}}\nother: 1\n")
    (tmp_path / "text.txt").write_text("hello\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(workspace: Path, *addresses: str) -> list[Outcome]:
    """Run stages one after the other."""
    return [
        run(
            address,
            root=workspace,
            log=workspace / ".langmill" / "logs" / "run.log",
            progress=workspace / ".langmill" / "progress" / f"{address}.json",
            cancel=threading.Event(),
        )
        for address in addresses
    ]


def test_stages_come_in_an_order_in_which_they_can_run(workspace):
    graph = read_graph()
    assert list(graph.stages) == ["settings", "copy@one", "copy@two", "judge@one", "judge@two"]
    assert graph.stage("copy@one").description == "Copy one"
    assert graph.stage("copy@one").upstream == ("settings",)
    assert graph.stage("copy@one").by_params_only == {"settings"}
    assert graph.stage("judge@two").by_params_only == set()
    assert graph.names("build/evaluation") == ["one", "two"]
    assert list(graph.for_recipes(["two"]).stages) == ["settings", "copy@two", "judge@two"]


def test_unknown_names_are_refused_with_those_that_exist(workspace):
    graph = read_graph()
    with pytest.raises(GraphError, match=r"no build/evaluation/three; it knows one, two"):
        graph.for_recipes(["three"])
    with pytest.raises(GraphError, match=r"no stage 'judge'; there are: settings, copy@one"):
        graph.stage("judge")


def test_no_workspace_and_a_broken_graph_are_told_in_a_sentence(tmp_path, workspace):
    with pytest.raises(GraphError, match="no Langmill workspace here"):
        read_graph(Path("/"))
    (workspace / "dvc.yaml").write_text(
        DVC_YAML.replace("deps: [settings.yaml]", "deps: [settings.yaml, build/evaluation/one]")
    )
    with pytest.raises(GraphError, match=r"both a dependency and an output in stages: .*settings"):
        read_graph()
    (workspace / "dvc.yaml").write_text("stages: [")
    with pytest.raises(GraphError, match=r"dvc\.yaml"):
        read_graph()


def test_why_follows_the_graph_from_never_run_to_fresh_and_names_each_change(workspace):
    chain = ["settings", "copy@one", "judge@one"]
    graph = read_graph().for_recipes(["one"])
    assert graph.freshness() == {
        "settings": Freshness(("it has not run yet",)),
        "copy@one": Freshness(("it has not run yet",), ("settings",)),
        "judge@one": Freshness(("it has not run yet",), ("copy@one",)),
    }
    assert make(workspace, *chain) == [Outcome.made] * 3
    assert all(state.fresh for state in read_graph().for_recipes(["one"]).freshness().values())
    assert make(workspace, "copy@one") == [Outcome.unchanged]

    # A comment: the settings' stage alone has to run.
    settings = workspace / "settings.yaml"
    settings.write_text("# A comment.\n" + settings.read_text())
    predict = {"build/settings.yaml": {"training": {"steps": 500, "optimizer": {"rate": 0.1}}, "other": 1}}.get
    stale = read_graph().for_recipes(["one"]).freshness(predict)
    assert {address: state.fresh for address, state in stale.items()} == {
        "settings": False, "copy@one": True, "judge@one": True,
    }  # fmt: skip
    assert stale["settings"].reasons == ("settings.yaml changed",)

    # A value: told with both values even before the settings' stage has run.
    predict = {"build/settings.yaml": {"training": {"steps": 100, "optimizer": {"rate": 0.1}}, "other": 2}}.get
    stale = read_graph().for_recipes(["one"]).freshness(predict)
    assert stale["copy@one"] == Freshness(("training.steps: 500 → 100",))
    assert stale["judge@one"] == Freshness((), ("copy@one",))
    settings.write_text("training: {steps: 500, optimizer: {rate: 0.2, name: adamw}}\nother: 2\n")
    make(workspace, "settings")
    assert read_graph().freshness()["copy@one"].reasons == (
        'training.optimizer.name: null → "adamw"',
        "training.optimizer.rate: 0.1 → 0.2",
    )
    make(workspace, "copy@one", "judge@one")

    (workspace / "build/copies/one/out.txt").unlink()
    (workspace / "text.txt").unlink()
    reasons = read_graph().freshness()["copy@one"].reasons
    assert reasons == ("text.txt is missing", "its output build/copies/one was changed by hand")

    (workspace / "text.txt").write_text("hello\n")
    assert make(workspace, "copy@one") == [Outcome.restored]
    text = (workspace / "dvc.yaml").read_text().replace("wc -c", "wc -w")
    (workspace / "dvc.yaml").write_text(text)
    assert read_graph().freshness()["judge@one"].reasons == ("its command or its list of inputs in dvc.yaml changed",)


def test_a_lock_file_from_another_machine_only_means_that_everything_is_missing(workspace):
    make(workspace, "settings", "copy@one")
    for path in ("build", ".dvc/cache", ".dvc/tmp"):
        subprocess.run(["rm", "-rf", path], cwd=workspace, check=True)
    stale = read_graph().freshness()
    assert stale["settings"].reasons == ("its output build/settings.yaml is not in DVC's cache",)
    assert make(workspace, "settings", "copy@one") == [Outcome.made] * 2
    assert read_graph().freshness()["copy@one"].fresh


def edit_copy_command(workspace: Path, command: str) -> None:
    """Give copy@one and copy@two another command."""
    old = "mkdir -p build/copies/${key} && cp ${item.source} build/copies/${key}/out.txt"
    (workspace / "dvc.yaml").write_text(DVC_YAML.replace(old, command))


def test_a_failed_stage_is_told_with_its_own_sentence(workspace):
    make(workspace, "settings")
    edit_copy_command(workspace, "\"echo noise >&2; echo 'copy@${key}: the corpus is empty.' >&2; exit 2\"")
    with pytest.raises(GraphError, match=r"^copy@one: the corpus is empty\.$"):
        make(workspace, "copy@one")
    (workspace / "text.txt").unlink()
    with pytest.raises(GraphError, match=r"^copy@one: text\.txt does not exist, but the stage reads it"):
        make(workspace, "copy@one")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("x@y: One.\nTwo.\nERROR: failed to reproduce 'x@y'\n", "x@y: One. Two."),
        ("ERROR: failed to reproduce 'x@y': missing data 'source': a.txt\n",
         "x@y: a.txt does not exist, but the stage reads it; check the path in conf/ and in dvc.yaml."),
        ("Traceback\n  File\nValueError: no\nERROR: failed to reproduce 'x@y': exited with 1\n",
         "x@y failed: ValueError: no."),
        ("ERROR: failed to reproduce 'x@y': [Errno 2] No such file or directory: '/w/data/a.txt'\n",
         "x@y: data/a.txt does not exist, but the stage reads it; check the path in conf/ and in dvc.yaml."),
        ("", "x@y failed: exit code 9."),
    ],
)  # fmt: skip
def test_failure_sentences(output, sentence):
    assert failure_sentence("x@y", output, 9, Path("/w")) == sentence


def alive_with(marker: str) -> list[int]:
    """Processes whose command line holds `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if marker in (folder / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def wait_until(condition, seconds: float) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_cancelled_stage_leaves_no_process(workspace):
    make(workspace, "settings")
    edit_copy_command(workspace, "sleep 54321")
    cancel = threading.Event()
    errors = []

    def work():
        try:
            run("copy@one", root=workspace, log=workspace / "l", progress=workspace / "p", cancel=cancel)
        except Cancelled as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_until(lambda: alive_with("sleep\x0054321"), 20)
    cancel.set()
    thread.join(10)
    assert errors == ["copy@one was stopped; the next run goes on from there."]
    assert alive_with("sleep\x0054321") == []
    edit_copy_command(workspace, '"mkdir -p build/copies/${key} && echo x > build/copies/${key}/out.txt"')
    assert make(workspace, "copy@one") == [Outcome.made]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_stage_dies_with_the_process_that_started_it(workspace):
    make(workspace, "settings")
    edit_copy_command(workspace, "sleep 65432")
    code = (
        "import threading; from pathlib import Path; from langmill.graph import run\n"
        "run('copy@one', root=Path('.'), log=Path('l'), progress=Path('p'), cancel=threading.Event())"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=workspace)
    assert wait_until(lambda: alive_with("sleep\x0065432"), 20)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert wait_until(lambda: not alive_with("sleep\x0065432"), 10)


def test_locks_of_dead_or_foreign_processes_and_half_a_file_are_taken_away(workspace):
    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"write": {"/a":')
    heal_locks(workspace)
    assert not path.exists()
    heal_locks(workspace)
    foreign = {"pid": 1, "cmd": "dvc repro"}  # this number now belongs to the system's first process
    path.write_text(json.dumps({"write": {"/a": foreign}, "read": {"/b": [foreign, {"pid": 2**22 + 5, "cmd": "dvc"}]}}))
    heal_locks(workspace)
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}
    make(workspace, "settings")
