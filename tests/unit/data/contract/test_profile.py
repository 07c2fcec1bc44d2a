"""A contract that is drawn up from documents: they keep it, and the file of the corpus stays what it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.config.compose import compose_corpus
from langmill.config.core_yaml import parse_yaml
from langmill.data.contract.base import build_expectations
from langmill.data.contract.check import check
from langmill.data.contract.findings import Outcome
from langmill.data.contract.infer import infer
from langmill.data.contract.written import with_contract
from langmill.errors import ConfigError
from tests.refused import refused
from tests.unit.data.contract.corpora import evidence, labelled, write_corpus

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[4]
HEAD = """\
# My corpus.
defaults: [base, _self_]
name: tiny
description: "Odd:   spacing"   # stays
licence: none
source: {kind: files, path: tiny.csv}
"""
REPORT = {
    "bytes": {"read": 2000, "quarantined": 0},
    "sources": {"web": {"rows": 200, "kept": 120, "bytes": 1, "kept_bytes": 1}},
    "near_duplicates": {"clusters": 1, "pairs": 1, "dropped": 2},
    "leakage": {"test_documents": 10, "leaked": 0, "share": 0.0, "examples": []},
}
ODD = ["true", "1.0", "null", "a: b", "Größe", "${x}", "#no", 'quote"d']


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "conf/corpus").mkdir(parents=True)
    shutil.copy(ROOT / "conf/corpus/base.yaml", tmp_path / "conf/corpus")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "conf/corpus/tiny.yaml").write_text(HEAD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(workspace: Path, labels: tuple[str, ...] = ("bad", "good")) -> Path:
    folder = workspace / "build/documents/tiny"
    folder.mkdir(parents=True)
    documents = labelled(200)
    changed = {
        each.id: {
            "label": labels[number % len(labels)],
            "target": "x" * (number % 7),
            "metadata": {"stars": str(number % 5), "language": "de" if number % 50 == 0 else "en"},
        }
        for number, each in enumerate(documents)
    }
    return write_corpus(folder, labelled(200, **changed), REPORT)


@pytest.mark.parametrize("labels", [("bad", "good"), tuple(ODD)])
def test_the_documents_of_now_keep_what_is_drawn_up_and_it_is_read_as_it_was_meant(workspace, labels):
    folder = made(workspace, labels)
    assert call(["profile", "tiny"]) == 0
    text = (workspace / "conf/corpus/tiny.yaml").read_text()
    assert text.startswith(HEAD)
    contract = compose_corpus("tiny").contract
    inferred = infer(evidence(folder))
    assert {name: contract.expectations[name] for name in inferred["expectations"]} == inferred["expectations"]
    assert set(contract.expectations["label_set"]["labels"]) == set(labels) == set(contract.reference.labels)
    results = check("tiny", evidence(folder, contract.reference), build_expectations(contract, "x"))
    assert {one.outcome for those in results.findings.values() for one in those} == {Outcome.passed}
    assert set(inferred["expectations"]) == {
        "documents", "bytes", "nulls", "types", "label_set", "label_balance", "lengths", "target_lengths", "languages",
        "unread", "quarantined", "survival", "near_duplicates", "leakage", "label_shift", "language_shift",
        "length_shift",
    }  # fmt: skip
    assert inferred["expectations"]["survival"] == {"stop": 0.3, "warn": 0.48, "min_rows": 100}
    assert inferred["expectations"]["types"]["fields"] == {"metadata.stars": "whole_number"}
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("have", "stop", "warn"), [(200, 0.01, 0), (150, 0.51, 0.32), (100, 0.75, 0.63), (6, 0.99, 0.98)]
)
def test_a_field_that_few_documents_have_may_not_be_lost(workspace, have, stop, warn):
    documents = labelled(200)
    changed = {each.id: {"metadata": {"hint": "x"} if number < have else {}} for number, each in enumerate(documents)}
    folder = write_corpus(workspace / "documents", labelled(200, **changed), REPORT)
    nulls = infer(evidence(folder))["expectations"]["nulls"]
    assert (nulls["stop"]["metadata.hint"], nulls["warn"]["metadata.hint"]) == (stop, warn)


def test_the_same_documents_give_the_same_file_and_comments_stay(workspace):
    made(workspace)
    path = workspace / "conf/corpus/tiny.yaml"
    assert call(["profile", "tiny"]) == 0
    edited = path.read_text().replace("    label_set:", "    # Mine.\n    label_set:")
    edited = edited.replace("    leakage: {stop: 0.05, warn: 0.01}", "    leakage: null  # not here") + "# The end.\n"
    path.write_text(edited)
    assert call(["profile", "tiny"]) == 0
    assert path.read_text() == edited


def test_a_new_expectation_stands_among_the_others(workspace):
    made(workspace)
    path = workspace / "conf/corpus/tiny.yaml"
    assert call(["profile", "tiny"]) == 0
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("    leakage:")) + "\n")
    assert call(["profile", "tiny"]) == 0
    renewed = path.read_text().splitlines()
    place = renewed.index("  reference:")
    assert renewed[place - 1].startswith("  # The documents of now")
    assert renewed[place - 2] == "    leakage: {stop: 0.05, warn: 0.01}"
    assert sorted(renewed) == sorted(lines)


def test_limits_stay_where_that_is_asked_for(workspace):
    made(workspace)
    path = workspace / "conf/corpus/tiny.yaml"
    path.write_text(HEAD + "contract:\n  expectations:\n    documents: {stop: [7, null]}  # mine\nsplit: {test: 0.1}\n")
    assert call(["profile", "tiny", "--keep-limits"]) == 0
    contract = compose_corpus("tiny").contract
    assert contract.expectations["documents"] == {"stop": [7, None]}
    assert "label_set" not in contract.expectations
    assert contract.reference.documents == 200
    text = path.read_text()
    assert "  # mine" in text
    assert text.endswith("split: {test: 0.1}\n")


def test_a_file_that_can_not_be_edited_is_left(workspace, capsys):
    made(workspace)
    path = workspace / "conf/corpus/tiny.yaml"
    with refused(ConfigError, "unreadable", "tiny", "contract"):
        with_contract(
            "{name: tiny, contract: {expectations: {}}}\n", "tiny", infer(evidence(Path("build/documents/tiny")))
        )
    path.write_text(HEAD.replace("name: tiny", "name: other"))
    assert call(["profile", "tiny"]) == 2
    shutil.rmtree("build")
    path.write_text(HEAD)
    assert call(["profile", "tiny"]) == 1
    assert "dvc repro clean@tiny" in capsys.readouterr().err
    assert path.read_text() == HEAD


def test_flow_style_is_wrapped_without_a_change_of_what_it_says():
    labels = [f"a label, number {number} of them" for number in range(40)]
    contract = {"expectations": {"label_set": {"labels": labels, "stop": 0}}, "reference": {"labels": {}}}
    text = with_contract("name: x\n", "x", contract)
    assert max(map(len, text.splitlines())) <= 120
    assert parse_yaml(text, "x")["contract"]["expectations"]["label_set"]["labels"] == labels
