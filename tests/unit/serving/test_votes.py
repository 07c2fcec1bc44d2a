"""Votes between two answers: stored as lines that the corpus format for preferences reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest

from langmill.config.sections import FormatSection
from langmill.data.formats.base import build_format
from langmill.data.rows import Unreadable
from langmill.serving.routes import votes
from tests.unit.serving.conftest import Server

pytestmark = pytest.mark.unit
A = {"model": "writer", "version": 3, "text": "A fine film.\u2028Go."}
B = {"model": "judge", "version": 7, "text": "film film"}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".langmill" / "votes.jsonl"


def vote(server: Server, verdict: str, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
    body = {"path": "/v1/completions", "prompt": "Say it", "verdict": verdict, "a": A, "b": B, **changes}
    return server.ask("POST", "/v1/votes", json=body, headers=headers)


def test_votes_are_counted_whichever_side_a_version_stood_on(server: Server) -> None:
    assert vote(server, "a").json() == {"votes": 1, "wins": {"writer version 3": 1, "judge version 7": 0}, "ties": 0}
    assert vote(server, "tie").json()["ties"] == 1
    assert vote(server, "neither").json()["ties"] == 2
    assert vote(server, "b", a={**A, "version": 4}).json()["votes"] == 1, "another pair"
    assert vote(server, "a", a=B, b=A).json() == {
        "votes": 4, "wins": {"judge version 7": 1, "writer version 3": 1}, "ties": 2,
    }  # fmt: skip


def test_a_file_of_votes_is_a_corpus_of_preferences(server: Server, workspace: Path) -> None:
    for verdict in ("b", "tie", "a"):
        vote(server, verdict)
    with workspace.open("rb") as file:
        found = build_format(FormatSection("preferences", {}), "corpus").read(file, PurePosixPath("votes.jsonl"))
        rows = [values for _, values in found]
    pairs = [(row["question"], row["answer"], row["rejected"]) for row in rows if not isinstance(row, Unreadable)]
    assert pairs == [("Say it", B["text"], A["text"]), ("Say it", A["text"], B["text"])]
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"verdict": "c"}, 400, "verdict"),
        ({"a": {**A, "model": "?"}}, 404, "model"),
        ({"b": A}, 400, "b"),
        ({"a": {**A, "note": "x"}}, 400, "a"),
    ],
)
def test_other_bodies_are_refused(
    server: Server, workspace: Path, changes: dict[str, Any], status: int, param: str
) -> None:
    response = vote(server, **{"verdict": "a", **changes})
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert not workspace.exists()


def test_a_vote_wants_the_key(server: Server, workspace: Path) -> None:
    server.keys = (hashlib.sha256(b"key").digest(),)
    assert vote(server, "a").status_code == 401
    assert not workspace.exists()
    assert vote(server, "a", {"authorization": "Bearer key"}).status_code == 200


def test_the_file_has_a_limit_and_half_a_line_is_no_vote(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vote(server, "a")
    with workspace.open("a", encoding="utf-8") as file:
        file.write('{"a": {"mod\n')
    assert vote(server, "a").json()["votes"] == 2
    monkeypatch.setattr(votes, "_MAX_FILE_BYTES", 100)
    refused = vote(server, "a")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "full")
    assert json.loads(workspace.read_text(encoding="utf-8").split("\n")[0])["chosen"] == A["text"]
