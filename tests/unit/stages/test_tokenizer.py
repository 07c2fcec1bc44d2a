"""The stage that learns a vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from langmill.config.compose import compose_tokenizer, plain
from langmill.data.document import Document, Split, documents_path
from langmill.files import read_manifest, write_manifest
from langmill.stages import tokenizer
from langmill.tokenization.tokenizer import Tokenizer
from tests.documents import write_documents

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[3] / "conf"


def test_targets_are_learned_from_too_and_special_tokens_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = plain(compose_tokenizer("reviews", CONF))
    section |= {"name": "tiny", "corpus": "tiny", "vocab_size": 300, "special_tokens": ["<|mask|>"]}
    path = tmp_path / "build/config/tokenizer/tiny.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(section))
    pairs = [Document(f"d{number}", "house", None, "Gebäude") for number in range(9)]
    write_documents(documents_path(tmp_path / "build/documents/tiny", Split.train), [*pairs, Document("x", "house")])
    write_manifest(tmp_path / "build/documents/tiny", {})
    tokenizer.main("tiny")
    vocabulary = Tokenizer.load(tmp_path / "build/tokenizers/tiny")
    assert len(vocabulary.encode("Gebäude")) == len(vocabulary.encode("house")) == 1
    assert vocabulary.special_ids["<|mask|>"] == 1
    facts = read_manifest(tmp_path / "build/tokenizers/tiny", verify=True)
    assert facts["special_tokens"] == ["<|mask|>"]
