"""A registered version in a folder that other programs open."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langmill import cli
from langmill.errors import IntegrityError, LangmillError, ModelError, RegistryError
from langmill.export.base import EXPORTERS, VerifiedVersion, export
from langmill.export.huggingface import HuggingFace, opening
from langmill.export.model_card import model_card
from langmill.files import read_json, read_manifest, write_json
from langmill.plugins import PlugInError
from langmill.registry import steps
from langmill.registry.store import ModelRegistry
from langmill.tasks.loading import load_model
from tests.refused import refused
from tests.unit.installed import installed
from tests.unit.registry.building import CLASSIFIER, LANGUAGE_MODEL, ROOT, URI, recipe_of

pytestmark = pytest.mark.unit
FORMAT = """
from langmill.export.base import EXPORTERS, Exporter

@EXPORTERS.register("toy_text")
class Text(Exporter):
    def write(self, model, into):
        (into / "model.txt").write_text(f"{model.version.title}: {model.description}")
"""


@pytest.fixture
def registry(registry_workspace: Path) -> ModelRegistry:
    """A registry with a language model (a small decoder) and a classifier; the current folder is its workspace."""
    for name in (LANGUAGE_MODEL, CLASSIFIER):
        steps.package_and_register(recipe_of(name), URI)
    for name in ("conf", "dvc.yaml"):
        Path(name).symlink_to(ROOT / name)
    return ModelRegistry(URI)


def test_transformers_opens_what_was_registered(
    registry: ModelRegistry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    to = tmp_path / "exported"
    assert cli.call(["export", LANGUAGE_MODEL, "--alias", "challenger", "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"reviews-lm version 1 is in {to}.\n"
    made = {path.name for path in (Path("build/models") / LANGUAGE_MODEL).iterdir()}
    assert {path.name for path in to.iterdir()} == made | {
        "README.md",
        "generation_config.json",
    }  # which the evaluation brings
    ours = load_model(Path("build/models") / LANGUAGE_MODEL, verify=True)
    assert read_manifest(to, verify=True)["provenance"] == ours.provenance
    theirs = AutoModelForCausalLM.from_pretrained(to).eval()
    ids = AutoTokenizer.from_pretrained(to)("A wonderful film", return_tensors="pt").input_ids
    with torch.no_grad():
        difference = theirs(ids).logits - ours.network(ids)
    assert difference.abs().max() < 1e-5
    assert (load_model(to, verify=True).network(ids) == ours.network(ids)).all()
    card = (to / "README.md").read_text(encoding="utf-8")
    for words in (
        "pipeline_tag: text-generation", "# reviews-lm, version 1", f"`{ours.provenance}`", "| bits_per_byte |",
        "; lower is better |",
        "[", "| trivial baseline | ", "The data (reviews): MIT (the package)", "AutoModelForCausalLM.from_pretrained(",
    ):  # fmt: skip
        assert words in card, words
    assert "trust_remote_code" not in card


def test_a_classifier_says_whose_code_it_needs(registry: ModelRegistry, tmp_path: Path) -> None:
    to = tmp_path / "exported"
    export(registry, CLASSIFIER, 1, "huggingface", to)
    card = (to / "README.md").read_text(encoding="utf-8")
    assert 'AutoModelForSequenceClassification.from_pretrained(".", trust_remote_code=True)' in card
    assert "| fine-tuned from | reviews-lm |" in card
    assert "What was fine-tuned (reviews-lm): MIT (the package)" in card
    assert (to / "modeling_langmill.py").is_file()
    manifest, config = read_manifest(to, verify=True), read_json(to / "config.json")
    pretrained = {"name": "smollm2", "licence": "Apache-2.0", "source": {"kind": "files", "name": "m.gguf"}}
    model = VerifiedVersion(registry.version(CLASSIFIER, 1), "", to)
    card = model_card(model, config, manifest | {"pretrained": pretrained}, opening(config))
    assert "| which began as | smollm2: local files, m.gguf |" in card
    assert "The pretrained model (smollm2): Apache-2.0.\nWhat was fine-tuned (reviews-lm): MIT (the package)" in card
    for words in ("Every text gets one of 0, 1, also", "It reads the first 32 tokens", "## What it can't do"):
        assert words in card, words
    # What transformers can't open is refused, and nothing is left.
    folder = tmp_path / "gru"
    folder.mkdir()
    config = {"architectures": ["LangmillLanguageModel"], "langmill": {"model": {"architecture": "gru"}}}
    write_json(folder / "config.json", config)
    model = VerifiedVersion(registry.version(CLASSIFIER, 1), "", folder)
    with refused(ModelError, "unsupported", "gru", "transformers"):
        HuggingFace().write(model, tmp_path)


def test_what_can_not_be_exported_leaves_nothing(registry: ModelRegistry, tmp_path: Path) -> None:
    to = tmp_path / "exported"
    with refused(RegistryError, "unknown", "'review-lm'", "did you mean reviews-lm"):
        export(registry, "review-lm", "challenger", "huggingface", to)
    with refused(RegistryError, "missing", "reviews-lm", "champion"):
        export(registry, LANGUAGE_MODEL, "champion", "huggingface", to)
    with refused(RegistryError, "unknown", "7"):
        export(registry, LANGUAGE_MODEL, 7, "huggingface", to)
    with refused(PlugInError, "unknown", "--format: hugingface", "Did you mean huggingface"):
        export(registry, LANGUAGE_MODEL, 1, "hugingface", to)
    weights, *_ = Path().glob("**/artifacts/model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with refused(IntegrityError, "damaged", "model.safetensors"):
        export(registry, read_json(weights.parent / "config.json")["langmill"]["recipe"], 1, "huggingface", to)
    assert list(tmp_path.glob("*export*")) == []
    to.mkdir()
    with refused(LangmillError, "duplicate", "exported", "--to"):
        export(registry, LANGUAGE_MODEL, 1, "huggingface", to)


def test_a_format_of_another_distribution(registry: ModelRegistry, tmp_path: Path) -> None:
    with installed(tmp_path / "site", EXPORTERS, "toy_text", FORMAT):
        assert EXPORTERS.names() == ["gguf", "hf", "huggingface", "onnx", "pt2", "toy_text"]
        export(registry, LANGUAGE_MODEL, 1, "toy_text", tmp_path / "exported")
    written = (tmp_path / "exported" / "model.txt").read_text(encoding="utf-8")
    assert written.startswith("reviews-lm version 1: ")
