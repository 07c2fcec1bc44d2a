"""A model that learned preferences is judged by its rewards, against the base that they are counted from."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from langmill.data.document import Document
from langmill.evaluation.base_model import BaseModel
from langmill.evaluation.evaluate import evaluate
from langmill.evaluation.folder import write_evaluation
from langmill.evaluation.significance import GROUP, estimate
from langmill.scoring.preferences import PreferencesScorer
from langmill.tokenization.tokenizer import Tokenizer

from ..tasks.conftest import sentences
from ..tasks.settings import save_tiny_model, shipped_scorer, training_data
from ..tasks.test_chat import shard_of
from .test_base_model import SETTINGS, tuned

pytestmark = pytest.mark.unit
OPTIONS = {"length": 64, "prompt_length": 24}


def test_rewards_are_counted_from_the_base(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = sentences(30, 6, 3)
    documents = [
        Document(f"d{number}", texts[number], target=texts[number + 10], metadata={"rejected": texts[number + 20]})
        for number in range(10)
    ]
    scorer = shipped_scorer("preferences", **OPTIONS)
    assert isinstance(scorer, PreferencesScorer)
    usable = [document for document in documents if scorer.task.check(document) is None]
    save_tiny_model(tmp_path / "base", "language_modelling", (), tokenizer, max_length=64)
    model = tuned(tmp_path / "base", "preferences", **OPTIONS)
    train = training_data(shard_of(scorer.task, tokenizer, tmp_path / "shard", *usable), usable)
    base = BaseModel("base", tmp_path / "base", model)
    found = evaluate(model, usable, train, SETTINGS, "preference_accuracy", scorer=scorer, base=base)
    margins, reference = (found.scores[name].to_numpy() for name in ("margin_nats", "reference_margin_nats"))
    assert (margins != reference).any()
    estimates = {name: found.estimates[name].value for name in ("reward_accuracy", "reward_margin")}
    assert estimates["reward_accuracy"] == pytest.approx((margins > reference).mean())
    assert estimates["reward_margin"] == pytest.approx(0.1 * (margins - reference).mean())
    write_evaluation(tmp_path / "out", model, found, SETTINGS, "preference_accuracy")
    for name in ("base", "coin"):
        values = found.baseline_estimates[name]
        assert (values["reward_accuracy"].value, values["reward_margin"].value) == (0.5, 0.0), name
    assert "next_token_accuracy" in found.baseline_estimates["unigram"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Share of the pairs whose chosen answer has the larger reward" in report


def test_rewards_of_pairs_that_belong_together_are_drawn_together() -> None:
    """Five pairs a conversation that all say the same are worth one: the same shares, and intervals as of the tenth."""
    scorer, random = shipped_scorer("preferences", **OPTIONS), np.random.default_rng(1)
    reward = random.normal(0.3, 1.0, 20)
    one = pa.table({"margin_nats": reward, "reference_margin_nats": np.zeros(20)})
    names = np.repeat([f"conversation {number}" for number in range(20)], 5)
    many = pa.table({"margin_nats": np.repeat(reward, 5), "reference_margin_nats": np.zeros(100), GROUP: names})
    alone, together, apart = (estimate(scorer, each, SETTINGS) for each in (one, many, many.drop_columns([GROUP])))
    for name in ("reward_accuracy", "reward_margin", "preference_accuracy"):
        assert astuple(together[name]) == pytest.approx(astuple(alone[name])), name
        assert apart[name].value == pytest.approx(alone[name].value)
        assert apart[name].high - apart[name].low < 0.7 * (together[name].high - together[name].low), name
