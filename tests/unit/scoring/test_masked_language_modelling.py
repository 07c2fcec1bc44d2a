"""Which tokens are masked in a test document, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from langmill.data.document import Document
from langmill.models.heads import LanguageModel
from langmill.scoring.base import Strength
from langmill.scoring.masked_language_modelling import MaskedLanguageModellingScorer
from langmill.tokenization.tokenizer import Tokenizer

from ..tasks.conftest import sentences
from ..tasks.networks import MASKED_LENGTH, masked_network, masking_tokenizer
from ..tasks.settings import evaluation, shipped_scorer, training_data
from ..tasks.settings import shard as plain_shard

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer with a mask token."""
    return masking_tokenizer(tmp_path_factory.mktemp("masking"))


@pytest.fixture
def scorer() -> MaskedLanguageModellingScorer:
    scorer = shipped_scorer("masked_language_modelling")
    assert isinstance(scorer, MaskedLanguageModellingScorer)
    return scorer


@pytest.fixture
def network(scorer: MaskedLanguageModellingScorer, masking: Tokenizer) -> Iterator[LanguageModel]:
    yield masked_network(scorer.task, masking)


def shard(masking: Tokenizer, texts: list[str]) -> Any:
    found = plain_shard([masking.encode(text) for text in texts])
    found.vocab_size, found.special_ids = masking.vocab_size, masking.special_ids
    return found


def test_a_score_is_the_loss_on_the_masked_tokens_and_always_the_same(
    scorer: MaskedLanguageModellingScorer, network: LanguageModel, masking: Tokenizer
) -> None:
    documents = [Document(f"d{number}", text) for number, text in enumerate([*sentences(9, 30, 5), "a"])]
    scores = scorer.score(network, masking, documents, evaluation(batch_tokens=64))
    examples = scorer.examples(masking, documents, evaluation(), MASKED_LENGTH)
    for row, (read, targets) in enumerate(examples):
        told = torch.from_numpy(targets >= 0)
        with torch.no_grad():
            logits = network(torch.from_numpy(read)[None])[0][told]
        wanted = torch.from_numpy(targets)[told]
        assert scores["tokens"][row].as_py() == len(wanted) >= 1
        assert scores["nats"][row].as_py() == pytest.approx(
            F.cross_entropy(logits, wanted, reduction="sum").item(), rel=1e-4
        )
        assert scores["correct"][row].as_py() == int((logits.argmax(dim=-1) == wanted).sum())
    figures = scorer.measure(scores, np.ones((1, len(documents))))
    assert figures["masked_loss"][0] == pytest.approx(
        sum(scores["nats"].to_pylist()) / sum(scores["tokens"].to_pylist())
    )
    train = shard(masking, sentences(30, 20, 3))
    (unigram,) = scorer.baselines(training_data(train), documents, masking, evaluation(), max_length=MASKED_LENGTH)
    assert unigram.strength is Strength.trivial
    assert unigram.scores["tokens"].equals(scores["tokens"])  # the very same tokens are masked
    assert unigram.scores["id"].equals(scores["id"])


def test_of_a_long_document_what_the_network_reads_is_scored(
    scorer: MaskedLanguageModellingScorer, masking: Tokenizer
) -> None:
    text = sentences(1, 300, 5)[0] * 9
    documents = [Document("long", text), Document("short", "a")]
    lengths = {}
    for max_length in (16, 64, 10_000):
        (unigram,) = scorer.baselines(
            training_data(shard(masking, [text])), documents, masking, evaluation(), max_length=max_length
        )
        lengths[max_length] = unigram.scores["bytes"].to_pylist()
        kept = len(masking.decode_bytes(masking.encode(text)[: min(max_length, scorer.options.score_length)]))
        assert lengths[max_length] == [kept, 1]
    assert lengths[16][0] < lengths[64][0] < lengths[10_000][0] < len(text.encode())
