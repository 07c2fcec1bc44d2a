"""Data that came in broken stops between cleaning and training, with the rows that broke it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from langmill.data.contract.evidence import Evidence
from langmill.data.contract.infer import infer
from langmill.errors import DataError
from langmill.files import read_json
from langmill.stages import clean, contract, encode, fetch, tokenizer
from tests.faults.test_data_faults import CONF, Workspace, many
from tests.refused import refused

pytestmark = pytest.mark.faults
SHIPPED = yaml.safe_load((CONF / "corpus" / "base.yaml").read_text())["contract"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    made = Workspace(tmp_path)
    expect(made, SHIPPED)
    return made


def expect(workspace: Workspace, values: dict[str, Any]) -> None:
    """Give the corpus a contract."""
    path = workspace.root / "build/config/corpus/tiny.yaml"
    corpus = yaml.safe_load(path.read_text())
    corpus["labels"]["map"] = {}  # else a label without a name is quarantined, and never a document's
    path.write_text(yaml.safe_dump({**corpus, "contract": values}))


def check() -> None:
    """Run the stages from the raw files to the contract."""
    for stage in (fetch, clean, contract):
        stage.main("tiny")


def lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def test_a_file_that_ends_early_stops_although_most_of_it_was_read(workspace: Workspace) -> None:
    whole = gzip.compress(lines(many(3000)), mtime=0)
    (workspace.mine / "a.jsonl.gz").write_bytes(whole)
    check()
    (workspace.mine / "a.jsonl.gz").write_bytes(whole[:-20])
    with refused(DataError, "refused", "unread: 1 file ends before", "a.jsonl.gz", "conf/corpus/tiny.yaml"):
        check()
    with refused(DataError, "mismatch", "dvc repro contract@tiny"):  # by hand, too: DVC runs nothing after a breach
        tokenizer.main("tiny")
    expect(workspace, {**SHIPPED, "expectations": {**SHIPPED["expectations"], "unread": {"stop": 0.5}}})
    contract.main("tiny")  # a person's own decision


def test_a_rule_that_takes_nearly_all_of_one_source_stops(workspace: Workspace) -> None:
    (workspace.mine / "good.jsonl").write_bytes(lines(many(300)))
    (workspace.mine / "gone.jsonl").write_bytes(lines([{"text": "ok", "label": 0} for _ in range(196)] + many(4)))
    with refused(DataError, "refused", "survival: Source gone.jsonl lost", "of 200 rows", "gone.jsonl:"):
        check()


def test_what_the_last_version_did_not_have_stops(workspace: Workspace) -> None:
    workspace.configure("sentiment")
    expect(workspace, SHIPPED)
    workspace.write(many(400))
    check()
    expect(workspace, infer(Evidence.of(Path("build/documents/tiny"))))
    for stage in (contract, tokenizer, encode):
        stage.main("tiny")
    workspace.write([*many(400), *({"text": f"another kind of text {number}", "label": 7} for number in range(60))])
    with refused(DataError, "refused", "label_set: ", "(7)", "another kind of text", "a.jsonl:"):
        check()
    results = read_json(Path(".langmill/failed/contract@tiny/results.json"))
    broken = {each["expectation"] for each in results["findings"] if each["outcome"] == "breached"}
    assert "label_set" in broken
