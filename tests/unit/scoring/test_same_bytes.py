"""Bits per byte compare between vocabularies: the same documents have the same bytes, however they are cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from langmill.data.document import Document
from langmill.evaluation.scoring import with_groups
from langmill.evaluation.significance import comparable
from langmill.scoring.base import Scorer
from langmill.tokenization.tokenizer import EOT, Tokenizer

from ..tasks.settings import evaluation, shipped_scorer, tiny_backbone

pytestmark = pytest.mark.unit
TEXTS = (
    "The film was good, and the café served crème brûlée.",
    "静夜思 🙂 李白, 床前明月光",
    "  two  spaces,\n\nlines and\ttabs; naïve Ünïcode 👩‍👩‍👧",
    "नमस्ते दुनिया " * 6,
)
DOCUMENTS = [Document(f"d{n}", text, target=text) for n, text in enumerate(TEXTS)]
KINDS = ("ours", "gpt2", "wordpiece")


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Tokenizer]:
    """A vocabulary from scratch, one as pretrained models have it, and one that is not byte-level."""
    folder = tmp_path_factory.mktemp("vocabularies")
    gpt2 = tokenizers.Tokenizer(models.BPE())
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    gpt2.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=290, special_tokens=[EOT], initial_alphabet=alphabet)
    )
    wordpiece = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer(lowercase=True)
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    wordpiece.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]", "[SEP]"]))
    found = {"ours": tokenizer}
    for name, made in (("gpt2", gpt2), ("wordpiece", wordpiece)):
        made.save(str(folder / f"{name}.json"))
        found[name] = Tokenizer.load(Path(folder / f"{name}.json"))
    return found


def network_of(scorer: Scorer, vocabulary: Tokenizer, length: int) -> torch.nn.Module:
    torch.manual_seed(1)
    return scorer.task.network(tiny_backbone(vocabulary.vocab_size, length)).eval()


@pytest.mark.parametrize("length", [12, 512])
def test_a_language_model_is_scored_on_every_byte(vocabularies: dict[str, Tokenizer], length: int) -> None:
    scorer = shipped_scorer("language_modelling")
    wanted = [len(text.encode()) for text in TEXTS]
    for name in KINDS:
        vocabulary = vocabularies[name]
        scores = scorer.score(network_of(scorer, vocabulary, length), vocabulary, DOCUMENTS, evaluation())
        assert scores["bytes"].to_pylist() == wanted, name
        assert scores["tokens"].to_pylist() == [len(vocabulary.encode(text)) + 1 for text in TEXTS]


def test_answers_are_scored_on_every_byte_where_there_is_room(vocabularies: dict[str, Tokenizer]) -> None:
    scorer, settings = shipped_scorer("completion", prompt_length=200), evaluation(max_generated=1)
    wanted = [len(text.encode()) for text in TEXTS]
    for name in KINDS:
        network = network_of(scorer, vocabularies[name], 1024)
        assert scorer.score(network, vocabularies[name], DOCUMENTS, settings)["bytes"].to_pylist() == wanted, name


@pytest.mark.parametrize("name", ["ours", "gpt2"])
def test_a_byte_level_vocabulary_counts_each_token_with_its_own_bytes(
    vocabularies: dict[str, Tokenizer], name: str
) -> None:
    """Also where a character is cut: three tokens of one byte each are one byte each."""
    vocabulary = vocabularies[name]
    for text in TEXTS:
        ids = vocabulary.encode(text)
        counted = [vocabulary.leading_bytes(text, count) for count in range(len(ids) + 1)]
        sizes = [later - sooner for sooner, later in pairwise(counted)]
        assert counted[-1] == len(text.encode()) and min(sizes) >= 1
        assert b"".join(vocabulary.decode_bytes([number]) for number in ids) == text.encode()
        assert sizes == [len(vocabulary.decode_bytes([number])) for number in ids]


def test_what_is_compared_is_what_both_scored(vocabularies: dict[str, Tokenizer]) -> None:
    """Of a target that is too long for one of the two, another part would be compared."""
    scorer, settings = shipped_scorer("completion", prompt_length=8), evaluation(max_generated=1)
    tables = {
        name: with_groups(
            scorer.score(network_of(scorer, vocabularies[name], 72), vocabularies[name], DOCUMENTS, settings),
            DOCUMENTS,
            None,
        )
        for name in KINDS[:2]
    }
    mine, others = comparable(scorer, tables["ours"], tables["gpt2"], "bits_per_byte")
    assert mine["bytes"] == others["bytes"] and 0 < mine.num_rows < len(TEXTS)
