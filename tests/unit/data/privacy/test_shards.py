"""No secret of the raw files is in the shards: the stages clean and encode raw rows, and the tokens are decoded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from langmill.config.compose import compose_corpus, compose_recipe, compose_tokenizer, plain
from langmill.config.core_yaml import dump_yaml
from langmill.data.document import Split
from langmill.files import write_manifest, write_text
from langmill.stages import clean, encode, tokenizer
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.data.privacy.identities import REGIONS
from tests.unit.data.privacy.personal_data import MAKERS, Sample, samples

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[4] / "conf"
NAME = "catalogs-en-de"  # a recipe whose documents have targets
EACH = 12


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """A workspace with raw rows that hold a value of each kind in the text and in the target."""
    monkeypatch.chdir(tmp_path)
    made = [one for kind in MAKERS for one in samples(kind, EACH, seed=5)]
    (tmp_path / "build/raw" / NAME).mkdir(parents=True)
    between = "The committee met on the third day and nothing was decided there"
    rows = [
        {"text": f"{number} {between}\n{one.text}\nNumber {number}.", "target": f"Nr. {number}: {other.text}"}
        for number, (one, other) in enumerate(zip(made, reversed(made), strict=True))
    ]
    write_text(tmp_path / "build/raw" / NAME / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_manifest(tmp_path / "build/raw" / NAME, {})
    return made


def pipeline(kinds: list[str] | None) -> str:
    """Clean, learn a vocabulary, encode, and decode every token again."""
    corpus = plain(compose_corpus(NAME, CONF))
    corpus["format"] = {"name": "auto", "options": {}}
    corpus["fields"] |= {"text": "text", "target": "target", "metadata": []}
    corpus["split"] |= {"validation": 0.2, "test": 0.2, "by": None}
    cleaning = corpus["cleaning"]
    cleaning["workers"] = 1
    if kinds != []:
        cleaning["steps"] = [*cleaning["steps"], "privacy"]
        cleaning["options"]["privacy"] = {"kinds": kinds, "options": {"phone": {"regions": REGIONS}}}
    vocabulary = plain(compose_tokenizer("reviews", CONF)) | {"name": NAME, "corpus": NAME, "vocab_size": 400}
    recipe = plain(compose_recipe(NAME, conf=CONF))
    vocabulary["special_tokens"] = recipe["tokenizer"]["special_tokens"]
    recipe |= {"corpus": corpus, "tokenizer": vocabulary}
    for group, values in (("corpus", corpus), ("tokenizer", vocabulary), ("recipe", recipe)):
        path = Path("build/config") / group / f"{NAME}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, dump_yaml(values))
    clean.main(NAME)
    tokenizer.main(NAME)
    encode.main(NAME)
    decoder = Tokenizer.load(Path("build/tokenizers") / NAME)
    shards = [Shard.open(Path("build/shards") / NAME, split) for split in Split]
    assert sum(shard.num_documents for shard in shards) > EACH * len(MAKERS) // 2
    return "\n".join(decoder.decode(part.tolist()) for shard in shards for n in range(shard.num_sequences)
                     for part in shard.parts(n))  # fmt: skip


def plain_text(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_no_seeded_secret_reaches_the_shards(secrets: list[Sample]) -> None:
    known = {plain_text(one.value) for one in secrets}
    before = plain_text(pipeline([]))
    assert sum(value in before for value in known) > 0.9 * len(known)  # else the search below would prove nothing
    after = plain_text(pipeline(None))
    assert [value for value in known if value in after] == []
    report = json.loads((Path("build/documents") / NAME / "report.json").read_text(encoding="utf-8"))
    assert set(report["cleaning"]["privacy"]["changes"]) == set(MAKERS)
