"""The guide for an assistant on one's own chats, from a tiny base with random weights in a GGUF file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from langmill.files import read_json, read_manifest
from tests.pipeline.workspace import clone, edit, guide_commands, langmill
from tests.unit.checkpoints.files import write_model

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(900)]
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


def test_three_commands_make_an_assistant_of_ones_own_chats(tmp_path: Path) -> None:
    clone(tmp_path)
    write_model(tmp_path / "models" / "tiny.gguf", "Llama", llama__context_length=512)
    write_chats(tmp_path / "data" / "chats")
    edit(tmp_path / "conf" / "evaluation" / "default.yaml", bootstrap_samples=200)
    edit(tmp_path / "conf" / "operation" / "default.yaml", recipes="[helper]", retries=0)
    begun = langmill(tmp_path, "new", "pretrained", "tiny", "--from", "models/tiny.gguf")
    assert begun.returncode == 0, begun.stderr
    commands = guide_commands("assistant", {"smollm2": "tiny"})
    assert [command[:2] for command in commands] == [
        ["new", "corpus"], ["new", "recipe"], ["run", "helper"], ["generate", "--model"],
    ]  # fmt: skip
    for command in commands[:2]:
        done = langmill(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    ran = langmill(tmp_path, *commands[2], timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    model = tmp_path / "build" / "models" / "helper"
    manifest = read_manifest(model, verify=True)
    assert manifest["pretrained"]["licence"] == "apache-2.0"
    assert manifest["pretrained"]["source"]["gguf"]["file"] == "tiny.gguf"
    assert read_json(model / "tokenizer_config.json")["chat_template"]
    assert (model / "adapter" / "adapter_model.safetensors").is_file() == (
        read_json(model / "config.json")["langmill"]["model"]["options"]["tuning"] == "lora"
    )
    answered = langmill(tmp_path, *commands[3])
    assert answered.returncode == 0, answered.stderr
    assert "<|im_" not in answered.stdout
    traced = langmill(tmp_path, "trace", "helper", "1")
    assert "tiny.gguf" in traced.stdout, traced.stdout + traced.stderr
