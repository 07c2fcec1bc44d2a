"""The graph module against a small real DVC workspace."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from langmill.errors import BusyError, ConfigError, GraphError, SpaceError, TransientError
from langmill.graph import (
    Cancelled,
    Freshness,
    Outcome,
    Pulled,
    failure_sentence,
    heal_locks,
    main,
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


FOREIGN = {"pid": 1, "cmd": "dvc repro"}
"""An entry whose number now belongs to the system's first process."""
LOCKS = {"write": {"/a": FOREIGN}, "read": {"/b": [FOREIGN, {"pid": 2**22 + 5, "cmd": "dvc"}]}}


@pytest.mark.parametrize("content", ["", '{"write": {"/a":', "[]", "null", '{"write": {"/a": 3}}', json.dumps(LOCKS)])
def test_a_lock_file_that_a_kill_left_is_healed_before_dvc_reads_it(workspace, content):
    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert read_graph().freshness()["settings"].reasons == ("it has not run yet",)
    path.write_text(content)
    assert main(["settings"]) == 0
    path.write_text(content)
    heal_locks(workspace)
    assert not path.exists() or json.loads(path.read_text()) == {"write": {}, "read": {}}
    heal_locks(workspace)


def test_the_lock_file_is_healed_under_dvcs_own_guard(workspace):
    from dvc.lock import make_lock

    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(LOCKS))
    with make_lock(str(path.with_name("rwlock.lock"))), pytest.raises(BusyError):
        heal_locks(workspace)
    assert json.loads(path.read_text()) == LOCKS
    own = {"pid": os.getpid(), "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {"/a": own}}))
    if "langmill" in " ".join(sys.argv) or "dvc" in " ".join(sys.argv):
        heal_locks(workspace)
        assert json.loads(path.read_text()) == {"write": {"/a": own}}


@pytest.mark.parametrize(
    ("code", "kind"), [(1, GraphError), (2, GraphError), (70, GraphError), (74, SpaceError), (75, TransientError)]
)
def test_a_stage_tells_by_its_exit_code_whether_it_may_pass(workspace, code, kind):
    make(workspace, "settings")
    edit_copy_command(workspace, f"\"echo 'copy@${{key}}: it went wrong.' >&2; exit {code}\"")
    with pytest.raises(kind, match=r"^copy@one: it went wrong\.$") as caught:
        make(workspace, "copy@one")
    assert isinstance(caught.value, TransientError) == (code == 75)


def test_what_dvc_could_not_keep_is_no_success(workspace, monkeypatch, capfd):
    """DVC itself logs what it could not move into its cache, and ends with 0."""
    make(workspace, "settings")

    from dvc_objects.fs import generic

    original = generic.transfer
    for broken, code, sentence in [
        (OSError(errno.ENOSPC, "No space left on device"), 74,
         "copy@one: No space is left on the disk that holds DVC and its cache (.dvc/cache/files/md5). "),
        (PermissionError(errno.EACCES, "Permission denied"), 249,
         "copy@one: DVC could not keep in its cache what the stage made: [Errno 13] Permission denied."),
    ]:  # fmt: skip

        def transfer(from_fs, from_path, to_fs, to_path, *, broken=broken, on_error=None, **options):
            for source, target in zip(from_path, to_path, strict=True):
                if on_error is not None and "/.dvc/cache/files/" in target:
                    on_error(source, target, broken)
                else:
                    original(from_fs, source, to_fs, target, on_error=on_error, **options)

        shutil.rmtree(workspace / ".dvc" / "cache")
        with monkeypatch.context() as patch:
            patch.setattr(generic, "transfer", transfer)
            assert main(["copy@one"]) == code
        assert sentence in capfd.readouterr().err
        assert read_graph().freshness()["copy@one"].reasons == ("its output build/copies/one is not in DVC's cache",)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("folder", [".dvc/cache", ".langmill"])
def test_a_real_full_disk_is_told_in_a_sentence(workspace, folder):
    make(workspace, "settings")
    (workspace / "text.txt").write_bytes(os.urandom(2_000_000))
    place = workspace / folder
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        if folder == ".langmill":
            (place / "filler").write_bytes(bytes(128 * 1024))
            with contextlib.suppress(OSError), (place / "more").open("wb", buffering=0) as more:
                while True:
                    more.write(bytes(4096))
        with pytest.raises(SpaceError, match="No space is left on the disk that holds"):
            make(workspace, "copy@one")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_settings_that_are_refused_leave_the_other_stages_judged(workspace):
    make(workspace, "settings", "copy@one")
    settings = workspace / "settings.yaml"
    settings.write_text("# A comment.\n" + settings.read_text())

    def refuse(path: str) -> None:
        raise ConfigError("conf/x.yaml: no.")

    stale = read_graph().for_recipes(["one"]).freshness(refuse)
    assert stale["settings"].reasons == ("settings.yaml changed",)
    assert stale["copy@one"].reasons == ("its settings are refused: conf/x.yaml: no.",)


def clone(workspace: Path, into: Path) -> Path:
    """What Git would bring elsewhere: no build/, no cache; with the remote of the original."""
    into.mkdir()
    for name in ("dvc.yaml", "dvc.lock", "settings.yaml", "text.txt"):
        shutil.copy(workspace / name, into / name)
    (into / ".dvc").mkdir()
    shutil.copy(workspace / ".dvc" / "config", into / ".dvc" / "config")
    subprocess.run(["git", "init", "-q"], cwd=into, check=True)
    return into


def test_pull_brings_what_was_made_and_nothing_is_made_again(workspace, tmp_path, monkeypatch):
    make(workspace, "settings", "copy@one", "judge@one")
    config = workspace / ".dvc" / "config"
    with pytest.raises(GraphError, match=r"DVC has no remote here .* `dvc remote add --default"):
        read_graph().pull()
    remote = tmp_path / "remote"
    config.write_text(f"{config.read_text()}    remote = shared\n['remote \"shared\"']\n    url = {remote}\n")
    subprocess.run([sys.executable, "-m", "dvc", "push", "-q"], cwd=workspace, check=True)
    there = clone(workspace, tmp_path / "clone")
    monkeypatch.chdir(there)
    assert read_graph().for_recipes(["two"]).pull() == Pulled(("settings",), ())
    assert not (there / "build/copies/one").exists()
    assert read_graph().pull() == Pulled(("settings", "copy@one", "judge@one"), ())
    assert (there / "build/copies/one/out.txt").read_text() == "hello\n"
    assert all(state.fresh for state in read_graph().for_recipes(["one"]).freshness().values())
    assert make(there, "settings", "copy@one", "judge@one") == [Outcome.unchanged] * 3
    assert read_graph().freshness()["copy@two"].reasons == ("it has not run yet",)


def test_pull_names_what_the_remote_lacks(workspace, tmp_path, monkeypatch, capfd):
    make(workspace, "settings", "copy@one", "judge@one")
    remote = tmp_path / "remote"
    config = workspace / ".dvc" / "config"
    config.write_text(f"{config.read_text()}    remote = shared\n['remote \"shared\"']\n    url = {remote}\n")
    subprocess.run([sys.executable, "-m", "dvc", "push", "-q", "settings", "copy@one"], cwd=workspace, check=True)
    monkeypatch.chdir(clone(workspace, tmp_path / "clone"))
    assert read_graph().pull() == Pulled(("settings", "copy@one"), ("judge@one",))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (".dvc/config", "[core\n", "DVC's settings in .dvc/config are refused"),
        (".dvc/config", "[core]\n    autostage = perhaps\n", "DVC's settings in .dvc/config are refused"),
        ("dvc.lock", "stages: [", "dvc.yaml or dvc.lock is refused"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: ${nothing}\n", "dvc.yaml or dvc.lock is refused"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: x\n    outs: [../x]\n    deps: 3\n", "dvc.yaml or dvc.lock is refused"),
    ],
)
def test_what_dvc_refuses_is_a_sentence(workspace, name, content, sentence):
    (workspace / name).write_text(content)
    with pytest.raises(GraphError, match=sentence) as caught:
        read_graph().freshness()
    assert "\n" not in str(caught.value)
