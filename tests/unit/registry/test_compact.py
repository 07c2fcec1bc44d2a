"""A base and its adapters: merged to the bit, and kept once in the registry however many versions it has."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from langmill.errors import IntegrityError
from langmill.files import digest_files, read_manifest, sha256_file, write_manifest
from langmill.models.base import Kind
from langmill.models.folder import load_state, save_model
from langmill.models.heads import Classifier, LanguageModel
from langmill.models.low_rank import merge
from langmill.registry.compact import keep_once, make_compact, make_whole
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import ModelVersion
from langmill.tracking.connection import connect
from tests.refused import refused
from tests.unit.models.checkpoints import write_checkpoint
from tests.unit.models.pretrained import LABELS, backbone_for
from tests.unit.registry.building import URI

pytestmark = pytest.mark.unit
BASE, ADAPTER = "base/model.safetensors", "adapter/adapter_model.safetensors"
FAMILIES = {
    "our own blocks": ("Llama", "ForCausalLM", "auto", {"tie_word_embeddings": True}),
    "an untied head": ("Llama", "ForCausalLM", "auto", {}),
    "transposed matrices": ("GPT2", "LMHeadModel", "causal", {}),
    "a body without a head": ("Bert", "Model", "bidirectional", {}),
}
TOKENS_BT = torch.randint(4, 20, (2, 9), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "build" / "models"


def tuned(models: Path, family: str = "our own blocks", *, seed: int = 1, weights: str = "fp32") -> Path:
    """A model folder with an adapter on a small base, as a training leaves it."""
    kind, head, asked, changes = FAMILIES[family]
    base = models / "base"
    if not base.is_dir():
        write_checkpoint(base, kind, head, **changes)
    backbone = backbone_for(base, kind=asked, tuning="lora")
    classifies = asked == Kind.bidirectional.value
    network: nn.Module = Classifier(backbone, LABELS, dropout=0.0) if classifies else LanguageModel(backbone)
    backbone.start_from(base)
    backbone.prepare_for_training(network)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    if weights == "bf16":
        network.to(torch.bfloat16)
    adapter = backbone.merge_adapter(network)
    folder = models / f"tuned-{seed}"
    facts = {"recipe": folder.name, "provenance": "1" * 64, "base": {"recipe": "base", "provenance": "0" * 64}}
    own = {"langmill": {"eot_id": 0, "recipe": folder.name}}
    save_model(folder, network, own, base / "tokenizer.json", facts, adapter=adapter)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {**digest_files(folder), "manifest.json": sha256_file(folder / "manifest.json")}


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_compact_model_has_the_weights_of_the_whole_one_to_the_bit(
    family: str, weights: str, workspace: Path, tmp_path: Path
) -> None:
    folder = tuned(workspace, family, weights=weights)
    before, state = contents(folder), load_state(folder)
    compact = tmp_path / "compact"
    shutil.copytree(folder, compact)
    assert make_compact(compact)
    files = read_manifest(compact, verify=True)["files"]
    assert {BASE, ADAPTER, "merge.json"} <= files.keys() and "model.safetensors" not in files
    assert files[BASE] == sha256_file(workspace / "base" / "model.safetensors")
    found = load_state(compact)
    assert found.keys() == state.keys() and all(torch.equal(found[name], each) for name, each in state.items())
    make_whole(compact)
    assert contents(compact) == before
    make_whole(compact)  # which is whole
    assert contents(compact) == before


def test_a_merged_model_answers_as_the_equation_says() -> None:
    """W + (alpha / r) B A; and the same bytes however many threads there are."""
    generator = torch.Generator().manual_seed(1)
    weight, a, b = (torch.randn(shape, generator=generator) for shape in ((70, 50), (8, 50), (70, 8)))
    config = {"lora_alpha": 4.0, "r": 8}
    found = merge(weight, a, b, config)
    torch.testing.assert_close(found, weight + 0.5 * b @ a, rtol=1e-5, atol=1e-5)
    transposed = merge(weight.T.contiguous(), a, b, {**config, "fan_in_fan_out": True})
    assert torch.equal(transposed, found.T)
    weight[0, 0], b[0] = 1e-40, 0.0  # a denormal number, to which nothing is added
    found = merge(weight, a, b, config)
    assert found[0, 0] == weight[0, 0] != 0
    try:
        torch.set_flush_denormal(True)
        assert torch.equal(merge(weight, a, b, config).view(torch.int32), found.view(torch.int32))
    finally:
        torch.set_flush_denormal(False)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert torch.equal(merge(weight, a, b, config), found)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("reason", ["no adapter", "no base", "another base", "other weights", "a damaged base"])
def test_a_model_that_does_not_follow_from_its_parts_stays_whole(reason: str, workspace: Path) -> None:
    folder, base = tuned(workspace), workspace / "base"
    if reason == "no adapter":
        shutil.rmtree(folder / "adapter")
    elif reason == "no base":
        shutil.rmtree(base)
    elif reason == "another base":
        shutil.rmtree(base)
        write_checkpoint(base, "Llama", "ForCausalLM", seed=9, tie_word_embeddings=True)
    elif reason == "a damaged base":
        (base / "model.safetensors").write_bytes(b"\x00" * 5)
    else:
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "model.safetensors").write_bytes(bytes(data))
    manifest = read_manifest(folder, verify=False)
    write_manifest(folder, {name: each for name, each in manifest.items() if name != "files"})
    before = contents(folder)
    assert not make_compact(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("part", [BASE, ADAPTER])
def test_other_parts_do_not_become_the_registered_weights(part: str, workspace: Path) -> None:
    folder = tuned(workspace)
    assert make_compact(folder)
    shutil.copy(folder / part, folder / "copy")  # what it has a second name of stays as it is
    os.replace(folder / "copy", folder / part)
    data = bytearray((folder / part).read_bytes())
    data[-2] ^= 64
    (folder / part).write_bytes(bytes(data))
    with refused(IntegrityError, "damaged"):
        make_whole(folder)


# In the registry ------------------------------------------------------------------------------------------------------


def registered(models: Path, registry: ModelRegistry, seed: int) -> ModelVersion:
    """A version whose package has the compact form of a tuned model."""
    folder = tuned(models, seed=seed)
    package = models.parent / f"package-{seed}"
    shutil.copytree(folder, package / "artifacts" / "model")
    assert make_compact(package / "artifacts" / "model")
    write_manifest(package / "artifacts" / "evaluation", {})
    run = connect(URI).create_run("0").info.run_id
    made, _ = registry.register(
        package, name="tuned", provenance=str(seed) * 64, weights=sha256_file(folder / "model.safetensors"),
        run_id=run, tags={}, description="",
    )  # fmt: skip
    return made


def test_several_versions_of_one_base_keep_it_once_and_come_whole(workspace: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(URI)
    versions = [registered(workspace, registry, seed) for seed in (1, 2, 3)]
    kept = [path for path in (tmp_path / ".langmill").rglob("*.safetensors") if "adapter" not in path.name]
    assert len(kept) == 4 and len({path.stat().st_ino for path in kept}) == 1
    assert [path.parent.name for path in kept].count("bases") == 1
    for seed, version in enumerate(versions, start=1):
        fetched = registry.download("tuned", version.version, tmp_path / "fetched" / str(seed))
        assert contents(fetched) == contents(workspace / f"tuned-{seed}")
        with registry.package(version) as package:
            assert load_state(package / "artifacts" / "model").keys() == load_state(fetched).keys()
    assert len({path.stat().st_ino for path in kept}) == 1  # reading took nothing away
    kept[0].chmod(0o644)
    kept[0].write_bytes(b"damaged" + kept[0].read_bytes()[7:])
    with refused(IntegrityError, "damaged", "base/model.safetensors"):
        registry.download("tuned", 1, tmp_path / "damaged")
    again = registered(workspace, registry, 4)  # a damaged file is not shared any further
    assert registry.download("tuned", again.version, tmp_path / "again").is_dir()


def test_a_shared_base_goes_with_the_last_folder_that_has_it(workspace: Path, tmp_path: Path) -> None:
    bases, folders = tmp_path / "bases", [tuned(workspace, seed=seed) for seed in (1, 2)]
    for folder in folders:
        assert make_compact(folder)
        keep_once(folder, bases)
        assert not list(folder.rglob("*.new"))
    (shared,) = bases.iterdir()
    assert shared.stem == json.loads((folders[0] / "manifest.json").read_text())["files"][BASE]
    shutil.rmtree(workspace / "base")
    shutil.rmtree(folders[0])
    keep_once(folders[1], bases)
    assert list(bases.iterdir()) == [shared]
    shutil.rmtree(folders[1])
    other = tuned(workspace, "transposed matrices", seed=5)
    assert make_compact(other)
    keep_once(other, bases)
    assert list(bases.iterdir()) != [shared]
