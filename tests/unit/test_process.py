"""An interrupt ends a stage as an interrupt, whatever the library at work makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    assert done.stderr == "fetch@tiny: interrupted; the next run goes on from here.\n"
    assert done.returncode == 130


def test_an_error_without_an_interrupt_is_a_bug(tmp_path: Path) -> None:
    program = PROGRAM.replace("os.kill(os.getpid(), signal.{name})", "return").format(clean_up="None.invalidate()")
    done = run(program, tmp_path)
    assert "a bug in Langmill: AttributeError" in done.stderr
    assert done.returncode == 70


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
