"""Files are whole or not there."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from langmill import files
from langmill.errors import BusyError, Code, IntegrityError, LangmillError, SpaceError
from langmill.files import (
    MANIFEST_NAME,
    atomic_file,
    atomic_folder,
    canonical_json,
    digest_of,
    exclusive_lock,
    explained_os_errors,
    is_full_disk,
    read_json,
    read_manifest,
    sha256_bytes,
    sweep,
    temporary_folder,
    write_json,
    write_manifest,
    write_text,
)
from tests.refused import refused

pytestmark = pytest.mark.unit


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path, "w") as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [child.name for child in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_folder(path) as folder:
            write_text(folder / content, content)
    with pytest.raises(RuntimeError), atomic_folder(path) as folder:
        write_text(folder / "third", "third")
        raise RuntimeError
    assert [child.name for child in path.iterdir()] == ["second"]
    assert [child.name for child in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [
        (errno.ENOSPC, SpaceError, "full"),
        (errno.EDQUOT, SpaceError, "full"),
        (errno.EACCES, LangmillError, "refused"),
        (errno.EROFS, LangmillError, "refused"),
    ],
)
def test_trouble_with_the_disk_is_told_in_a_sentence(number: int, error: type[LangmillError], code: Code) -> None:
    with refused(error, code, "here"), explained_os_errors(Path("here")):
        raise OSError(number, os.strerror(number))


def test_other_trouble_is_left_alone() -> None:
    with pytest.raises(FileNotFoundError), explained_os_errors(Path("here")):
        raise FileNotFoundError(errno.ENOENT, "gone")


def test_equal_values_have_equal_digests() -> None:
    assert canonical_json({"b": 1, "a": ["é"]}) == '{"a":["é"],"b":1}'
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1}) == sha256_bytes(b'{"a":2,"b":1}')
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_a_manifest_knows_every_byte(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    write_text(tmp_path / "sub" / "b.txt", "b")
    write_manifest(tmp_path, {"fact": 1})
    manifest = read_manifest(tmp_path, verify=True)
    assert manifest["fact"] == 1
    assert manifest["files"] == {"a.txt": sha256_bytes(b"a"), "sub/b.txt": sha256_bytes(b"b")}


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_a_damaged_folder_is_refused_by_the_name_of_the_file(damage: str, tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    write_text(tmp_path / "b.txt", "b")
    write_manifest(tmp_path, {})
    name = {"change": "a.txt", "remove": "b.txt", "add": "c.txt"}[damage]
    if damage == "remove":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text("x")
    with refused(IntegrityError, "damaged", f": {name} differ"):
        read_manifest(tmp_path, verify=True)
    read_manifest(tmp_path, verify=False)


def test_a_folder_without_manifest_is_no_result(tmp_path: Path) -> None:
    with refused(IntegrityError, "damaged", f"has no {MANIFEST_NAME}"):
        read_manifest(tmp_path, verify=False)
    write_json(tmp_path / MANIFEST_NAME, ["not", "a", "manifest"])
    with refused(IntegrityError, "damaged", str(tmp_path / MANIFEST_NAME)):
        read_manifest(tmp_path, verify=False)


def test_json_that_is_missing_or_torn_is_told_apart(tmp_path: Path) -> None:
    with refused(LangmillError, "missing", "none.json"):
        read_json(tmp_path / "none.json")
    (tmp_path / "torn.json").write_text('{"a": ')
    with refused(IntegrityError, "damaged", "torn.json"):
        read_json(tmp_path / "torn.json")
    write_json(tmp_path / "whole.json", {"b": 1, "a": 2})
    assert (tmp_path / "whole.json").read_text() == json.dumps({"a": 2, "b": 1}, indent=2) + "\n"


def _hold(path: Path, ready: object, end: object) -> None:
    with exclusive_lock(path, "The other run"):
        ready.set()  # type: ignore[attr-defined]
        end.wait(30)  # type: ignore[attr-defined]


def test_a_lock_says_who_holds_it_and_goes_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    path = tmp_path / "a.lock"
    other = context.Process(target=_hold, args=(path, ready, end))
    other.start()
    try:
        assert ready.wait(30)
        with refused(BusyError, "busy", f"The other run (process {other.pid})"), exclusive_lock(path, "This run"):
            pass
    finally:
        other.kill()
        other.join()
    with exclusive_lock(path, "This run"):
        assert path.read_text().startswith("This run")
    assert path.read_text() == ""


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_with_and_without_the_systems_help(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "folder") as folder:
            write_text(folder / content, content)
    assert [child.name for child in (tmp_path / "folder").iterdir()] == ["second"]
    assert [child.name for child in tmp_path.iterdir()] == ["folder"]


def test_something_whole_is_at_the_path_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every rename and removal the path holds the old folder or the new one."""
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        write_text(folder / "old", "old")
    seen: list[list[str]] = []

    def watched(name: str, module: object) -> None:
        real = getattr(module, name)

        def call(*arguments: object, **others: object) -> object:
            seen.append([child.name for child in path.iterdir()])
            result = real(*arguments, **others)
            seen.append([child.name for child in path.iterdir()])
            return result

        monkeypatch.setattr(module, name, call)

    if not files._exchange(tmp_path, tmp_path):  # a path with itself: nothing happens
        pytest.skip("this system can't exchange two folders")
    with atomic_folder(path) as folder:
        write_text(folder / "new", "new")
        watched("replace", files.os)
        watched("rmtree", files.shutil)
    assert seen
    assert all(names in (["old"], ["new"]) for names in seen)


def _killed_between_two_renames(path: Path) -> None:
    def killed(source: object, target: object) -> None:
        if Path(str(target)) == path:
            os._exit(9)
        os.rename(str(source), str(target))

    files._exchange = lambda *_: False  # type: ignore[assignment]
    files.os.replace = killed  # type: ignore[assignment]
    with atomic_folder(path) as folder:
        (folder / "new").write_text("new")


def test_a_folder_that_lost_its_name_gets_it_back(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        write_text(folder / "old", "old")
    process = multiprocessing.get_context("spawn").Process(target=_killed_between_two_renames, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert not path.exists()
    sweep(tmp_path)
    assert (path / "old").read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["folder"]


def _killed_while_writing(folder: Path) -> None:
    with atomic_file(folder / "file.txt", "w") as file, atomic_folder(folder / "made") as made:
        file.write("half")
        file.flush()
        (made / "half").write_text("half")
        os._exit(9)


def test_what_killed_processes_left_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_killed_while_writing, args=(tmp_path,))
    process.start()
    process.join(60)
    assert len(list(tmp_path.iterdir())) == 2
    others = [tmp_path / ".hidden", tmp_path / "name.tmp", tmp_path / ".short.tmp"]
    for path in others:
        path.write_text("of somebody else")
    with atomic_file(tmp_path / "file.txt", "w") as file, atomic_folder(tmp_path / "made") as made:
        sweep(tmp_path)
        left = {path for path in tmp_path.iterdir() if path not in others}
        assert len(left) == 2
        assert made in left
        file.write("whole")
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert (tmp_path / "made").is_dir()
    assert all(path.exists() for path in others)


def _killed_at_work(folder: Path) -> None:
    os.chdir(folder)
    with temporary_folder() as temporary, temporary_folder(folder / "downloads"):
        (temporary / "weights").write_text("gigabytes")
        os._exit(9)


def test_temporary_folders_of_killed_processes_are_swept_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".langmill" / "tmp"
    home.parent.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=_killed_at_work, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert [(path / "weights").read_text() for path in home.iterdir()] == ["gigabytes"]
    monkeypatch.chdir(tmp_path)
    with temporary_folder() as temporary:
        sweep(home)
        sweep(tmp_path / "downloads")
        assert list(home.iterdir()) == [temporary]
        assert temporary.is_absolute()
        assert not list((tmp_path / "downloads").iterdir())
    assert not list(home.iterdir())


def test_a_temporary_folder_outside_of_a_workspace_is_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with temporary_folder() as temporary:
        assert temporary.parent == Path(tempfile.gettempdir()).absolute()
    assert not temporary.exists()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_seen_through_what_libraries_make_of_it() -> None:
    assert is_full_disk(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not is_full_disk(OSError(errno.EACCES, "Permission denied"))
    assert is_full_disk(RuntimeError("error code 500: [Errno 28] No space left on device"))
    assert not is_full_disk(None)
    try:
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.OperationalError as error:
            raise RuntimeError("A library's own words") from error
    except RuntimeError as error:
        assert is_full_disk(error)


def test_a_full_disk_takes_no_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with exclusive_lock(tmp_path / "lock", "A test"), refused(BusyError, "busy", "another process"):  # noqa: SIM117
        with exclusive_lock(tmp_path / "lock", "A second one"):
            pass
