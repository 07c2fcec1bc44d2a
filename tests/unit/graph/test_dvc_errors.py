import errno
import shutil

import pytest

from langmill.graph.__main__ import main
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from tests.unit.graph.running import prepare

pytestmark = pytest.mark.unit


def test_what_dvc_could_not_keep_is_no_success(workspace, monkeypatch, capfd):
    """DVC itself logs what it could not move into its cache, and ends with 0."""
    prepare("settings")

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
        assert freshness_of(read_graph())["copy@one"].reasons == ("its output build/copies/one is not in DVC's cache",)
