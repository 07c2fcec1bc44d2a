import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from langmill.errors import GraphError, SpaceError, TransientError
from langmill.graph.process import Cancelled, Outcome, failure_sentence, reproduce
from tests.refused import refused
from tests.unit.graph.running import edit_copy_command, make, prepare

pytestmark = pytest.mark.unit


def test_a_failed_stage_is_told_with_its_own_sentence(workspace):
    prepare("settings")
    edit_copy_command(workspace, "\"echo noise >&2; echo 'copy@${key}: the corpus is empty.' >&2; exit 2\"")
    with refused(GraphError, "failed") as caught:
        make(workspace, "copy@one")
    assert str(caught.value) == "copy@one: the corpus is empty."
    (workspace / "text.txt").unlink()
    with refused(GraphError, "failed", "copy@one: text.txt", "dvc.yaml"):
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


def own_sleep() -> str:
    """Seconds to sleep that no other process of this machine sleeps, be it of an earlier test."""
    return f"54321.{os.getpid()}{time.monotonic_ns()}"


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
    prepare("settings")
    own = own_sleep()
    edit_copy_command(workspace, f"sleep {own}")
    cancel = threading.Event()
    errors = []

    def work():
        try:
            reproduce("copy@one", root=workspace, log=workspace / "l", progress=workspace / "p", cancel=cancel)
        except Cancelled as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_until(lambda: alive_with(f"sleep\0{own}"), 20)
    cancel.set()
    thread.join(10)
    assert errors == ["copy@one was stopped; the next run resumes from there."]
    assert alive_with(f"sleep\0{own}") == []
    edit_copy_command(workspace, '"mkdir -p build/copies/${key} && echo x > build/copies/${key}/out.txt"')
    assert make(workspace, "copy@one") == [Outcome.made]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_stage_dies_with_the_process_that_started_it(workspace):
    prepare("settings")
    own = own_sleep()
    edit_copy_command(workspace, f"sleep {own}")
    code = (
        "import threading; from pathlib import Path; from langmill.graph.process import reproduce\n"
        "reproduce('copy@one', root=Path('.'), log=Path('l'), progress=Path('p'), cancel=threading.Event())"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=workspace)
    assert wait_until(lambda: alive_with(f"sleep\0{own}"), 20)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert wait_until(lambda: not alive_with(f"sleep\0{own}"), 10)


@pytest.mark.parametrize(
    ("code", "kind"), [(1, GraphError), (2, GraphError), (70, GraphError), (74, SpaceError), (75, TransientError)]
)
def test_a_stage_tells_by_its_exit_code_whether_it_may_pass(workspace, code, kind):
    prepare("settings")
    edit_copy_command(workspace, f"\"echo 'copy@${{key}}: it went wrong.' >&2; exit {code}\"")
    with refused(kind, "full" if code == 74 else "failed") as caught:
        make(workspace, "copy@one")
    assert str(caught.value) == "copy@one: it went wrong."
    assert isinstance(caught.value, TransientError) == (code == 75)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("folder", [".dvc/cache", ".langmill"])
def test_a_real_full_disk_is_told_in_a_sentence(workspace, folder):
    prepare("settings")
    (workspace / "text.txt").write_bytes(os.urandom(2_000_000))
    place = workspace / folder
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        if folder == ".langmill":
            (place / "ballast").write_bytes(bytes(128 * 1024))
            with contextlib.suppress(OSError), (place / "more").open("wb", buffering=0) as more:
                while True:
                    more.write(bytes(4096))
        with refused(SpaceError, "full", "disk that holds"):
            make(workspace, "copy@one")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
