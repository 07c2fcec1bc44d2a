"""Every metric of every scorer, by hand, and the same whatever is scored beside.

A network whose head is zero holds all tokens, or all labels, equally likely. So every figure is known beforehand: a
token costs ln V nats, however long a text is and whatever the network has for its context.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from torch import Tensor, nn

from langmill.data.document import Document
from langmill.models.base import build_backbone
from langmill.scoring.base import Scorer
from langmill.scoring.masked_language_modelling import MaskedLanguageModellingScorer
from langmill.tokenization.tokenizer import Tokenizer

from ..tasks.conftest import sentences
from ..tasks.networks import masking_tokenizer
from ..tasks.settings import CONF, evaluation, shipped_scorer, tiny_options

pytestmark = pytest.mark.unit
REACH = 32
LABELS = ("a", "b", "c")
ANY_SIZE = pytest.mark.parametrize("batch_tokens", [1, 64, 512, 16_384])
DECODING = {"max_new_tokens": 8, "num_beams": 1}
TEXTS = [
    "a",
    "the film was good",
    "the plot was dull and the actor was not very good " * 6,
    "静夜思床前明月光疑是地上霜" * 3,
    "Привет мир",
    "สวัสดี",
]
DOCUMENTS = [
    Document(f"d{number}", text, label="ab"[number % 2], target=TEXTS[-1 - number]) for number, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return masking_tokenizer(tmp_path_factory.mktemp("masking"))


def network_of(scorer: Scorer, architecture: str, tokenizer: Tokenizer, std: float) -> Any:
    """A network with random weights, and a head of zeros where `std` is 0."""
    options = tiny_options()
    if architecture == "encoder_decoder":
        values = yaml.safe_load((CONF / "model" / "encoder-decoder-small.yaml").read_text())
        options = {**values["options"], "dim": 16, "num_heads": 2, "hidden_dim": 32, "dropout": 0.0}
    elif architecture in {"gru", "lstm", "rnn"}:
        values = yaml.safe_load((CONF / "model" / f"{architecture}-small.yaml").read_text())
        options = {**values["options"], "dim": 16, "embedding_dim": 16}
    torch.manual_seed(1)
    network: Any = scorer.task.network(build_backbone(architecture, options, tokenizer.vocab_size, REACH, "test"))
    with torch.no_grad():
        for weight in network.parameters():
            nn.init.normal_(weight, std=std or 0.1)
        if not std:
            head = network.score.weight if hasattr(network, "score") else network.head_weight_VD
            head.zero_()
    return network.eval()


def figures(scorer: Scorer, scores: pa.Table) -> dict[str, float]:
    found = {name: float(value[0]) for name, value in scorer.measure(scores, np.ones((1, scores.num_rows))).items()}
    assert set(found) == {metric.name for metric in scorer.metrics_of(scores)}
    return found


@ANY_SIZE
@pytest.mark.parametrize("documents", [DOCUMENTS, DOCUMENTS[2:3]])
def test_language_modelling(tokenizer: Tokenizer, documents: list[Document], batch_tokens: int) -> None:
    scorer = shipped_scorer("language_modelling")
    scores = scorer.score(
        network_of(scorer, "decoder", tokenizer, 0), tokenizer, documents, evaluation(batch_tokens=batch_tokens)
    )
    tokens = [len(tokenizer.encode(document.text)) + 1 for document in documents]
    assert max(tokens) > 2 * REACH
    num_bytes = sum(len(document.text.encode()) for document in documents)
    found = figures(scorer, scores)
    assert found["bits_per_byte"] == pytest.approx(sum(tokens) * math.log2(tokenizer.vocab_size) / num_bytes)
    assert found["perplexity"] == pytest.approx(tokenizer.vocab_size)
    assert tokenizer.eot_id == 0  # the first of equals: told where a text ends, and nowhere else
    assert found["next_token_accuracy"] == pytest.approx(len(documents) / sum(tokens))


@ANY_SIZE
@pytest.mark.parametrize("documents", [DOCUMENTS, DOCUMENTS[3:4]])
@pytest.mark.parametrize("name", ["completion", "text_to_text"])
def test_writing(name: str, tokenizer: Tokenizer, documents: list[Document], batch_tokens: int) -> None:
    scorer = (
        shipped_scorer(name, decoding=DECODING, metrics=["exact_match"], template="{text}\n", prompt_length=8)
        if name == "completion"
        else shipped_scorer(name, decoding=DECODING, metrics=["exact_match"])
    )
    architecture = "decoder" if name == "completion" else "encoder_decoder"
    scores = scorer.score(
        network_of(scorer, architecture, tokenizer, 0), tokenizer, documents, evaluation(batch_tokens=batch_tokens)
    )
    kept = []
    for document in documents:
        source, target = (tokenizer.encode(part) for part in scorer.task.parts(document))
        room = REACH - min(len(source), 8) if name == "completion" else REACH
        kept.append([*target, tokenizer.eot_id][:room])
    tokens, ended = sum(map(len, kept)), sum(each[-1] == tokenizer.eot_id for each in kept)
    num_bytes = sum(len(tokenizer.decode_bytes(each)) for each in kept)
    found = figures(scorer, scores)
    assert found["bits_per_byte"] == pytest.approx(tokens * math.log2(tokenizer.vocab_size) / num_bytes)
    assert found["scored_share"] == num_bytes / sum(len(str(document.target).encode()) for document in documents) < 1
    assert found["perplexity"] == pytest.approx(tokenizer.vocab_size)
    assert found["next_token_accuracy"] == pytest.approx(ended / tokens)
    assert found["exact_match"] == 0 and set(scores["produced"].to_pylist()) == {""}


@ANY_SIZE
@pytest.mark.parametrize("documents", [DOCUMENTS, DOCUMENTS[2:3]])
def test_masked_language_modelling(masking: Tokenizer, documents: list[Document], batch_tokens: int) -> None:
    scorer = shipped_scorer("masked_language_modelling", score_length=REACH)
    assert isinstance(scorer, MaskedLanguageModellingScorer)
    settings = evaluation(batch_tokens=batch_tokens)
    scores = scorer.score(network_of(scorer, "encoder", masking, 0), masking, documents, settings)
    hidden = [targets[targets >= 0] for _, targets in scorer.examples(masking, documents, settings, REACH)]
    found = figures(scorer, scores)
    assert found["masked_loss"] == pytest.approx(math.log(masking.vocab_size))
    assert found["masked_accuracy"] == np.mean(np.concatenate(hidden) == 0)
    alone = [scorer.score(network_of(scorer, "encoder", masking, 0), masking, [each], settings) for each in documents]
    assert scores["tokens"].to_pylist() == [each["tokens"][0].as_py() for each in alone]  # the very same are hidden


@ANY_SIZE
@pytest.mark.parametrize("documents", [DOCUMENTS, DOCUMENTS[1:2]])
def test_classification(tokenizer: Tokenizer, documents: list[Document], batch_tokens: int) -> None:
    scorer = shipped_scorer("classification", LABELS)  # no document has the label c
    scores = scorer.score(
        network_of(scorer, "decoder", tokenizer, 0), tokenizer, documents, evaluation(batch_tokens=batch_tokens)
    )
    share = np.mean([document.label == "a" for document in documents])
    f1 = 2 * share / (1 + share)  # always the first of equals, a
    present = 1 if share in {0, 1} and share else 2
    expected = {
        "accuracy": share,
        "macro_precision": share / present,
        "macro_recall": (share > 0) / present,
        "macro_f1": f1 / present,
        "expected_calibration_error": abs(share - 1 / 3),
        "precision_a": share, "recall_a": float(share > 0), "f1_a": f1,
        **{f"{name}_{label}": 0.0 for name in ("precision", "recall", "f1") for label in "bc"},
    }  # fmt: skip
    assert figures(scorer, scores) == pytest.approx(expected)


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "language_modelling": ("language_modelling", "decoder", {}),
    "language_modelling, recurrent": ("language_modelling", "lstm", {}),
    "masked_language_modelling": ("masked_language_modelling", "encoder", {"score_length": REACH}),
    "classification": ("classification", "encoder", {}),
    "classification, recurrent": ("classification", "gru", {}),
    "completion": ("completion", "decoder", {"decoding": DECODING, "prompt_length": 16}),
    "completion, penalty": (
        "completion", "decoder", {"decoding": {**DECODING, "repetition_penalty": 1.2}, "prompt_length": 16},
    ),
    "completion, beams": ("completion", "decoder", {"decoding": {**DECODING, "num_beams": 3}, "prompt_length": 16}),
    "chat": ("chat", "gru", {"decoding": DECODING, "prompt_length": 16}),
    "text_to_text": ("text_to_text", "encoder_decoder", {"decoding": DECODING, "metrics": ["chrf", "rouge_l"]}),
    "text_to_text, beams": (
        "text_to_text", "encoder_decoder", {"decoding": {**DECODING, "num_beams": 4}, "metrics": ["chrf", "rouge_l"]},
    ),
}  # fmt: skip


def case_of(case: str, tokenizer: Tokenizer, num_sentences: int) -> tuple[Scorer, list[Document], Any]:
    """What judges, the documents, and a network with random weights."""
    name, architecture, options = CASES[case]
    scorer = shipped_scorer(name, LABELS if name == "classification" else (), **options)
    texts = [*sentences(num_sentences, 60, 7), *TEXTS]
    documents = [
        Document(f"d{number}", text, label="abc"[number % 3], target=texts[-1 - number])
        for number, text in enumerate(texts)
    ]
    return scorer, documents, network_of(scorer, architecture, tokenizer, 0.3)


@pytest.mark.parametrize("case", CASES)
def test_scores_do_not_change_with_the_size_of_batches(case: str, masking: Tokenizer) -> None:
    scorer, documents, network = case_of(case, masking, 16)
    few, many = (
        scorer.score(network, masking, documents, evaluation(batch_tokens=batch_tokens))
        for batch_tokens in (512, 16_384)
    )
    alone = pa.concat_tables(scorer.score(network, masking, [each], evaluation()) for each in documents)
    for other in (few, alone):
        assert_same(other, many)


def assert_same(one: pa.Table, other: pa.Table) -> None:
    """Counts, labels and texts are equal; sums of float32 to the last bits, which are another library's business."""
    assert one.column_names == other.column_names
    for name in one.column_names:
        if pa.types.is_floating(one[name].type):
            assert np.allclose(one[name], other[name], rtol=1e-6, atol=1e-7), name
        elif name != "position_nats":
            assert one[name].combine_chunks().equals(other[name].combine_chunks()), name


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("name", ["completion", "text_to_text"])
def test_texts_do_not_change_where_rounding_would_decide(
    name: str, num_beams: int, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network so undecided that the last bits, which depend on the number of rows, choose between tokens."""
    scorer = shipped_scorer(name, decoding={**DECODING, "num_beams": num_beams})
    network = network_of(scorer, "decoder" if name == "completion" else "encoder_decoder", tokenizer, 0.02)
    read: Callable[..., Tensor] = network.read

    def rounded(new_ids: Any, cache: Any) -> Tensor:
        logits_BV = read(new_ids, cache)
        return logits_BV + 1e-4 * torch.sin(torch.arange(logits_BV.shape[1]) * (len(logits_BV) + 1.0))

    monkeypatch.setattr(network, "read", rounded)
    documents = [Document(f"d{n}", text, target="good") for n, text in enumerate(sentences(30, 8, 3))]
    one, many = (
        scorer.score(network, tokenizer, documents, evaluation(batch_tokens=batch_tokens))["produced"].to_pylist()
        for batch_tokens in (1, 16_384)
    )
    assert one == many
