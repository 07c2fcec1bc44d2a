"""The stage that turns documents into tokens: what it leaves out, truncates and binds is counted in the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langmill.config.compose import compose_recipe, plain
from langmill.config.core_yaml import dump_yaml
from langmill.data.document import Document, Split, documents_path
from langmill.files import read_manifest, write_manifest, write_text
from langmill.stages import encode
from langmill.tokenization.chat_template import CHATML, IM_END, IM_START
from langmill.tokenization.shards import Shard
from langmill.tokenization.training import train_tokenizer
from tests.documents import write_documents
from tests.unit.tasks.conftest import sentences

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[3] / "conf"


def talk(name: str, number: int, target: str = "good") -> Document:
    history = json.dumps([["Hi", "Hello"]] * number)
    return Document(name, "What film?", target=target, metadata={"history": history})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for split in Split:
        documents = [talk("short", 0), talk("longer", 3), talk("broken", 0, ""), talk("long answer", 0, "film " * 200)]
        if split is Split.train:
            documents.append(Document("covered", "Hi", target="Hello"))
        write_documents(documents_path(tmp_path / "build/documents/dialogues", split), documents)
    write_manifest(tmp_path / "build/documents/dialogues", {})
    folder = tmp_path / "build/tokenizers/dialogues"
    folder.mkdir(parents=True)
    train_tokenizer(
        "bpe", 320, sentences(50, 20, 0), folder / "tokenizer.json", lambda _: None,
        special_tokens=[IM_START, IM_END],
    )  # fmt: skip
    write_manifest(folder, {})
    return tmp_path


def encoded(workspace: Path, task: str = "chat", **options: Any) -> dict[str, Any]:
    recipe = plain(compose_recipe("dialogues", conf=CONF))
    recipe["task"]["name"] = task
    recipe["task"]["options"] |= {"length": 80, "prompt_length": 40, **options}
    path = workspace / "build/config/recipe/dialogues.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, dump_yaml(recipe))
    encode.main("dialogues")
    return read_manifest(workspace / "build/shards/dialogues", verify=True)


def test_what_was_left_out_and_truncated_is_counted(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = encoded(workspace)
    train = facts["splits"]["train"]
    assert (train["documents"], train["left_out"]) == (4, {"missing_target": 1})
    assert train["truncated"] == {"answer": 1, "turns": 1}
    assert (
        "dialogues: truncated, since it did not fit, in the train split: the answer of 1, the turns of 1" in caplog.text
    )
    assert encoded(workspace, length=2000)["splits"]["train"].keys() == {"documents", "tokens", "bytes", "left_out"}


def test_a_conversation_of_which_another_has_more_teaches_nothing_new(workspace: Path) -> None:
    train = encoded(workspace, learn="every_turn", length=2000)["splits"]["train"]
    assert (train["documents"], train["left_out"]) == (3, {"in_another": 1, "missing_target": 1})


def test_documents_that_share_a_sequence_are_counted_each(workspace: Path) -> None:
    questions = [
        Document(f"{context}:{number}", context, target="good", metadata={"question": "How?", "context": context})
        for context in ("A film", "Another film")
        for number in range(3)
    ]
    folder = workspace / "build/documents/dialogues"
    write_documents(documents_path(folder, Split.train), questions)
    write_manifest(folder, {})
    options = {"shared": "context", "further": "{question}", "learn": "every_turn", "length": 2000}
    train = encoded(workspace, "question_answering", **options)["splits"]["train"]
    assert (train["documents"], train["sequences"]) == (6, 2)
    shard = Shard.open(workspace / "build/shards/dialogues", Split.train)
    assert (shard.num_documents, shard.num_sequences) == (6, 2)


def test_a_document_that_is_divided_is_counted_once(workspace: Path) -> None:
    train = encoded(workspace, learn="every_turn")["splits"]["train"]
    assert train["documents"] == 3 and train["sequences"] > 3


def test_another_chat_template_makes_other_shards(workspace: Path) -> None:
    before = encoded(workspace)
    folder = workspace / "build/tokenizers/dialogues"
    template = CHATML.replace("<|im_end|>\\n", "<|im_end|>")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    write_manifest(folder, {})
    after = encoded(workspace)
    assert before["tokenizer_sha256"] != after["tokenizer_sha256"]
    assert before["splits"]["train"]["tokens"] > after["splits"]["train"]["tokens"]
