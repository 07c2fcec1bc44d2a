from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from langmill.config.compose import compose_recipe, plain
from langmill.data.document import Split, documents_path
from langmill.errors import EvaluationError, IntegrityError
from langmill.files import digest_files, read_manifest, write_manifest
from langmill.stages.evaluate import main
from langmill.tokenization.shards import EncodedDocument, write_shard
from tests.documents import write_documents
from tests.refused import refused

from ..tasks.settings import CONF

pytestmark = pytest.mark.unit


@pytest.fixture
def workspace(tmp_path, monkeypatch, language_model, documents):
    """A workspace in which everything before the evaluation is done, and no tracking server answers."""
    shutil.copytree(CONF, tmp_path / "conf")
    operation = tmp_path / "conf" / "operation" / "default.yaml"
    operation.write_text(operation.read_text().replace("sqlite:///.langmill/mlflow.db", "http://127.0.0.1:9"))
    monkeypatch.chdir(tmp_path)
    write_recipe()
    shutil.copytree(language_model.folder, "build/models/reviews-lm")
    Path("build/documents/reviews").mkdir(parents=True)
    write_documents(documents_path(Path("build/documents/reviews"), Split.test), documents)
    write_manifest(Path("build/documents/reviews"), {"corpus": "reviews"})
    tokenizer = language_model.tokenizer
    encoded = [
        EncodedDocument(document.id, tokenizer.encode_batch([document.text], 1), len(document.text.encode()), None)
        for document in documents
    ]
    shards = Path("build/shards/reviews-lm")
    shards.mkdir(parents=True)
    size = write_shard(shards, "train", encoded, tokenizer.eot_id, tokenizer.dtype)
    splits = {"train": {"documents": size.sequences, "tokens": size.tokens}}
    write_manifest(shards, {"dtype": tokenizer.dtype.str, "splits": splits})
    return tmp_path


def write_recipe(*overrides: str) -> None:
    recipe = compose_recipe("reviews-lm", ["evaluation.bootstrap_samples=100", *overrides])
    path = Path("build/config/recipe/reviews-lm.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(plain(recipe)))


def test_the_stage_writes_a_whole_folder_twice_the_same_and_logs_it(workspace):
    main("reviews-lm")
    out = Path("build/evaluation/reviews-lm")
    first = digest_files(out), read_manifest(out, verify=True)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["examples"] == 32 and set(metrics["slices"]["source"]) == {"a", "b"}
    assert Path(".langmill/runs", "ab" * 32, "events.jsonl").is_file()  # kept for when the server answers again
    main("reviews-lm")
    assert (digest_files(out), read_manifest(out, verify=True)) == first


def test_a_metric_that_the_task_lacks_is_refused(workspace):
    write_recipe("gate.metric=accuracy")
    with refused(EvaluationError, "impossible", "gate.metric is accuracy", "bits_per_byte"):
        main("reviews-lm")
    assert not Path("build/evaluation").exists()


def test_a_damaged_model_is_not_judged(workspace):
    with Path("build/models/reviews-lm/model.safetensors").open("ab") as file:
        file.write(b"\0")
    with refused(IntegrityError, "damaged", "model.safetensors"):
        main("reviews-lm")


@pytest.mark.parametrize("folder", ["documents/reviews", "shards/reviews-lm"])
def test_damaged_documents_and_tokens_judge_nothing(workspace, folder):
    damaged = max(Path("build", folder).glob("t*"), key=lambda path: path.stat().st_size)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with refused(IntegrityError, "damaged", folder, damaged.name):
        main("reviews-lm")
    assert not Path("build/evaluation").exists()
