"""`langmill diff`: versions of a corpus out of DVC's cache, and what it says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.data.document import Document
from tests.unit.data.contract.versions import dvc, git, keep_version, make_workspace

pytestmark = pytest.mark.unit


def document(name: str, text: str, label: str = "a", number: int = 0, source: str = "web") -> Document:
    return Document(name, text, label, None, {"id": str(number), "source": source})


BEFORE = [document(f"d{number}", f"text {number}", "ab"[number % 2], number) for number in range(10)]
# One removed, one changed under the same id elsewhere, one of another source, two added at the end.
AFTER = [
    *BEFORE[2:4],
    document("new-text", "another text", "a", 4),
    document("d5", "text 5", "b", 5, "press"),
    *BEFORE[6:10],
    document("e1", "one more, which is longer", "b", 20),
    document("e2", "and 'another', which is longer", "b", 21),
    BEFORE[0],
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    keep_version(tmp_path, BEFORE, "v1")
    keep_version(tmp_path, AFTER, "v2")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert call(["diff", "tiny", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_added_removed_changed_and_shift_between_two_revisions(workspace, capsys):
    found = said(capsys, "v1", "v2")
    assert found["counts"] == {
        "before": 10, "after": 11, "added": 2, "removed": 1, "changed": 1, "other_split": 3, "other_metadata": 1,
    }  # fmt: skip
    assert [each["id"] for each in found["examples"]["added"]] == ["e1", "e2"]
    assert [each["text"] for each in found["examples"]["removed"]] == ["text 1"]
    (changed,) = found["examples"]["changed"]
    assert (changed["text_before"], changed["text_after"]) == ("text 4", "another text")
    # 5 a and 5 b, then 5 a and 6 b; of 11 texts, 8 are not longer than before.
    assert found["shift"]["labels"] == pytest.approx(6 / 11 - 1 / 2)
    assert found["shift"]["lengths"] == pytest.approx(3 / 11)


def test_a_place_pairs_what_no_field_names(workspace, capsys):
    counts = said(capsys, "v1", "v2", "--key", "source")["counts"]  # all have one source, so nothing is told apart
    assert (counts["added"], counts["removed"], counts["changed"]) == (3, 2, 0)
    keep_version(workspace, [*BEFORE[:3], document("better", "text 3, mended", number=99), *BEFORE[4:]])
    found = said(capsys, "v1")
    assert (found["counts"]["added"], found["counts"]["removed"], found["counts"]["changed"]) == (0, 0, 1)
    assert found["examples"]["changed"][0]["where"] == "train.csv:5"


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("The plot was thin, and so was the wine.", "The plot was thin, and so was the beer.", True),
        ("The plot was thin, and so was the wine.", "Nine ships sailed from the harbour at dawn.", False),
        ("这部电影很好看。", "这部电影不好看。", True),
        ("这部电影很好看。", "明天我们去北京吃饭", False),
        ("!!", "??", True),  # no words to tell them apart by
    ],
)
def test_another_document_in_the_same_place_is_none_that_changed(workspace, capsys, before, after, changed):
    keep_version(workspace, [*BEFORE[:9], document("old", before, number=98)], "v3")
    keep_version(workspace, [*BEFORE[:9], document("new", after, number=99)], "v4")
    counts = said(capsys, "v3", "v4")["counts"]
    assert (counts["added"], counts["removed"], counts["changed"]) == ((0, 0, 1) if changed else (1, 1, 0))


def test_without_a_revision_head_is_compared_with_the_workspace(workspace, capsys):
    assert said(capsys)["counts"]["added"] == 0
    keep_version(workspace, BEFORE)
    assert said(capsys)["counts"]["added"] == 1
    found = said(capsys, "v1")
    assert (found["before"], found["after"]) == ("v1", "the workspace")
    assert found["counts"]["removed"] == found["counts"]["added"] == found["counts"]["changed"] == 0


def test_what_the_cache_lacks_comes_from_the_remote_or_is_named(workspace, tmp_path, capsys):
    remote = tmp_path.parent / f"{tmp_path.name}-remote"
    # Local settings: what stands in .dvc/config counts for revisions in which it stands.
    dvc(workspace, "remote", "add", "--local", "-d", "shared", str(remote))
    assert dvc(workspace, "push", "-A") == 0
    shutil.rmtree(workspace / ".dvc/cache")
    assert said(capsys, "v1", "v2")["counts"]["added"] == 2
    shutil.rmtree(workspace / ".dvc/cache")
    shutil.rmtree(remote)
    assert call(["diff", "tiny", "v1", "v2"]) == 1
    assert "DVC's cache lacks build/documents/tiny" in capsys.readouterr().err


def test_it_is_told_on_a_page_of_lines(workspace, capsys):
    assert call(["diff", "tiny", "v1", "v2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 10 documents at v1, 11 at v2"
    assert [line.split() for line in lines[1:4]] == [["added", "2"], ["removed", "1"], ["changed", "1"]]
    assert "    - [a] text 4" in lines
    assert "    + [a] another text" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny", "v9"], "Git knows no revision 'v9'"),
        (["tiny", "a", "b", "c"], "one or two"),
        (["tiny", "v1", "--key", "author"], "no metadata field 'author'; it has id, source"),
        (["tyni"], "There is no corpus tyni"),
    ],
)
def test_what_can_not_be_compared_is_one_sentence(workspace, capsys, arguments, said):
    assert call(["diff", *arguments]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_revision_before_the_corpus_is_told(workspace, capsys):
    git(workspace, "checkout", "-q", "--orphan", "empty")
    git(workspace, "rm", "-q", "--cached", "dvc.lock")
    git(workspace, "commit", "-qm", "nothing")
    assert call(["diff", "tiny", "empty", "v1"]) == 1
    assert "no dvc.lock at the revision empty" in capsys.readouterr().err
