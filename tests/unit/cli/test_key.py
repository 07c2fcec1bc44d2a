"""`langmill key`: the file gets the digest, the person the key."""

from __future__ import annotations

import io

import pytest

from langmill import cli
from langmill.serving.keys import Grant, digest, key_line, read_keys

pytestmark = pytest.mark.unit


def test_a_new_key_opens_and_its_line_does_not_tell_it(tmp_path, capsys):
    assert cli.call(["key"]) == 0
    first = capsys.readouterr()
    assert cli.call(["key"]) == 0
    second = capsys.readouterr()
    keys = [shown.err.strip().rpartition(" ")[2] for shown in (first, second)]
    assert len(set(keys)) == 2
    assert all(len(key) >= 43 for key in keys)
    (tmp_path / "keys").write_text(first.out + second.out, encoding="utf-8")
    assert read_keys(str(tmp_path / "keys")) == tuple(Grant(digest(key)) for key in keys)
    assert not any(key in first.out + second.out for key in keys)


def test_keys_in_clear_are_converted(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"# ours\none\n\n two \n{key_line('three')}\n"))
    assert cli.call(["key", "--convert"]) == 0
    assert capsys.readouterr().out.splitlines() == ["# ours", key_line("one"), "", key_line("two"), key_line("three")]
