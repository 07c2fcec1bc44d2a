"""A checkpoint's tokenizer: its `tokenizer.json`, or one made of what older checkpoints have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langmill.errors import TokenizerError
from langmill.tokenization.checkpoint import checkpoint_tokenizer
from tests.refused import refused

pytestmark = pytest.mark.unit
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "##er"]


def test_a_tokenizer_of_older_files_becomes_one_file(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    tokenizer = checkpoint_tokenizer(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    assert tokenizer.eot_id == WORDS.index("[SEP]")
    assert tokenizer.encode("The film was gooder") == [5, 6, 7, 8, 9]


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with refused(TokenizerError, "missing", "tokenizer.json", "vocabulary"):
        checkpoint_tokenizer(tmp_path)
