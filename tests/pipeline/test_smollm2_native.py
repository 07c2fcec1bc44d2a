"""Real weights on our own decoder: SmolLM2, brought from the package index as in a user's run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from langmill.config.compose import compose_pretrained, plain
from langmill.files import write_text
from langmill.models.base import build_backbone
from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate_batch
from langmill.models.heads import LanguageModel
from langmill.models.huggingface.native import NativeDecoder
from langmill.stages import pretrained
from langmill.tokenization.tokenizer import Tokenizer

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
CONF = Path(__file__).parents[2] / "conf"
LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": ["all-linear"]}
TEXT = "The capital of France is Paris, and the largest lake of the country lies where it meets Switzerland."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder into which the stage has brought the model."""
    folder, before = tmp_path_factory.mktemp("smollm2"), Path.cwd()
    os.chdir(folder)
    write_text(Path("build/config/pretrained/smollm2.yaml"), yaml.safe_dump(plain(compose_pretrained("smollm2", CONF))))
    pretrained.main("smollm2")
    yield folder / "build" / "models" / "smollm2"
    os.chdir(before)


def test_logits_and_texts_are_those_of_transformers(base: Path) -> None:
    options = {"kind": "auto", "tuning": "full", "lora": LORA, "config": {}}
    tokenizer = Tokenizer.load(base)
    backbone = build_backbone("pretrained", options, tokenizer.vocab_size, 512, "test", source=base)
    assert isinstance(backbone, NativeDecoder)
    network = LanguageModel(backbone).eval()
    backbone.start_from(base)
    theirs = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    tokens_BT = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        own_BTV, their_BTV = network(tokens_BT), theirs(input_ids=tokens_BT).logits
    assert (own_BTV - their_BTV).abs().max() <= 1e-5 * their_BTV.abs().max()
    prompt = tokens_BT[:, :6]
    own = generate_batch(network, prompt.tolist(), [Sampling(24)])
    expected = theirs.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24, eos_token_id=None
    )
    assert own[0] == expected[0, 6:].tolist()
