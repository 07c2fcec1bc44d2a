from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.utils.validation import _validate_metric_name

from langmill.data.document import Document
from langmill.errors import EvaluationError, IntegrityError
from langmill.evaluation.estimates import Metrics
from langmill.evaluation.evaluate import evaluate
from langmill.evaluation.folder import EvaluationFolder, write_evaluation
from langmill.evaluation.report import write_report
from langmill.evaluation.runlog import log_evaluation, run_metrics, tracked_name
from langmill.evaluation.scoring import EvaluationSet, usable, with_groups
from langmill.evaluation.significance import compare
from langmill.files import digest_files
from langmill.registry.versions import metrics_tags
from langmill.tracking.events import read_events
from tests.refused import refused

from ..tasks.settings import evaluation, shard, shipped_scorer, training_data

pytestmark = pytest.mark.unit
SETTINGS = evaluation(slices=["source"], bootstrap_samples=100)
LANGUAGE_MODELLING = shipped_scorer("language_modelling")
CLASSIFICATION = shipped_scorer("classification", ("neg", "pos"))


@pytest.fixture(scope="module")
def language_folder(tmp_path_factory, language_model, documents):
    folder = tmp_path_factory.mktemp("evaluation") / "lm"
    train = training_data(shard([language_model.tokenizer.encode(document.text) for document in documents]))
    evaluated = evaluate(language_model, documents, train, SETTINGS, "bits_per_byte", scorer=LANGUAGE_MODELLING)
    write_evaluation(folder, language_model, evaluated, SETTINGS, "bits_per_byte")
    return folder


@pytest.fixture(scope="module")
def label_folder(tmp_path_factory, classifier, documents):
    folder = tmp_path_factory.mktemp("evaluation") / "classifier"
    train = training_data(shard([[1], [2], [3]], ["pos", "pos", "neg"]), documents)
    strange = [Document("s1", "x", "strange"), Document("s2", "x", None), Document("s3", "y", "strange")]
    evaluated = evaluate(classifier, [*documents, *strange], train, SETTINGS, "accuracy", scorer=CLASSIFICATION)
    write_evaluation(folder, classifier, evaluated, SETTINGS, "accuracy")
    return folder


def test_what_was_truncated_is_in_the_report(language_model, documents, tmp_path):
    train = replace(
        training_data(shard([language_model.tokenizer.encode(document.text) for document in documents])),
        truncated={"train": {"answer": 2, "turns": 1034}},
    )
    evaluated = evaluate(language_model, documents, train, SETTINGS, "bits_per_byte", scorer=LANGUAGE_MODELLING)
    write_evaluation(tmp_path, language_model, evaluated, SETTINGS, "bits_per_byte")
    assert "in the train split: the answer of 2, the turns of 1,034." in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["truncated"] == {"train": {"answer": 2, "turns": 1034}}


def test_figures_are_those_of_the_scores(language_folder, documents):
    metrics = json.loads((language_folder / "metrics.json").read_text())
    scores = pq.read_table(language_folder / "scores.parquet")
    expected = sum(scores["nats"].to_pylist()) / np.log(2) / sum(len(document.text.encode()) for document in documents)
    figure = metrics["bits_per_byte"]
    assert figure["value"] == pytest.approx(expected)
    assert figure["low"] < figure["value"] < figure["high"]
    assert metrics["examples"] == len(documents) and metrics["left_out"] == {}
    assert [metrics["baselines"][name]["strength"] for name in ("unigram", "trigram")] == ["trivial", "strong"]
    improvement = metrics["baselines"]["trigram"]["improvement"]
    trigram = metrics["baselines"]["trigram"]["bits_per_byte"]["value"]
    assert improvement["value"] == pytest.approx(trigram - expected) and improvement["high"] < 0
    parts = metrics["slices"]["source"]
    assert {name: part["examples"] for name, part in parts.items()} == {"a": 16, "b": 16}
    assert min(part["bits_per_byte"]["value"] for part in parts.values()) <= figure["value"]


def test_a_folder_is_whole_and_its_bytes_come_again(language_folder, language_model, documents, tmp_path):
    names = {
        "metrics.json", "scores.parquet", "report.md", "generation_config.json",
        "baselines/unigram.parquet", "baselines/trigram.parquet",
        "plots/bits_by_position.csv", "plots/bits_by_position.png",
        "plots/document_losses.csv", "plots/document_losses.png",
    }  # fmt: skip
    assert set(digest_files(language_folder)) == names
    train = training_data(shard([language_model.tokenizer.encode(document.text) for document in documents]))
    evaluated = evaluate(language_model, documents, train, SETTINGS, "bits_per_byte", scorer=LANGUAGE_MODELLING)
    write_evaluation(tmp_path / "again", language_model, evaluated, SETTINGS, "bits_per_byte")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (language_folder / "manifest.json").read_bytes()
    assert digest_files(tmp_path / "again") == digest_files(language_folder)


def test_the_report_says_it_in_words(language_folder, label_folder):
    report = (language_folder / "report.md").read_text()
    assert "32 test documents; **Bits per byte** decides (lower is better)" in report
    assert "| metric | value | 95% interval | unigram | trigram |" in report
    assert "- **trigram** (strong): Bits per byte " in report and "clearly worse, by " in report
    assert "- **unigram** (trivial): " in report
    assert "## By source" in report and "plots/bits_by_position.png" in report
    told = (label_folder / "report.md").read_text()
    assert "Left out: 1 for missing_label, 2 for unseen_label." in told
    assert (
        "Labels in the test split that training never saw, with their documents, which were not judged: strange (2)"
        in told
    )


def test_a_cap_is_said_wherever_the_figures_are(tmp_path, classifier, documents):
    settings = replace(SETTINGS, max_documents=20)
    train = training_data(shard([[1], [2], [3]], ["pos", "pos", "neg"]), documents)
    evaluated = evaluate(classifier, documents, train, settings, "accuracy", scorer=CLASSIFICATION)
    write_evaluation(tmp_path, classifier, evaluated, settings, "accuracy")
    metrics = Metrics.read(tmp_path)
    assert (metrics.examples, metrics.usable) == (20, 32) and metrics.share_of("accuracy") == "20 of 32"
    assert metrics.counted == "20 of 32 test documents, drawn by seed"
    assert "20 of 32 test documents, drawn by seed; **Accuracy** decides" in (tmp_path / "report.md").read_text()
    fewer = replace(evaluated, examples_of={"accuracy": 7})  # as of answers that were not all written
    write_report(tmp_path / "fewer.md", classifier, fewer, settings, "accuracy")
    tables = [line for line in (tmp_path / "fewer.md").read_text().splitlines() if "Accuracy" in line and "|" in line]
    assert len(tables) == 2 and all("(of 7 documents, drawn by seed) |" in line for line in tables)
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == 20
    tags = metrics_tags(metrics)
    assert (tags["langmill.judged_documents"], tags["langmill.better"]) == ("20 of 32", "higher")
    whole = evaluate(classifier, documents, train, SETTINGS, "accuracy", scorer=CLASSIFICATION)
    assert whole.protocol != evaluated.protocol
    again = evaluate(classifier, documents[::-1], train, settings, "accuracy", scorer=CLASSIFICATION)
    assert again.protocol == evaluated.protocol
    parts = Counter((each.label, each.metadata["source"]) for each in evaluated.test_set.documents)
    for stratum, count in Counter((each.label, each.metadata["source"]) for each in documents).items():
        assert abs(parts[stratum] - count * 20 / 32) <= 1


def test_documents_that_can_not_be_judged_are_counted(label_folder, documents):
    metrics = json.loads((label_folder / "metrics.json").read_text())
    assert metrics["left_out"] == {"missing_label": 1, "unseen_label": 2}
    assert metrics["unseen_labels"] == {"strange": 2}
    assert metrics["examples"] == len(documents)
    assert metrics["baselines"]["majority"]["accuracy"]["value"] == pytest.approx(21 / 32)
    assert {"precision_neg", "f1_pos", "expected_calibration_error"} <= set(metrics)


def test_a_test_set_without_a_usable_document_is_refused(classifier):
    with refused(EvaluationError, "too_few", "1 missing_label", "split.test"):
        evaluate(
            classifier,
            [Document("a", "x")],
            training_data(shard([[1]], ["pos"]), [Document("b", "y", "pos")]),
            SETTINGS,
            "accuracy",
            scorer=CLASSIFICATION,
        )


def test_one_document_can_be_judged(language_model, documents, tmp_path):
    train = training_data(shard([[5, 6]]))
    evaluated = evaluate(language_model, documents[:1], train, SETTINGS, "bits_per_byte", scorer=LANGUAGE_MODELLING)
    write_evaluation(tmp_path / "one", language_model, evaluated, SETTINGS, "bits_per_byte")
    assert "Only 1 documents were scored" in (tmp_path / "one" / "report.md").read_text()


def test_the_digest_follows_no_order(documents, language_model):
    test_set = usable(language_model.task, documents)
    assert EvaluationSet(documents[::-1], {}).digest == test_set.digest


def test_groups_are_drawn_counted_and_told(language_model, documents, tmp_path):
    train = training_data(shard([language_model.tokenizer.encode(document.text) for document in documents]))
    grouped = [replace(document, metadata={**document.metadata, "work": f"W{number // 8}"})
               for number, document in enumerate(documents)]  # fmt: skip
    evaluated = evaluate(
        language_model, grouped, train, SETTINGS, "bits_per_byte", scorer=LANGUAGE_MODELLING, group_by="work"
    )
    write_evaluation(tmp_path / "lm", language_model, evaluated, SETTINGS, "bits_per_byte")
    assert json.loads((tmp_path / "lm" / "metrics.json").read_text())["groups"] == 4
    assert (
        "32 test documents in 4 groups (by work, as the split keeps them together);"
        in (tmp_path / "lm" / "report.md").read_text()
    )
    assert "The documents are in only 4 groups" in (tmp_path / "lm" / "report.md").read_text()
    folder = EvaluationFolder.open(tmp_path / "lm", verify=True)
    assert folder.group_by == "work"
    for table in (folder.scores(), folder.baseline("unigram")):
        assert table["group"].to_pylist() == [f"W{number // 8}" for number in range(32)]
    assert evaluated.against["trigram"].groups == 4


def test_groups_are_those_of_the_split(documents):
    given = [Document("a", "x", metadata={"by": "Hamlet"}), Document("b", "y", metadata={"by": "hamlet "}),
             Document("c", "z"), Document("d", "w", metadata={"by": ""})]  # fmt: skip
    ids = pa.table({"id": [document.id for document in given]})
    assert with_groups(ids, given, "by")["group"].to_pylist() == ["Hamlet", "Hamlet", None, None]
    assert with_groups(ids, given, None)["group"].to_pylist() == [None] * 4


def test_scores_are_compared_on_one_test_set_only(language_folder, language_model, documents):
    scores = EvaluationFolder.open(language_folder, verify=True).scores()
    same = compare(LANGUAGE_MODELLING, scores, scores, "bits_per_byte", SETTINGS)
    assert same.improvement.value == 0 and same.examples == len(documents)
    evaluated = evaluate(
        language_model,
        documents[1:],
        training_data(shard([[5, 6]])),
        SETTINGS,
        "bits_per_byte",
        scorer=LANGUAGE_MODELLING,
    )
    with refused(EvaluationError, "mismatch", "test sets"):
        compare(LANGUAGE_MODELLING, scores, evaluated.scores, "bits_per_byte", SETTINGS)


def test_a_folder_read_back(language_folder, label_folder, tmp_path):
    folder = EvaluationFolder.open(language_folder, verify=True)
    assert folder.trivial_baseline == "unigram"
    assert folder.scores().num_rows == folder.baseline("trigram").num_rows == folder.manifest["examples"]
    assert EvaluationFolder.open(label_folder, verify=True).task.labels == ("neg", "pos")
    with refused(EvaluationError, "missing", str(tmp_path / "nothing"), "langmill run"):
        EvaluationFolder.open(tmp_path / "nothing", verify=True)
    with refused(EvaluationError, "unreadable", "bigram.parquet"):
        folder.baseline("bigram")


def test_a_damaged_folder_is_refused(language_folder, tmp_path):
    import shutil

    shutil.copytree(language_folder, tmp_path / "damaged")
    with (tmp_path / "damaged" / "scores.parquet").open("ab") as file:
        file.write(b"x")
    with refused(IntegrityError, "damaged", "scores.parquet"):
        EvaluationFolder.open(tmp_path / "damaged", verify=True)


def test_figures_reach_the_run_even_where_no_server_answers(language_folder, tmp_path, caplog):
    dead = "http://127.0.0.1:9"
    page = tmp_path / "report.html"
    page.write_text("<!doctype html>")
    log_evaluation(language_folder, "reviews", tmp_path / "run", dead, tokens_per_second=12.5, data_report=page)
    assert "not in MLflow yet" in caplog.text
    log_evaluation(language_folder, "reviews", tmp_path / "run", dead, tokens_per_second=14)  # nothing new to say
    events, _ = read_events(tmp_path / "run" / "events.jsonl", 0)
    metrics = [event for event in events if event["kind"] == "metrics"]
    assert len(metrics) == 2 and metrics[0]["step"] == 0
    assert metrics[1]["values"] == {"evaluation_tokens_per_second": 12.5}
    value = json.loads((language_folder / "metrics.json").read_text())["bits_per_byte"]["value"]
    assert metrics[0]["values"]["test/bits_per_byte"] == value
    files = [event["name"] for event in events if event["kind"] == "file"]
    assert "data/report.html" in files
    assert "evaluation/report.md" in files and "evaluation/plots/document_losses.png" in files
    assert len(files) == len(set(files))
    assert {event["kind"] for event in events} == {"start", "dataset", "metrics", "show", "file", "finish"}
    (shown,) = [event for event in events if event["kind"] == "show"]
    assert shown["metrics"][0] == "test/bits_per_byte"
    assert {name for name in shown["metrics"] if name.startswith("test/")} <= metrics[0]["values"].keys()
    assert f"**{value:.4g}**" in shown["card"]


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
    name = "test/f1_sci-fi .26. co.3a. .28..fc..29."
    assert set(found) == {name, f"{name}/low", f"{name}/high", "test/majority/f1_.fc."}
    for each in found:
        _validate_metric_name(each)


@pytest.mark.parametrize(
    "labels", [("好评", "差评"), ("C#", "C+"), ("a/low", "a"), (".23.", "#"), ("a.b", "a_b"), (".", ".."), ("ä", "a")]
)
def test_no_two_labels_share_a_name_in_mlflow(labels):
    figures = {f"f1_{label}": {"value": place, "low": place, "high": place} for place, label in enumerate(labels)}
    found = run_metrics({**figures, "baselines": {"majority": figures}})
    assert len(found) == 4 * len(labels)
    for place, label in enumerate(labels):
        tracked = tracked_name(f"f1_{label}")
        assert re.sub(r"\.([0-9a-f]+)\.", lambda code: chr(int(code[1], 16)), tracked) == f"f1_{label}"
        assert found[f"test/{tracked}"] == found[f"test/{tracked}/low"] == found[f"test/majority/{tracked}"] == place
    for name in found:
        _validate_metric_name(name)


def test_a_name_that_is_too_long_stays_in_the_file(caplog):
    found = run_metrics({"f1_" + 60 * "评": {"value": 1, "low": 1, "high": 1}, "baselines": {}})
    assert not found and "stays out of MLflow" in caplog.text


def test_a_collision_is_an_error(monkeypatch):
    monkeypatch.setattr("langmill.evaluation.runlog.tracked_name", lambda name: "same")
    with refused(EvaluationError, "duplicate", "test/same"):
        run_metrics({"a": {"value": 1, "low": 1, "high": 1}, "b": {"value": 1, "low": 1, "high": 1}, "baselines": {}})
