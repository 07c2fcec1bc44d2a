from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from langmill.data.document import Document
from langmill.errors import EvaluationError, IntegrityError
from langmill.evaluation.evaluate import EvaluationFolder, compare_folders, evaluate, write_evaluation
from langmill.evaluation.runlog import log_evaluation, run_metrics
from langmill.evaluation.scoring import EvaluationSet, usable
from langmill.files import digest_files
from langmill.tracking import read_events

from ..tasks.settings import evaluation, shard, training_data

pytestmark = pytest.mark.unit
SETTINGS = evaluation(slices=["source"], bootstrap_samples=100)


@pytest.fixture(scope="module")
def language_folder(tmp_path_factory, language_model, documents):
    folder = tmp_path_factory.mktemp("evaluation") / "lm"
    train = training_data(shard([language_model.tokenizer.encode(document.text) for document in documents]))
    evaluated = evaluate(language_model, documents, train, SETTINGS, "bits_per_byte")
    write_evaluation(folder, language_model, evaluated, SETTINGS, "bits_per_byte")
    return folder


@pytest.fixture(scope="module")
def label_folder(tmp_path_factory, classifier, documents):
    folder = tmp_path_factory.mktemp("evaluation") / "classifier"
    train = training_data(shard([[1], [2], [3]], ["pos", "pos", "neg"]), documents)
    strange = [Document("s1", "x", "strange"), Document("s2", "x", None), Document("s3", "y", "strange")]
    evaluated = evaluate(classifier, [*documents, *strange], train, SETTINGS, "accuracy")
    write_evaluation(folder, classifier, evaluated, SETTINGS, "accuracy")
    return folder


def test_figures_are_those_of_the_scores(language_folder, documents):
    metrics = json.loads((language_folder / "metrics.json").read_text())
    scores = pq.read_table(language_folder / "scores.parquet")
    expected = sum(scores["nats"].to_pylist()) / np.log(2) / sum(len(document.text.encode()) for document in documents)
    figure = metrics["bits_per_byte"]
    assert figure["value"] == pytest.approx(expected)
    assert figure["low"] < figure["value"] < figure["high"]
    assert metrics["examples"] == len(documents) and metrics["left_out"] == {}
    assert [metrics["baselines"][name]["strength"] for name in ("unigram", "trigram")] == ["trivial", "serious"]
    improvement = metrics["baselines"]["trigram"]["improvement"]
    trigram = metrics["baselines"]["trigram"]["bits_per_byte"]["value"]
    assert improvement["value"] == pytest.approx(trigram - expected) and improvement["high"] < 0
    parts = metrics["slices"]["source"]
    assert {name: part["examples"] for name, part in parts.items()} == {"a": 16, "b": 16}
    assert min(part["bits_per_byte"]["value"] for part in parts.values()) <= figure["value"]


def test_a_folder_is_whole_and_its_bytes_come_again(language_folder, language_model, documents, tmp_path):
    names = {
        "metrics.json", "scores.parquet", "report.md", "baselines/unigram.parquet", "baselines/trigram.parquet",
        "plots/bits_by_position.csv", "plots/bits_by_position.png",
        "plots/document_losses.csv", "plots/document_losses.png",
    }  # fmt: skip
    assert set(digest_files(language_folder)) == names
    train = training_data(shard([language_model.tokenizer.encode(document.text) for document in documents]))
    evaluated = evaluate(language_model, documents, train, SETTINGS, "bits_per_byte")
    write_evaluation(tmp_path / "again", language_model, evaluated, SETTINGS, "bits_per_byte")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (language_folder / "manifest.json").read_bytes()
    assert digest_files(tmp_path / "again") == digest_files(language_folder)


def test_the_report_says_it_in_words(language_folder, label_folder):
    report = (language_folder / "report.md").read_text()
    assert "32 documents were scored; **Bits per byte** decides (lower is better)" in report
    assert "| metric | value | 95% interval | unigram | trigram |" in report
    assert "- **trigram** (serious): Bits per byte " in report and "clearly worse, by " in report
    assert "- **unigram** (trivial): " in report
    assert "## By source" in report and "plots/bits_by_position.png" in report
    assert "Left out: 1 for missing_label, 2 for unseen_label." in (label_folder / "report.md").read_text()


def test_documents_that_can_not_be_judged_are_counted(label_folder, documents):
    metrics = json.loads((label_folder / "metrics.json").read_text())
    assert metrics["left_out"] == {"missing_label": 1, "unseen_label": 2}
    assert metrics["examples"] == len(documents)
    assert metrics["baselines"]["majority"]["accuracy"]["value"] == pytest.approx(21 / 32)
    assert {"precision_neg", "f1_pos", "expected_calibration_error"} <= set(metrics)


def test_a_test_set_without_a_usable_document_is_refused(classifier):
    with pytest.raises(EvaluationError, match=r"No test document can be used \(1 missing_label\)"):
        evaluate(
            classifier,
            [Document("a", "x")],
            training_data(shard([[1]], ["pos"]), [Document("b", "y", "pos")]),
            SETTINGS,
            "accuracy",
        )


def test_one_document_can_be_judged(language_model, documents, tmp_path):
    train = training_data(shard([[5, 6]]))
    evaluated = evaluate(language_model, documents[:1], train, SETTINGS, "bits_per_byte")
    write_evaluation(tmp_path / "one", language_model, evaluated, SETTINGS, "bits_per_byte")
    assert "Only 1 documents were scored" in (tmp_path / "one" / "report.md").read_text()


def test_the_digest_follows_what_is_judged_and_not_its_order(documents, language_model):
    test_set = usable(language_model.task, documents)
    assert EvaluationSet(documents[::-1], {}).digest == test_set.digest
    for changed in (
        replace(documents[0], text="other"), replace(documents[0], label="other"), replace(documents[0], id="other"),
    ):  # fmt: skip
        assert EvaluationSet([changed, *documents[1:]], {}).digest != test_set.digest


def test_folders_are_compared_on_one_test_set_only(language_folder, language_model, documents, tmp_path):
    same = compare_folders(language_folder, language_folder, "bits_per_byte", SETTINGS)
    assert same.improvement.value == 0 and same.examples == len(documents)
    evaluated = evaluate(language_model, documents[1:], training_data(shard([[5, 6]])), SETTINGS, "bits_per_byte")
    write_evaluation(tmp_path / "other", language_model, evaluated, SETTINGS, "bits_per_byte")
    with pytest.raises(EvaluationError, match="other test sets"):
        compare_folders(language_folder, tmp_path / "other", "bits_per_byte", SETTINGS)


def test_a_folder_read_back(language_folder, label_folder, tmp_path):
    folder = EvaluationFolder.open(language_folder, verify=True)
    assert folder.trivial_baseline == "unigram"
    assert folder.scores().num_rows == folder.baseline("trigram").num_rows == folder.manifest["examples"]
    assert EvaluationFolder.open(label_folder, verify=True).task.labels == ("neg", "pos")
    with pytest.raises(EvaluationError, match="no evaluation in"):
        EvaluationFolder.open(tmp_path / "nothing", verify=True)
    with pytest.raises(EvaluationError, match=r"bigram.parquet can't be read"):
        folder.baseline("bigram")


def test_a_damaged_folder_is_refused(language_folder, tmp_path):
    import shutil

    shutil.copytree(language_folder, tmp_path / "damaged")
    with (tmp_path / "damaged" / "scores.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"scores.parquet differ"):
        compare_folders(tmp_path / "damaged", language_folder, "bits_per_byte", SETTINGS)


def test_figures_reach_the_run_even_where_no_server_answers(language_folder, tmp_path, caplog):
    dead = "http://127.0.0.1:9"
    log_evaluation(language_folder, "reviews", tmp_path / "run", dead)
    assert "not in MLflow yet" in caplog.text
    log_evaluation(language_folder, "reviews", tmp_path / "run", dead)  # nothing new to say
    events, _ = read_events(tmp_path / "run" / "events.jsonl", 0)
    metrics = [event for event in events if event["kind"] == "metrics"]
    assert len(metrics) == 1 and metrics[0]["step"] == 0
    value = json.loads((language_folder / "metrics.json").read_text())["bits_per_byte"]["value"]
    assert metrics[0]["values"]["test/bits_per_byte"] == value
    files = [event["name"] for event in events if event["kind"] == "file"]
    assert "evaluation/report.md" in files and "evaluation/plots/document_losses.png" in files
    assert len(files) == len(set(files))
    assert {event["kind"] for event in events} == {"start", "dataset", "metrics", "file"}


def test_another_evaluation_of_the_same_model_is_a_further_step(language_folder, tmp_path):
    import shutil

    log_evaluation(language_folder, "reviews", tmp_path / "run", "http://127.0.0.1:9")
    shutil.copytree(language_folder, tmp_path / "other")
    metrics = json.loads((language_folder / "metrics.json").read_text())
    metrics["bits_per_byte"]["low"] -= 0.1
    (tmp_path / "other" / "metrics.json").write_text(json.dumps(metrics))
    log_evaluation(tmp_path / "other", "reviews", tmp_path / "run", "http://127.0.0.1:9")
    events, _ = read_events(tmp_path / "run" / "events.jsonl", 0)
    assert [event["step"] for event in events if event["kind"] == "metrics"] == [0, 1]


def test_names_are_such_as_mlflow_takes():
    figure = {"value": 1.0, "low": 0.5, "high": 1.5}
    found = run_metrics({"f1_sci-fi & co: (ü)": figure, "examples": 3, "baselines": {"majority": {"f1_ü": figure}}})
    assert set(found) == {
        "test/f1_sci-fi _ co_ ___", "test/f1_sci-fi _ co_ ___/low", "test/f1_sci-fi _ co_ ___/high",
        "test/majority/f1__",
    }  # fmt: skip
