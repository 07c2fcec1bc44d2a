"""Attributions add up and find a planted word; maps are cut, joined and refused as they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from langmill.errors import EvaluationError
from langmill.evaluation import explain
from langmill.evaluation.explain import END_OF_TEXT, attention_maps, attribute, chosen_maps, whole_characters
from langmill.models.base import Attends, AttendsToSource
from langmill.tasks.loading import LoadedModel
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
from tests.unit.evaluation.explained import model, plant

pytestmark = pytest.mark.unit
TEXT = "the film was very good and I liked the plot"
CLASSIFIERS = ["decoder-small", "encoder-small", "gru-small", "lstm-small", "rnn-small"]
CLASSIFIERS += ["bag-of-ngrams", "naive-bayes-ngrams"]


@pytest.mark.parametrize("network", CLASSIFIERS)
def test_the_shares_add_up_to_the_difference_of_the_logits(network: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    loaded = model(tmp_path / "model", "classification", network, tokenizer)
    found = attribute(loaded, "tiny", TEXT)
    probabilities = loaded.task.probabilities(loaded.network, tokenizer, [TEXT])[0]
    assert found.label == loaded.task.labels[probabilities.argmax()]
    assert found.probability == pytest.approx(probabilities.max(), abs=1e-6)
    assert "".join(found.pieces) == TEXT
    token = tokenizer.eot_id if found.baseline == END_OF_TEXT else tokenizer.encode(found.baseline)[0]
    with torch.no_grad():
        tokens = torch.tensor([tokenizer.encode(TEXT)])
        best = int(probabilities.argmax())
        logits = loaded.network(tokens) - loaded.network(torch.full_like(tokens, token))
    difference = float(logits[0, best])
    assert found.shares_T.sum() == pytest.approx(difference, rel=0.01, abs=1e-3)
    assert found.complete
    assert all(weight.grad is None for weight in loaded.network.parameters())


@pytest.mark.parametrize("network", ["decoder-small", "encoder-small", "gru-small", "naive-bayes-ngrams"])
def test_a_planted_word_gets_the_largest_share(network: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    loaded = model(tmp_path / "model", "classification", network, tokenizer)
    (token,) = tokenizer.encode(" good")
    plant(loaded, token)
    found = attribute(loaded, "tiny", TEXT)
    assert found.label == "positive"
    assert found.pieces[int(found.shares_T.argmax())] == " good"
    speak_for, _ = found.words(3)
    assert speak_for[0][0] == "good"
    assert speak_for[0][1] > 0.5 * np.abs(found.shares_T).sum()
    assert found.baseline_logit < found.logit


def test_shares_that_do_not_add_up_are_noticed(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = model(tmp_path / "model", "classification", "decoder-small", tokenizer)
    monkeypatch.setattr(explain, "STEPS", (1, 2))
    found = attribute(loaded, "tiny", TEXT)
    assert found.steps == 2
    assert not found.complete
    assert abs(found.error) > 1e-3


def test_a_long_text_is_cut_as_it_is_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    loaded = model(tmp_path / "model", "classification", "gru-small", tokenizer, max_length=8)
    found = attribute(loaded, "tiny", TEXT * 3)
    tokens = tokenizer.encode(TEXT * 3)
    assert found.left_out == len(tokens) - 8
    assert len(found.shares_T) == len(found.pieces) <= 8


def test_words_are_joined_and_named_once() -> None:
    pieces = ["The", " won", "der", "ful", " film", ",", " won", "derful", " 映", "画", " isn", "'", "t", " x"]
    shares = np.array([0.1, 1.0, 1.0, 1.0, -0.2, -0.1, 0.2, 0.2, 0.3, 0.4, -1.0, 0.1, -1.0, 0.0])
    found = explain.Attribution("l", 1.0, pieces, shares, 0.0, ".", 0.0, 1, 0)
    speak_for, against = found.words(9)
    assert speak_for == [("wonderful", 3.0), ("画", 0.4), ("映", 0.3), ("The", 0.1)]
    assert [word for word, _ in against] == ["isn't", "film", ","]


def test_bytes_of_a_character_are_one_piece(tokenizer: Tokenizer) -> None:
    text = "was 映画 é\n good 😀"
    tokens = [tokenizer.eot_id, *tokenizer.encode(text), tokenizer.eot_id]
    assert len(tokens) > len(text)
    pieces, starts = whole_characters(tokenizer, tokens)
    assert pieces[0] == pieces[-1] == END_OF_TEXT
    assert "".join(pieces[1:-1]) == text
    assert "映" in " ".join(pieces) and "\ufffd" not in "".join(pieces)
    assert starts[0] == 0 and starts[-1] == len(tokens) - 1
    assert starts == sorted(set(starts))
    broken, _ = whole_characters(tokenizer, tokenizer.encode("é")[:1])  # a text that was cut inside a character
    assert broken == ["\ufffd"]


def rows_sum_to_one(maps: explain.AttentionMaps) -> None:
    assert maps.weights_LHTS.shape[2:] == (len(maps.rows), len(maps.columns))
    np.testing.assert_allclose(maps.weights_LHTS.sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("network", ["decoder-small", "encoder-small"])
def test_maps_of_a_classifier_are_the_networks(network: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    loaded = model(tmp_path / "model", "classification", network, tokenizer)
    maps = attention_maps(loaded, "tiny", "good 映")
    rows_sum_to_one(maps)
    assert maps.rows == maps.columns == ["good", " ", "映"]
    backbone = loaded.network.model
    assert isinstance(backbone, Attends)
    tokens = tokenizer.encode("good 映")
    assert tokens[-3:] == tokenizer.encode("映") and len(tokens) == 5
    single = backbone.attention(torch.tensor([tokens]))[:, 0].numpy()
    np.testing.assert_allclose(maps.weights_LHTS[:, :, :2, 2], single[:, :, :2, 2:].sum(axis=-1), atol=1e-6)
    np.testing.assert_allclose(maps.weights_LHTS[:, :, 2, :2], single[:, :, 2:, :2].mean(axis=-2), atol=1e-6)


def test_maps_of_a_language_model_show_how_it_reads_or_how_it_writes_a_target(
    language_model: LoadedModel,
) -> None:
    maps = attention_maps(language_model, "tiny", "the film was")
    assert maps.rows == maps.columns and maps.rows[0] == END_OF_TEXT and maps.answer is None
    written = attention_maps(language_model, "tiny", "the film", " was good")
    rows_sum_to_one(written)
    assert "".join(written.rows) == " was good"
    assert "".join(written.columns).startswith(f"{END_OF_TEXT}the film")
    first_row = written.weights_LHTS[:, :, 0]
    assert not first_row[..., len(written.columns) - len(written.rows) + 1 :].any(), (
        "it looked at what was not there yet"
    )


def test_maps_of_a_completion_show_its_own_answer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    loaded = model(tmp_path / "model", "completion", "decoder-small", tokenizer, max_length=64)
    maps = attention_maps(loaded, "tiny", "the film")
    rows_sum_to_one(maps)
    assert maps.answer and maps.answer == "".join(maps.rows)
    assert maps.columns_go_on


def test_maps_of_an_encoder_decoder_look_at_the_source(tmp_path: Path, tokenizer: Tokenizer) -> None:
    loaded = model(tmp_path / "model", "text_to_text", "encoder-decoder-small", tokenizer)
    own = attention_maps(loaded, "tiny", "the film was good")
    rows_sum_to_one(own)
    assert own.columns[-1] == END_OF_TEXT and "".join(own.columns[:-1]) == "the film was good"
    assert own.answer == "".join(own.rows)
    given = attention_maps(loaded, "tiny", "the film was good", " dull")
    assert given.answer is None
    backbone, target = loaded.network.model, tokenizer.encode(" dull")
    assert isinstance(backbone, AttendsToSource)
    source = [*tokenizer.encode("the film was good"), tokenizer.eot_id]
    expected = backbone.cross_attention(torch.tensor([source]), torch.tensor([[tokenizer.eot_id, *target[:-1]]]))[:, 0]
    np.testing.assert_allclose(given.weights_LHTS, expected, atol=1e-6)


def test_a_layer_and_a_head_are_chosen(language_model: LoadedModel) -> None:
    maps = attention_maps(language_model, "tiny", "the film was")
    layers, heads = maps.weights_LHTS.shape[:2]
    each = chosen_maps(maps, "tiny", None, None)
    assert list(each) == [f"layer {number}" for number in range(1, layers + 1)]
    np.testing.assert_array_equal(each["layer 1"], maps.weights_LHTS[0].mean(axis=0))
    one = chosen_maps(maps, "tiny", layers, heads)
    np.testing.assert_array_equal(one[f"layer {layers}, head {heads}"], maps.weights_LHTS[-1, -1])
    for wrong in (0, layers + 1, -1):
        with refused(EvaluationError, "impossible", f"--layer is {wrong}", f"tiny has layers 1 to {layers}"):
            chosen_maps(maps, "tiny", wrong, None)
    with refused(EvaluationError, "impossible", "--head is 9", "tiny has heads 1 to 2"):
        chosen_maps(maps, "tiny", None, 9)


def test_what_can_not_be_explained_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, language_model: LoadedModel
) -> None:
    recurrent = model(tmp_path / "gru", "classification", "gru-small", tokenizer)
    with refused(EvaluationError, "unsupported", "tiny", "Transformer"):
        attention_maps(recurrent, "tiny", TEXT)
    with refused(EvaluationError, "unsupported", "tiny", "labels"):
        attribute(language_model, "tiny", TEXT)
    with refused(EvaluationError, "unsupported", "tiny", "--target"):
        attention_maps(model(tmp_path / "c", "classification", "decoder-small", tokenizer), "tiny", TEXT, "x")
    with refused(EvaluationError, "missing", "tiny", "--target"):
        attention_maps(language_model, "tiny", TEXT, "")


def test_a_target_without_room_is_cut_and_counted(language_model: LoadedModel, tokenizer: Tokenizer) -> None:
    maps = attention_maps(language_model, "tiny", "the film", TEXT * 3)
    read = 1 + len(tokenizer.encode("the film"))
    assert maps.target_left_out == len(tokenizer.encode(TEXT * 3)) - (language_model.max_length - read + 1) > 0
    rows_sum_to_one(maps)
