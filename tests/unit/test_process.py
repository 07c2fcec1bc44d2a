"""An interrupt ends a stage as an interrupt, whatever the library at work makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langmill.lifetime import PARENT_VARIABLE
from langmill.stages.process import ENVIRONMENT

PROGRAM = """
import os, signal
from langmill.stages.process import _run

def work():
    try:
        os.kill(os.getpid(), signal.{name})
        while True:
            pass
    finally:
        {clean_up}

raise SystemExit(_run("fetch@tiny", work))
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("clean_up", ["pass", "None.invalidate()"], ids=["calm", "failing clean-up"])
def test_an_interrupt_is_told_as_one(tmp_path: Path, name: str, clean_up: str) -> None:
    program = PROGRAM.format(name=name, clean_up=clean_up)
    done = run(program, tmp_path)
    assert done.stderr == "fetch@tiny: interrupted; the next run resumes from the last checkpoint, if there is one.\n"
    assert done.returncode == 130


def test_an_error_without_an_interrupt_is_a_bug(tmp_path: Path) -> None:
    program = PROGRAM.replace("os.kill(os.getpid(), signal.{name})", "return").format(clean_up="None.invalidate()")
    done = run(program, tmp_path)
    assert "a bug in Langmill: AttributeError" in done.stderr
    assert done.returncode == 70


def test_a_parent_that_died_during_the_imports_is_missed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "pass"])
    parent.wait()
    program = """
import time
from langmill.lifetime import end_with_parent
end_with_parent()
time.sleep(30)
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, PARENT_VARIABLE: str(parent.pid)}
    began = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, env=environment, timeout=60, check=False)
    assert done.returncode == 130
    assert time.monotonic() - began < 20


def test_a_stage_notes_who_started_it_before_it_is_started_anew(tmp_path: Path) -> None:
    program = """
import os
from langmill.stages import process
def replaced(path, arguments, environment):
    print(environment[process.PARENT_VARIABLE], os.getppid())
os.execve = replaced
process._restart_with_environment()
"""
    environment = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    noted, actual = done.stdout.split()
    assert noted == actual == str(os.getpid())


def test_those_that_a_process_starts_do_not_inherit_its_parent(tmp_path: Path) -> None:
    program = """
import os
from langmill.lifetime import PARENT_VARIABLE, end_with_parent
end_with_parent()
print(PARENT_VARIABLE in os.environ)
"""
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_stage_sweeps_what_killed_ones_left(tmp_path: Path) -> None:
    left = [
        tmp_path / "build/raw/.tiny.abcd1234.tmp",
        tmp_path / "build/.config.abcd1234.tmp",
        tmp_path / ".langmill/tmp/.langmill.abcd1234.tmp/model",
        tmp_path / ".langmill/downloads/.langmill.abcd1234.tmp",
        tmp_path / ".langmill/serving/tiny/.7.abcd1234.tmp",
        tmp_path / ".langmill/runs/ab12/files/samples/.step.md.abcd1234.tmp",
    ]
    for path in left:
        path.mkdir(parents=True)
    done = run("from langmill.stages.process import _run\nraise SystemExit(_run('fetch@tiny', lambda: None))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [path for path in left if path.exists()]


def test_a_full_disk_and_a_password_in_a_librarys_words(tmp_path: Path) -> None:
    program = """
import sqlite3
from langmill.errors import TrackingUnreachableError
from langmill.stages.process import _run

def full():
    raise sqlite3.OperationalError("database or disk is full")

def away():
    raise TrackingUnreachableError("postgresql://me:s3cret@db/x does not answer.")

assert _run("fetch@tiny", full) == 74
raise SystemExit(_run("fetch@tiny", away))
"""
    done = run(program, tmp_path)
    assert done.returncode == 75, done.stderr
    assert done.stderr.splitlines() == [
        "fetch@tiny: No space is left on the disk that holds .langmill. Nothing that was there before is lost; "
        "free some space and run the same command again.",
        "fetch@tiny: postgresql://db/x does not answer.",
    ]
    log = (tmp_path / ".langmill" / "logs" / "fetch@tiny.log").read_text()
    assert "TrackingUnreachableError" in log
    assert "s3cret" not in log
