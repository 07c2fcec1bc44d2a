"""Guides over vocabularies of other kinds than ours."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Reference

from langmill.errors import RequestError
from langmill.serving.logprobs import token_bytes, token_text
from langmill.serving.structured import GrammarGuide, build_guide, choice_grammar, json_grammar
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.serving.conftest import Writer

pytestmark = pytest.mark.unit
SCHEMA = {
    "type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"], "additionalProperties": False,
}  # fmt: skip


class Ends(Writer):
    """Ends its texts with the vocabulary's own token."""

    def stop_ids(self, tokenizer: Any) -> tuple[int, ...]:
        return (tokenizer.eot_id,)


def loaded(folder: Path, reference: Reference, special: list[str]) -> Any:
    reference.add_special_tokens([AddedToken(name, special=True) for name in special])
    reference.save(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer.load(folder)
    # One logit more than the vocabulary has tokens, as networks have for the sake of their shapes.
    model = SimpleNamespace(tokenizer=tokenizer, task=Ends(), config={"vocab_size": tokenizer.vocab_size + 1})
    return SimpleNamespace(name="other", model=model)


def walk(loaded: Any, grammar: str) -> str:
    """The text of the last token that is allowed each time."""
    tokenizer, guide, written = loaded.model.tokenizer, build_guide(loaded, grammar, "response_format"), []
    for _ in range(30):
        allowed = guide.allowed()
        assert allowed is not None
        assert len(allowed) == tokenizer.vocab_size + 1
        chosen = int(allowed.nonzero()[-1])
        if chosen == tokenizer.eot_id:
            break
        guide.advance(chosen)
        written.append(chosen)
    return str(tokenizer.decode(written))


def sentencepiece(pieces: list[str]) -> Reference:
    made = Reference(models.Unigram([(piece, -3.0) for piece in ["</s>", "<unk>", *pieces]], unk_id=1))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return made


def test_a_vocabulary_of_sentencepiece_is_guided(tmp_path: Path) -> None:
    pieces = ["\u2581", "{", "}", '"', ":", "g", "o", "d", "\u2581false", "true", "good"]
    found = loaded(tmp_path, sentencepiece(pieces), ["</s>", "<unk>"])
    assert json.loads(walk(found, json_grammar(SCHEMA, "x"))) == {"good": False}


def byte_fallback() -> Reference:
    """A vocabulary as Llama 2's: letters and words, and a token for each byte of what they can't write."""
    written = ["\u2581", *'{}":,fgodtruelas', "tr"]
    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *written]
    vocabulary = {name: number for number, name in enumerate(names)}
    made = Reference(models.BPE(vocabulary, [("t", "r")], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


@pytest.mark.parametrize("text", ["good", "été 映画"])
def test_a_vocabulary_with_byte_fallback_is_guided(tmp_path: Path, text: str) -> None:
    found = loaded(tmp_path, byte_fallback(), ["</s>", "<unk>"])
    assert walk(found, choice_grammar([text])) == text
    assert json.loads(walk(found, json_grammar(SCHEMA, "x"))) == {"good": True}
    tokenizer = found.model.tokenizer
    ids = tokenizer.encode(text)
    assert b"".join(token_bytes(tokenizer, each) for each in ids).decode().strip() == text
    assert [token_text(tokenizer, each) for each in (2 + 0xC3, 2 + 0x41)] == ["bytes:\\xc3", "A"]


def test_what_a_vocabulary_can_not_write_is_refused(tmp_path: Path) -> None:
    found = loaded(tmp_path, sentencepiece(["\u2581", "a"]), ["</s>", "<unk>"])
    assert walk(found, choice_grammar(["a", "aa"])) in ("a", "aa")
    with pytest.raises(RequestError, match="no token of the model's vocabulary"):
        walk(found, json_grammar(SCHEMA, "x"))


def test_words_without_spaces_of_their_own_are_refused(tmp_path: Path) -> None:
    words = Reference(models.WordPiece({"[SEP]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    found = loaded(tmp_path, words, ["[SEP]", "[UNK]"])
    with pytest.raises(RequestError, match="other can't be guided"):
        build_guide(found, choice_grammar(["a"]), "response_format")


def test_a_grammar_that_grows_too_complex_is_the_requests_fault() -> None:
    stuck = SimpleNamespace(
        compute_bitmask=lambda: b"", is_error=lambda: True, get_error=lambda: "Current row has 3300 items\n<state>..."
    )
    with pytest.raises(RequestError, match=r"response_format can't be followed: Current row has 3300 items$") as caught:
        GrammarGuide(stuck, 3, "response_format").allowed()  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.param) == (400, "response_format")
