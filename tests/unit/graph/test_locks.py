import json
import os
import sys

import pytest

from langmill.errors import BusyError
from langmill.graph.__main__ import main
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from langmill.graph.locks import clear_stale_locks

pytestmark = pytest.mark.unit
FOREIGN = {"pid": 1, "cmd": "dvc repro"}
"""An entry whose number now belongs to the system's first process."""
LOCKS = {"write": {"/a": FOREIGN}, "read": {"/b": [FOREIGN, {"pid": 2**22 + 5, "cmd": "dvc"}]}}


@pytest.mark.parametrize("content", ["", '{"write": {"/a":', "[]", "null", '{"write": {"/a": 3}}', json.dumps(LOCKS)])
def test_a_lock_file_that_a_kill_left_is_cleared_before_dvc_reads_it(workspace, content):
    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert freshness_of(read_graph())["settings"].reasons == ("it has not run yet",)
    path.write_text(content)
    assert main(["settings"]) == 0
    path.write_text(content)
    clear_stale_locks(workspace)
    assert not path.exists() or json.loads(path.read_text()) == {"write": {}, "read": {}}
    clear_stale_locks(workspace)


def test_the_lock_file_is_cleared_under_dvcs_own_guard(workspace):
    from dvc.lock import make_lock

    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(LOCKS))
    with make_lock(str(path.with_name("rwlock.lock"))), pytest.raises(BusyError):
        clear_stale_locks(workspace)
    assert json.loads(path.read_text()) == LOCKS
    own = {"pid": os.getpid(), "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {"/a": own}}))
    if "langmill" in " ".join(sys.argv) or "dvc" in " ".join(sys.argv):
        clear_stale_locks(workspace)
        assert json.loads(path.read_text()) == {"write": {"/a": own}}
