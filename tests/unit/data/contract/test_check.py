"""What a person is told of a contract, and the stage that checks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from langmill.config.compose import plain
from langmill.config.sections import Contract
from langmill.data.contract.base import build_expectations
from langmill.data.contract.check import check
from langmill.data.contract.findings import Outcome
from langmill.data.contract.passed import PASSED_NAME, read_note, require_passed
from langmill.data.report import Report
from langmill.errors import DataError
from langmill.files import read_json, read_manifest, write_json, write_manifest
from langmill.stages import contract as stage
from tests.refused import refused
from tests.unit.data.contract.corpora import evidence, labelled, write_corpus
from tests.unit.data.settings import cleaning

pytestmark = pytest.mark.unit
UGLY = {"d4": {"label": "ugly"}}
SET = {"labels": ["bad", "good"], "stop": 0, "warn": None}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build/config/corpus").mkdir(parents=True)
    return tmp_path


def expect(workspace: Path, expectations: dict[str, Any], reference: Any = None, **steps: dict[str, Any]) -> None:
    composed = {
        "contract": {"expectations": expectations, "reference": reference},
        "cleaning": plain(cleaning(**steps)),
    }
    (workspace / "build/config/corpus/tiny.yaml").write_text(yaml.safe_dump(composed))


def corpus(workspace: Path, **changed: Any) -> Path:
    folder = workspace / "build/documents/tiny"
    folder.mkdir(parents=True, exist_ok=True)
    return write_corpus(folder, labelled(10, **changed), {**Report("tiny").as_json(), "documents": 10, "rows": 10})


def test_a_breach_names_rule_number_limit_rows_and_what_to_do(tmp_path):
    rules = build_expectations(Contract({"documents": {"stop": [20, None]}, "label_set": SET}, None), "x")
    results = check("tiny", evidence(write_corpus(tmp_path, labelled(10, **UGLY))), rules)
    sentence = results.breach("conf/corpus/tiny.yaml")
    for fact in (
        "corpus tiny breaks 2 limits", "documents: There are 10 documents; stop allows at least 20.",
        "label_set: 1 of 10 labelled documents (10%)", "(ugly); stop allows at most 0.", "train.csv:6 (d4): ugly: text",
        "contract.expectations.documents", "conf/corpus/tiny.yaml", "`langmill profile tiny`",
    ):  # fmt: skip
        assert fact in sentence, sentence
    assert "\n" not in sentence
    assert "| label_set | breached | 0.1 | stop: 0 |" in results.markdown()
    assert "- train.csv:6 (d4): ugly" in results.markdown()
    assert [one["outcome"] for one in results.to_json()["findings"]] == ["breached", "breached", "passed"]


def test_a_soft_limit_is_one_calm_line(tmp_path):
    limits = {"documents": {"warn": [20, None]}, "bytes": {"warn": [500, None]}}
    results = check(
        "tiny", evidence(write_corpus(tmp_path, labelled(10))), build_expectations(Contract(limits, None), "x")
    )
    assert results.passed
    assert len(results.of(Outcome.warned)) == 2
    assert results.note() == "documents: There are 10 documents; warn allows at least 20 (and 1 more soft limits)"


def test_the_stage_stops_and_keeps_the_findings(workspace):
    corpus(workspace, **UGLY)
    expect(workspace, {"label_set": SET})
    with refused(DataError, "refused", "tiny breaks 1 limit", ".langmill/failed/contract@tiny/results.md"):
        stage.main("tiny")
    assert not (workspace / "build/contracts/tiny").exists()
    assert not read_json(workspace / ".langmill/failed/contract@tiny/results.json")["passed"]
    corpus(workspace)
    stage.main("tiny")
    assert not (workspace / ".langmill/failed/contract@tiny").exists()


@pytest.mark.parametrize("steps", [{}, {"privacy": {"kinds": ["email"]}}])
def test_rows_that_were_left_out_are_shown_as_the_corpus_wants_its_texts(workspace, steps):
    address = "ann.smith@example.org"
    told = {"documents": 10, "rows": 11, "quarantined": {"ragged": 1}, "examples": {"quarantine": []}}
    write_corpus(
        corpus(workspace),
        labelled(10),
        {**Report("tiny").as_json(), **told},
        quarantine=[{"where": "a.csv:3", "reason": "ragged", "row": f"write to, {address} now,1"}],
    )
    expect(workspace, {"quarantined": {"stop": 0}}, **steps)
    with refused(DataError, "refused", "a.csv:3", "ragged: write to, ", "<EMAIL> now" if steps else address) as raised:
        stage.main("tiny")
    files = [path.read_text() for path in (workspace / ".langmill/failed/contract@tiny").iterdir()]
    assert any(address in text for text in [str(raised.value), *files]) != bool(steps)


def test_what_follows_reads_the_same_bytes_whatever_was_asked_and_measured(workspace):
    folder = corpus(workspace)
    passed = workspace / "build/contracts/tiny" / PASSED_NAME
    expect(workspace, {})
    stage.main("tiny")
    nothing_asked = passed.read_bytes()
    expect(workspace, {"documents": {"warn": [20, None]}})
    stage.main("tiny")
    assert passed.read_bytes() == nothing_asked
    assert "10 documents" in read_note(passed.parent)
    report = read_json(folder / "report.json")
    write_json(folder / "report.json", {**report, "rows": 11, "files": {"a.csv": 11}})
    write_manifest(folder, {"corpus": "tiny"})
    stage.main("tiny")
    assert passed.read_bytes() == nothing_asked
    require_passed(passed.parent, read_manifest(folder, verify=True))
    corpus(workspace, d0={"text": "another text"})
    with refused(DataError, "mismatch", "dvc repro contract@tiny"):
        require_passed(passed.parent, read_manifest(folder, verify=True))
    stage.main("tiny")
    assert passed.read_bytes() != nothing_asked


def test_a_contract_that_looks_at_the_report_alone_opens_no_table(workspace):
    folder = corpus(workspace)
    expect(workspace, {"documents": {"stop": [1, None]}, "quarantined": {"stop": 0}})
    (folder / "train.parquet").write_bytes(b"no table")
    stage.main("tiny")
    expect(workspace, {"lengths": {"stop": {"0.5": [1, None]}, "warn": {}}})
    with refused(DataError, "unreadable", "train.parquet"):
        stage.main("tiny")
