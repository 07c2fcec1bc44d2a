"""A server that is not ours ends when the command that started it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

STARTER = """
import subprocess, sys
server = subprocess.Popen([sys.executable, "-m", "langmill.lifetime", *sys.argv[1:]], start_new_session=True)
print(server.pid, flush=True)
server.wait()
"""


def is_there(pid: int) -> bool:
    """Whether a process runs, and is not only waiting to be buried."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize("started", [["server"], ["--", sys.executable, "server.py"]], ids=["module", "program"])
def test_a_server_ends_with_a_killed_starter(tmp_path, started):
    (tmp_path / "server.py").write_text(
        "import subprocess, sys\nprint(sys.argv[1:], __name__, flush=True)\n"
        "print(subprocess.Popen(['sleep', '300']).pid, flush=True)\nsubprocess.Popen(['sleep', '300']).wait()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, *started, "--port", "1"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert starter.stdout is not None
    server = int(starter.stdout.readline())
    assert starter.stdout.readline() == "['--port', '1'] __main__\n"
    child = int(starter.stdout.readline())
    assert is_there(server)
    assert is_there(child)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    end = time.monotonic() + 10
    while is_there(server) or is_there(child):
        assert time.monotonic() < end, "the server outlives its starter"
        time.sleep(0.1)
