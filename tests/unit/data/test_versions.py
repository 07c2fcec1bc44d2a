"""The page that tells what the last version of a corpus changed, out of what runs noted or of Git's history."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.data.contract.passed import RESULTS_NAME, write_passed
from langmill.data.document import Document, Split
from langmill.data.report import Report
from langmill.data.rows import Row
from langmill.data.versions import changes_in_words, current_report, write_version_report
from langmill.files import digest_files, read_manifest, write_json
from tests.unit.data.contract.versions import keep_version, make_workspace

pytestmark = pytest.mark.unit

BEFORE = [Document(f"d{number}", f"The number is {number}.", "ab"[number % 2]) for number in range(10)]
MAIL = Document("d4", "The number is 4, says ann.miller@posteo.net to all.", "a")
MENDED = Document("d4b", "The number is 4, says Ann to all.", "a")
AFTER = [*BEFORE[:4], MENDED, *BEFORE[5:8], BEFORE[9], Document("e", "<b>New.</b>", "b")]
"""One changed in its place, one removed, one added."""


def make(documents: Sequence[Document], tag: str = "", *, passed: bool = True) -> None:
    """Make documents the corpus's, with a report, and say that they keep their contract."""
    report = Report("tiny")
    for number, document in enumerate(documents):
        row = Row(f"a.csv:{number}", document.text, document.label, None, {})
        report.count_row(row)
        report.count_kept(row, document, Split.train)
    keep_version(Path(), documents, tag, report.as_json())
    if passed:
        contract = Path("build/contracts/tiny")
        contract.mkdir(parents=True, exist_ok=True)
        write_json(contract / RESULTS_NAME, {"passed": True, "findings": []})
        write_passed(contract, "tiny", read_manifest(Path("build/documents/tiny"), verify=False))


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_workspace(tmp_path) / "conf/corpus/tiny.yaml"
    settings.write_text(f"{settings.read_text()}cleaning: {{options: {{privacy: {{}}}}}}\n")
    monkeypatch.chdir(tmp_path)


def written() -> str:
    path = write_version_report("tiny")
    assert path is not None and current_report("tiny") == path
    return path.read_text(encoding="utf-8")


def test_the_version_that_the_last_run_made_is_the_one_before() -> None:
    make([*BEFORE[:4], MAIL, *BEFORE[5:]])
    assert "No earlier version of these documents is known" in written()
    assert changes_in_words("tiny") == ""
    make(AFTER)
    before = digest_files(Path("build"))
    text = written()
    assert digest_files(Path("build")) == before  # what DVC keeps does not know what was there before
    told = changes_in_words("tiny")
    assert told.startswith("Since the documents of 20") and told.endswith(": 1 added, 1 removed, 1 changed.")
    assert 'id="changes"' in text and "&lt;b&gt;New.&lt;/b&gt;" in text and "<ins>Ann</ins>" in text
    assert "ann.miller@posteo.net" not in text  # that version was made without the step privacy
    assert written() == text
    assert "&lt;EMAIL&gt;" in text
    make(
        BEFORE, passed=False
    )  # breaks its contract: its page tells what changed, but nothing is compared with it later
    assert "EMAIL" not in written() and changes_in_words("tiny").endswith(": 1 added, 1 removed, 1 changed.")
    make(AFTER)
    assert "&lt;EMAIL&gt;" in written()


def test_in_a_clone_the_version_before_is_that_of_git() -> None:
    make(BEFORE, "v1")
    make(AFTER, "v2")
    assert "commit" in written()
    assert changes_in_words("tiny").endswith(": 1 added, 1 removed, 1 changed.")
    make(BEFORE)  # noted above was v2
    shutil.rmtree(".dvc/cache")
    assert "are no longer in DVC&#39;s cache" in written()


def test_a_page_of_other_documents_is_not_shown() -> None:
    assert write_version_report("tiny") is None
    make(BEFORE)
    written()
    write_json(Path("build/contracts/tiny") / RESULTS_NAME, {"passed": True, "findings": [], "note": "x"})
    assert current_report("tiny") == Path("build/contracts/tiny/report.html")


def test_the_command_writes_the_page_of_any_version(capsys: pytest.CaptureFixture[str]) -> None:
    make(BEFORE, "v1")
    make(AFTER, "v2")
    for revisions in (["v1"], ["v2", "v1"]):
        assert call(["diff", "tiny", *revisions, "--html", "page.html"]) == 0
        text = Path("page.html").read_text(encoding="utf-8")
        assert 'id="changes"' in text and f"Beside {revisions[0]}." in text
    assert "<h3>Removed <small>1 of 1</small></h3>" in text
    capsys.readouterr()
