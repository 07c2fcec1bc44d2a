"""The guide for an assistant on one's own chats, from a tiny base with random weights in a GGUF file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from langmill.cli import call
from langmill.config.compose import compose_recipe
from langmill.files import read_json, read_manifest
from tests.pipeline.test_registry import line
from tests.pipeline.workspace import clone, edit, guide_commands, make_here
from tests.unit.checkpoints.files import write_model
from tests.unit.registry.building import URI

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
NO_SERVER = "http://127.0.0.1:9"
"""The run is sent by the step that registers, and not also by a process of its own that imports MLflow for it."""
THINGS = ["password", "address", "order", "parcel", "invoice", "name", "photo", "language", "plan", "card"]
WAYS = ["change", "find", "remove", "check"]


def write_chats(folder: Path) -> None:
    """Conversations of two turns, in OpenAI's form."""
    folder.mkdir(parents=True)
    with (folder / "chats.jsonl").open("w", encoding="utf-8") as file:
        for number, (thing, way, year) in enumerate(itertools.product(THINGS, WAYS, range(2015, 2025))):
            messages = [
                {"role": "user", "content": f"Hello, I am customer {number} and have a question."},
                {"role": "assistant", "content": f"Hello, customer {number}. What is it?"},
                {"role": "user", "content": f"How do I {way} my {thing} of {year}?"},
                {"role": "assistant", "content": f"To {way} your {thing}, open the page {thing} of {year}."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")


def test_three_commands_make_an_assistant_of_ones_own_chats(
    copy_database: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`langmill run` as the steps that it takes, in this process; test_flow.py has the command itself."""
    clone(tmp_path)
    copy_database(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_model(Path("models/tiny.gguf"), "Llama", llama__context_length=512)
    write_chats(Path("data/chats"))
    edit(Path("conf/evaluation/default.yaml"), bootstrap_samples=200)
    edit(Path("conf/operation/default.yaml"), recipes="[helper]", retries=0, tracking_uri=NO_SERVER)
    assert call(["new", "pretrained", "tiny", "--from", "models/tiny.gguf"]) == 0, capsys.readouterr().err
    commands = guide_commands("assistant", {"smollm2": "tiny"})
    assert [command[:2] for command in commands] == [
        ["new", "corpus"], ["new", "recipe"], ["run", "helper"], ["generate", "--model"],
    ]  # fmt: skip
    for command in commands[:2]:
        assert call(command) == 0, capsys.readouterr().err
    edit(Path("conf/recipe/helper.yaml"), steps=20)
    make_here("helper")
    edit(Path("conf/operation/default.yaml"), tracking_uri=URI)
    _, validation, _, _ = line(compose_recipe("helper"))
    assert validation.outcome == "passed", validation
    model = Path("build/models/helper")
    manifest = read_manifest(model, verify=True)
    assert manifest["pretrained"]["licence"] == "apache-2.0"
    assert manifest["pretrained"]["source"]["gguf"]["file"] == "tiny.gguf"
    assert read_json(model / "tokenizer_config.json")["chat_template"]
    assert (model / "adapter" / "adapter_model.safetensors").is_file() == (
        read_json(model / "config.json")["langmill"]["model"]["options"]["tuning"] == "lora"
    )
    capsys.readouterr()
    assert call(commands[3]) == 0, capsys.readouterr().err
    assert "<|im_" not in capsys.readouterr().out
    assert call(["trace", "helper", "1"]) == 0, capsys.readouterr().err
    assert "tiny.gguf" in capsys.readouterr().out
