from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest

from langmill.errors import ConflictError, IntegrityError, RegistryError
from langmill.evaluation.estimates import Metrics
from langmill.files import read_manifest, sha256_file
from langmill.registry import steps
from langmill.registry.facts import FACTS_TAG
from langmill.registry.pages import show_champions
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Tag
from langmill.tasks.loading import load_model
from langmill.tracking.connection import connect
from langmill.tracking.pages import experiment_paths, has_view
from tests.refused import refused
from tests.unit.registry import building
from tests.unit.registry.building import LANGUAGE_MODEL, URI, build_model, recipe_of, registered

pytestmark = pytest.mark.unit
NAME = LANGUAGE_MODEL


def test_registering_again_finds_the_same_version(workspace: Path) -> None:
    first = steps.package_and_register(recipe_of(NAME), URI)
    second = steps.package_and_register(recipe_of(NAME), URI)
    assert (first.fresh, second.fresh) == (True, False)
    assert second.version == first.version
    registry = ModelRegistry(URI)
    assert [version.version for version in registry.versions(NAME)] == [1]
    assert registry.names() == [NAME]


def test_a_version_says_what_it_is(workspace: Path) -> None:
    version = steps.package_and_register(recipe_of(NAME), URI).version
    manifest = read_manifest(workspace / "build" / "models" / NAME, verify=True)
    assert version.provenance == manifest["provenance"]
    assert version.tags[Tag.weights] == manifest["files"]["model.safetensors"]
    assert version.tags[Tag.task] == "language_modelling"
    assert version.tags[Tag.metric] == "bits_per_byte"
    assert float(version.tags[Tag.low]) < float(version.tags[Tag.value]) < float(version.tags[Tag.high])
    assert version.aliases == (CHALLENGER,)
    assert version.state == "registered"
    assert version.run_id is not None


def test_mlflows_pages_of_a_version_are_to_be_read(workspace: Path) -> None:
    """A card in place of twenty tags; every program still finds them all, through MLflow or past it."""
    version = steps.package_and_register(recipe_of(NAME), URI).version
    registry, recipe = ModelRegistry(URI), recipe_of(NAME)
    item = connect(URI).get_model_version(NAME, "1")
    assert set(item.tags) == {Tag.task, Tag.state, FACTS_TAG}
    assert item.description.startswith(f"{recipe.description}\n\n")
    assert version.description == recipe.description
    metrics = Metrics.read(workspace / "build" / "evaluation" / NAME)
    assert f"**{metrics.decides.value:.4g}** ({metrics.decides.low:.4g} to " in item.description
    hardest = metrics.hardest("strong")
    assert hardest is not None
    assert f"| {hardest.name.replace('_', ' ')}, strong baseline | " in item.description
    assert registry.overview() == [registry.version(NAME, 1)]

    registry.note(version, {Tag.protocol: "another"})
    assert registry.version(NAME, 1).tags[Tag.protocol] == "another"
    for _ in range(2):  # also when it is not there any more
        registry.unnote(registry.version(NAME, 1), Tag.protocol)
        assert registry.version(NAME, 1).tags == {
            key: value for key, value in version.tags.items() if key != Tag.protocol
        }


def test_mlflows_pages_of_an_experiment_show_what_decides(workspace: Path) -> None:
    """Also those of an experiment that was made before there was a view of it."""
    steps.package_and_register(recipe_of(NAME), URI)
    client = connect(URI)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert not has_view(experiment.tags)
    assert show_champions(URI) == [NAME]
    tags = client.get_experiment_by_name(NAME).tags
    columns = json.loads(tags["mlflow.sharedViewState.langmill"])["selectedColumns"]
    assert "metrics.`test/bits_per_byte`" in columns
    assert any(column.endswith("/bits_per_byte`") and "test/bits" not in column for column in columns)
    assert tags["mlflow.note.content"] == recipe_of(NAME).description
    path = experiment_paths(URI)[NAME]
    assert (
        path
        == f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=langmill"
    )


def test_another_model_is_another_version(workspace: Path) -> None:
    first = registered(workspace, NAME, seed=1, factor=1.0)
    second = registered(workspace, NAME, seed=2, factor=1.0)
    assert (first.version, second.version) == (1, 2)
    assert second.aliases == (CHALLENGER,)
    assert ModelRegistry(URI).version(NAME, 1).aliases == ()
    assert first.run_id != second.run_id


def test_equal_provenance_with_other_weights_is_another_version(workspace: Path) -> None:
    """Another kind of processor gives slightly other weights from the same inputs."""
    first = registered(workspace, NAME, seed=1, factor=1.0)
    registry = ModelRegistry(URI)
    assert registry.find(NAME, first.provenance, first.tags[Tag.weights]) is not None
    assert registry.find(NAME, first.provenance, "0" * 64) is None
    assert registry.find(NAME, "0" * 64, first.tags[Tag.weights]) is None
    assert registry.find("unknown", first.provenance, first.tags[Tag.weights]) is None


def test_equal_weights_that_write_otherwise_are_another_version(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Decoding changes without a training; a version of before goes on writing as it did."""
    first = registered(workspace, NAME, seed=1, factor=1.0)
    assert not steps.package_and_register(recipe_of(NAME), URI).fresh
    recipe = recipe_of(NAME)
    recipe.scoring.options["decoding"]["max_new_tokens"] = 7
    monkeypatch.setattr(building, "recipe_of", lambda name: copy.deepcopy(recipe))
    building.build_evaluation(workspace, NAME)
    made = steps.package_and_register(recipe, URI)
    assert made.fresh and made.version.version == 2
    assert (made.version.provenance, made.version.tags[Tag.weights]) == (first.provenance, first.tags[Tag.weights])
    lengths = []
    for number in (1, 2):
        folder = ModelRegistry(URI).download(NAME, number, tmp_path / str(number))
        config = load_model(folder, verify=True).generation_config
        assert config is not None
        lengths.append(config.max_new_tokens)
    assert lengths == [100, 7]


def test_an_evaluation_of_another_model_is_refused(workspace: Path) -> None:
    build_model(workspace, NAME, seed=2)
    with refused(RegistryError, "mismatch", "evaluation", "dvc repro"):
        steps.package_and_register(recipe_of(NAME), URI)
    assert ModelRegistry(URI).names() == []


def test_an_alias_moves_only_from_where_it_is_believed_to_be(workspace: Path) -> None:
    for seed in (1, 2):
        registered(workspace, NAME, seed=seed, factor=1.0)
    registry = ModelRegistry(URI)
    registry.move_alias(NAME, CHAMPION, 1, None)
    with refused(ConflictError, "changed", CHAMPION, "version 1", "no version"):
        registry.move_alias(NAME, CHAMPION, 2, None)
    with refused(ConflictError, "changed", CHAMPION, "version 1", "version 2"):
        registry.move_alias(NAME, CHAMPION, None, 2)
    assert registry.champion(NAME) == registry.version(NAME, 1)
    registry.move_alias(NAME, CHAMPION, 2, 1)
    assert registry.champion(NAME) == registry.version(NAME, 2)
    registry.move_alias(NAME, CHAMPION, None, 2)
    assert registry.champion(NAME) is None


def test_a_move_that_another_undoes_is_noticed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        registered(workspace, NAME, seed=seed, factor=1.0)
    registry = ModelRegistry(URI)
    monkeypatch.setattr(
        type(registry._client), "set_registered_model_alias", lambda *arguments: None
    )  # as if the other's write came right after
    with refused(ConflictError, "changed", "moved to version 2", "no version"):
        registry.move_alias(NAME, CHAMPION, 2, None)


def test_unknown_versions_are_refused(workspace: Path) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    registry = ModelRegistry(URI)
    with refused(RegistryError, "unknown", NAME, "version 7"):
        registry.version(NAME, 7)
    with refused(RegistryError, "unknown", NAME, "version 7"):
        registry.move_alias(NAME, CHAMPION, 7, None)
    with refused(RegistryError, "unknown", "unknown", "version 1"):
        registry.version("unknown", 1)
    assert registry.champion("unknown") is None
    assert registry.versions("unknown") == []
    with refused(RegistryError, "impossible", "a' OR name='b"):
        registry.versions("a' OR name='b")


def test_a_download_is_the_model_folder(workspace: Path, tmp_path: Path) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    folder = ModelRegistry(URI).download(NAME, 1, tmp_path / "models" / "one")
    original = workspace / "build" / "models" / NAME
    there, here = ({path.name: sha256_file(path) for path in each.iterdir()} for each in (folder, original))
    judged = workspace / "build" / "evaluation" / NAME / "generation_config.json"  # it writes as it was judged
    assert there == here | {judged.name: sha256_file(judged), "manifest.json": there["manifest.json"]}
    assert list(folder.parent.iterdir()) == [folder]
    kept = ModelRegistry(URI).download_evaluation(NAME, 1, tmp_path / "evaluation")
    assert (kept / "scores.parquet").is_file()


def test_a_damaged_download_is_refused_and_leaves_the_old_one(workspace: Path, tmp_path: Path) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    registry = ModelRegistry(URI)
    into = registry.download(NAME, 1, tmp_path / "model")
    weights = next((workspace / ".langmill" / "artifacts").rglob("artifacts/model/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with refused(IntegrityError, "damaged", "version 1", "model.safetensors"):
        registry.download(NAME, 1, into)
    assert read_manifest(into, verify=True)


def test_files_that_are_gone_are_said(workspace: Path, tmp_path: Path) -> None:
    registered(workspace, NAME, seed=1, factor=1.0)
    shutil.rmtree(workspace / ".langmill" / "artifacts")
    with refused(RegistryError, "missing", "version 1", "artifacts/model"):
        ModelRegistry(URI).download(NAME, 1, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_fast_look_says_what_mlflow_says(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ModelRegistry(URI)
    assert registry.overview() == []
    for seed in (1, 2, 3):
        registered(workspace, NAME, seed=seed, factor=1.0)
    registry.move_alias(NAME, CHAMPION, 2, None)
    registry.move_alias(NAME, PREVIOUS, 2, None)
    fast = registry.overview()
    assert [(version.version, version.aliases) for version in fast] == [
        (2, (CHAMPION, PREVIOUS)),
        (3, (CHALLENGER,)),
    ]
    monkeypatch.setattr("langmill.registry.store.database_path", lambda uri: None)
    assert registry.overview() == fast


def test_the_fast_look_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ModelRegistry(URI).overview() == []
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_log_gets_a_run(workspace: Path) -> None:
    """A result that came out of DVC's cache has no events here."""
    assert not (workspace / ".langmill" / "runs").exists()
    version = steps.package_and_register(recipe_of(NAME), URI).version
    run = ModelRegistry(URI)._client.get_run(version.run_id)
    assert run.data.tags["langmill.provenance"] == version.provenance
    assert run.info.status == "FINISHED"


def test_a_version_says_how_many_parameters_its_network_has(workspace: Path) -> None:
    """Those of the network: a head that is tied to the embedding may stand in the file a second time."""
    network = load_model(workspace / "build" / "models" / NAME, verify=True).network
    version = steps.package_and_register(recipe_of(NAME), URI).version
    assert int(version.tags[Tag.parameters]) == sum(weight.numel() for weight in network.parameters()) > 0
