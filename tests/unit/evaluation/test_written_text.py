"""The evaluation of a model that writes: what was scored of long targets, and how the texts were tokenized."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from langmill.data.document import Document
from langmill.evaluation.evaluate import evaluate
from langmill.evaluation.folder import write_evaluation
from langmill.scoring.conditional_generation import ConditionalGenerationScorer
from langmill.tasks.loading import load_model
from langmill.tokenization.tokenizer import Tokenizer

from ..tasks.settings import evaluation, save_tiny_model, shipped_scorer, training_data

pytestmark = pytest.mark.unit
SETTINGS = evaluation(bootstrap_samples=100)


def test_the_share_that_was_scored_stands_beside_the_figures(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_tiny_model(tmp_path / "model", "completion", (), tokenizer, max_length=24)
    model = load_model(tmp_path / "model", verify=True)
    documents = [Document(f"d{n}", "the film", target="静夜思" * (n + 1)) for n in range(6)]
    parts = [[tokenizer.encode(part) for part in model.task.parts(document)] for document in documents]
    lengths = np.array([[len(part) for part in pair] for pair in parts])
    shard = SimpleNamespace(
        tokens=np.array([token for pair in parts for token in (*pair[0], *pair[1], tokenizer.eot_id)]),
        starts=np.cumsum([0, *(lengths.sum(axis=1) + 1)])[:-1],
        part_lengths=lambda count: lengths,
    )
    scorer, known = shipped_scorer("completion"), training_data(shard, documents)
    evaluated = evaluate(model, documents, known, SETTINGS, "bits_per_byte", scorer=scorer)
    write_evaluation(tmp_path / "out", model, evaluated, SETTINGS, "bits_per_byte")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    scores = pq.read_table(tmp_path / "out" / "scores.parquet")
    share = sum(scores["bytes"].to_pylist()) / sum(scores["target_bytes"].to_pylist())
    assert metrics["scored_share"]["value"] == pytest.approx(share) and 0.3 < share < 0.9
    for name in ("unigram", "trigram"):
        assert metrics["baselines"][name]["scored_share"]["value"] == pytest.approx(share)
    assert "scored_share" not in metrics["baselines"]["copy"]
    assert metrics["signatures"]["bits_per_byte"] == "bytes:of the scored tokens"
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Share of the target's bytes that were scored" in report
    (plot,) = evaluated.plots
    expected = np.sort(scores["nats"].to_numpy() / scores["bytes"].to_numpy() / np.log(2))
    assert plot.columns["bits per byte"] == pytest.approx(expected)


def test_metrics_say_how_these_texts_were_tokenized() -> None:
    scorer = shipped_scorer("completion", metrics=["bleu"])
    assert isinstance(scorer, ConditionalGenerationScorer)
    for target, expected in (("静夜思", "zh"), ("สวัสดี", "char"), ("a film", "13a")):
        scores = scorer.table([Document("d", "x", target=target)], {}, [target])
        (signature,) = [metric.signature for metric in scorer.metrics_of(scores) if metric.name == "bleu"]
        assert f"|tok:{expected}|" in signature
