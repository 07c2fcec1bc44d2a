"""`langmill new pretrained`: a base from a package, the hub, a folder or a file; no file is written by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from langmill.cli import call
from langmill.cli.new import origins
from langmill.config.compose import compose_pretrained, compose_recipe, compose_tokenizer
from langmill.config.sections import PRETRAINED
from langmill.stages.compose import require_composed
from tests.pipeline.workspace import keep
from tests.unit.checkpoints.files import LLAMA, TEMPLATE, TOKENIZER, network, tensors_of, write_gguf, write_model
from tests.unit.cli.new.test_commands import NEIGHBOURS, ROOT, variables
from tests.unit.models.checkpoints import write_checkpoint

pytestmark = pytest.mark.unit
COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
CARD = "---\nlanguage: en\nlicense: mit\n---\n# A model\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped settings, and the graph with a few of its lines."""
    folder = tmp_path / "workspace"
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")
    keep(folder / "dvc.yaml", NEIGHBOURS)
    monkeypatch.chdir(folder)
    return folder


def contents(workspace: Path) -> dict[Path, bytes]:
    """Every file that people write."""
    return {
        path: path.read_bytes() for path in workspace.rglob("*") if path.is_file() and ".langmill" not in path.parts
    }


def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, bytes], licence: str = "") -> str:
    """A wheel of these files that the index brings as tiny==1.0; its SHA-256."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("tiny-1.0.dist-info/METADATA", f"Metadata-Version: 2.2\nName: tiny\nVersion: 1.0\n{licence}\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def look_up(name: str, version: str, downloads: Path) -> tuple[Path, str]:
        assert (name, version) == ("tiny", "1.0")
        return wheel, digest

    monkeypatch.setattr(origins, "look_up", look_up)
    return digest


def gguf_bytes(tmp_path: Path, **changes: Any) -> bytes:
    write_model(tmp_path / "made.gguf", "Llama", **changes)
    return (tmp_path / "made.gguf").read_bytes()


def folder_bytes(tmp_path: Path, prefix: str) -> dict[str, bytes]:
    write_checkpoint(tmp_path / "made", "Bert", "Model")
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    return {f"{prefix}{name}": (tmp_path / "made" / name).read_bytes() for name in wanted}


def test_a_gguf_file_is_begun_with_and_a_recipe_starts_from_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(Path("models/tiny.gguf"), "Llama")
    assert call(["new", "pretrained", "tiny", "--from", "models/tiny.gguf"]) == 0
    out = capsys.readouterr().out
    for told in ("conf/pretrained/tiny.yaml", "conf/tokenizer/tiny.yaml", "dvc.yaml", "apache-2.0", "F32"):
        assert told in out
    model = compose_pretrained("tiny")
    assert (model.kind, model.licence, model.source.kind, model.source.path) == (
        "causal", "apache-2.0", "files", "models/tiny.gguf",
    )  # fmt: skip
    assert compose_tokenizer("tiny").algorithm == PRETRAINED
    assert variables(workspace)["pretrained"]["tiny"] == {"source": "models/tiny.gguf"}
    assert call(["new", "recipe", "mine", "--corpus", "shakespeare", "--base", "tiny"]) == 0
    assert compose_recipe("mine").training.base == "tiny"
    require_composed(["mine"])


@pytest.mark.parametrize(
    ("template", "said", "warned"),
    [
        (TEMPLATE, False, ""),
        (None, True, ""),
        ("{% for message in %}", False, "is no Jinja template"),
        ("{{ messages[0].content }}", False, "writes no special token after an answer"),
    ],
)
def test_a_template_that_is_missing_or_can_not_be_used_is_said(
    template: str | None, said: bool, warned: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(Path("models/tiny.gguf"), "Llama", tokenizer__chat_template=template)
    assert call(["new", "pretrained", "tiny", "--from", "models/tiny.gguf"]) == 0
    told = capsys.readouterr()
    assert ("no chat template" in told.out) == said
    assert (f"Warning: Its chat template {warned}" in told.err) == bool(warned)


def test_a_gguf_file_without_a_layer_writes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(workspace)
    weights = tensors_of(network("Llama"))
    write_gguf(Path("tiny.gguf"), "llama", {**LLAMA, **TOKENIZER}, {k: v for k, v in weights.items() if "1." not in k})
    assert call(["new", "pretrained", "tiny", "--from", "tiny.gguf"]) == 1
    assert "model.layers.1.input_layernorm.weight" in capsys.readouterr().err
    Path("tiny.gguf").unlink()
    assert contents(workspace) == before


def test_a_model_without_a_head_is_said_to_classify_alone(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(Path("models"), "Llama", "Model")
    assert call(["new", "pretrained", "tiny", "--from", "models", "--licence", "MIT"]) == 0
    assert "no head" in capsys.readouterr().out


def test_the_weights_are_counted_once(workspace: Path) -> None:
    model = write_model(Path("models/tiny.gguf"), "Llama")
    assert call(["new", "pretrained", "tiny", "--from", "models/tiny.gguf"]) == 0
    assert compose_pretrained("tiny").parameters == sum(weight.numel() for weight in model.parameters())


def test_a_folder_has_its_licence_on_its_card_or_by_option(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "bert", "Bert", "Model")
    before = contents(workspace)
    assert call(["new", "pretrained", "tiny", "--from", str(tmp_path / "bert")]) == 1
    assert "--licence" in capsys.readouterr().err
    assert contents(workspace) == before
    (tmp_path / "bert" / "README.md").write_text(CARD)
    assert call(["new", "pretrained", "tiny", "--from", str(tmp_path / "bert")]) == 0
    assert (compose_pretrained("tiny").licence, compose_pretrained("tiny").kind) == ("mit", "bidirectional")
    assert call(["new", "pretrained", "other", "--from", str(tmp_path / "bert"), "--licence", "none: ask"]) == 0
    assert compose_pretrained("other").licence == "none: ask"
    warning = capsys.readouterr().err
    assert "--licence says none: ask" in warning and "mit" in warning


@pytest.mark.parametrize("written", ["tiny==1.0", "pypi:tiny==1.0", "tiny==1.0:tiny/m.gguf", "tiny==1.0:*.gguf"])
def test_the_one_model_of_a_package_is_found_and_pinned(
    written: str, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"tiny/m.gguf": gguf_bytes(tmp_path), "tiny/__init__.py": b""}
    digest = published(monkeypatch, tmp_path, files, "License: Apache-2.0")
    assert call(["new", "pretrained", "tiny", "--from", written]) == 0
    model = compose_pretrained("tiny")
    (package,) = model.source.packages
    assert (package.package, package.version, package.sha256, package.members) == (
        "tiny", "1.0", digest, ["tiny/m.gguf"],
    )  # fmt: skip
    assert model.licence == "Apache-2.0"
    assert variables(workspace)["pretrained"]["tiny"] == {"source": "src/langmill/data/sources"}


def test_a_package_may_have_another_licence_than_its_model(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(
        monkeypatch, tmp_path, {"m.gguf": gguf_bytes(tmp_path)}, "Classifier: License :: OSI Approved :: MIT License"
    )
    assert call(["new", "pretrained", "tiny", "--from", "tiny==1.0"]) == 0
    assert compose_pretrained("tiny").licence == "apache-2.0 (the model), MIT License (the package)"


def test_a_folder_in_a_package_comes_with_what_belongs_to_it(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = folder_bytes(tmp_path, "tiny/model/") | {"tiny/other.json": b"{}", "tiny/model/pytorch_model.bin": b""}
    published(monkeypatch, tmp_path, files, "License-Expression: MIT")
    assert call(["new", "pretrained", "tiny", "--from", "tiny==1.0"]) == 0
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    assert compose_pretrained("tiny").source.packages[0].members == [f"tiny/model/{name}" for name in names]


def test_several_models_are_listed(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published(monkeypatch, tmp_path, folder_bytes(tmp_path, "a/") | {"b/x.gguf": b"GGUF"}, "License: MIT")
    assert call(["new", "pretrained", "tiny", "--from", "tiny==1.0"]) == 1
    error = capsys.readouterr().err
    assert all(words in error for words in ("2 models", "a/*", "b/x.gguf", "pypi:tiny==1.0:FILE")), error
    assert call(["new", "pretrained", "tiny", "--from", "tiny==1.0:a/*"]) == 0
    assert compose_pretrained("tiny").kind == "bidirectional"


def test_a_commit_of_the_hub(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "cache", "GPT2", "LMHeadModel")
    (tmp_path / "cache" / "README.md").write_text(CARD)
    asked: list[list[str]] = []

    def snapshot(repository: str, *, revision: str, allow_patterns: list[str], repo_type: str) -> str:
        assert (repository, revision, repo_type) == ("someone/tiny", COMMIT, "model")
        asked.append(allow_patterns)
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert call(["new", "pretrained", "tiny", "--from", f"hub:someone/tiny@{COMMIT}"]) == 0
    model = compose_pretrained("tiny")
    assert (model.source.repository, model.source.revision, model.licence) == ("someone/tiny", COMMIT, "mit")
    assert not any("bin" in pattern or pattern == "*" for patterns in asked for pattern in patterns)
    (tmp_path / "cache" / "tiny-Q8_0.gguf").write_bytes(gguf_bytes(tmp_path))
    assert call(["new", "pretrained", "other", "--from", f"hub:someone/tiny@{COMMIT}:tiny-Q8_0.gguf"]) == 0
    assert compose_pretrained("other").source.options == {"file": "tiny-Q8_0.gguf"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tiny", "--from", "gone.gguf"], ("gone.gguf", "PACKAGE==VERSION", "hub:ID@COMMIT")),
        (["tiny", "--from", "hub:someone/tiny"], ("40 hexadecimal digits",)),
        (["tiny", "--from", "hub:someone/tiny@main"], ("40 hexadecimal digits",)),
        (["minilm", "--from", "x.gguf"], ("conf/pretrained/minilm.yaml exists",)),
        (["reviews", "--from", "x.gguf"], ("conf/tokenizer/reviews.yaml exists",)),
        (["sentiment", "--from", "x.gguf"], ("conf/recipe/sentiment.yaml exists",)),
        (["My Model", "--from", "x.gguf"], ("can't be a name",)),
        (["tiny", "--from", "tiny==1.0:gone"], ("no file gone", "notes.txt")),
        (["tiny", "--from", "tiny==1.0"], ("no model in safetensors or GGUF",)),
        (["tiny", "--from", "conf"], ("There is no model here",)),
        (["tiny", "--from", "dvc.yaml"], ("dvc.yaml", "no model")),
        (["tiny", "--from", "bad.gguf"], ("bad.gguf", "ends too early")),
        (["tiny", "--from", ""], ("no such file or folder",)),
    ],
)
def test_what_can_not_be_leaves_nothing_behind(
    arguments: list[str], told: tuple[str, ...], workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    published(monkeypatch, tmp_path, {"notes.txt": b"words"})
    Path("bad.gguf").write_bytes(gguf_bytes(tmp_path)[:2000])
    before = contents(workspace)
    assert call(["new", "pretrained", *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert all(words in error for words in told), error
    assert contents(workspace) == before


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", b"{", ("config.json of the pretrained model can't be read",)),
        ("config.json", {"num_attention_heads": "two"}, ("config.json of the pretrained model", "num_attention_heads")),
        ("config.json", {"model_type": "frobnicator"}, ("config.json of the pretrained model", "frobnicator")),
        ("config.json", {"vocab_size": 10}, ("tokenizer.json has 24 entries, its embedding only 10",)),
        ("config.json", None, ("no config.json",)),
        ("tokenizer.json", b"{}", ("tokenizer.json is not a tokenizer", "check its source")),
        ("tokenizer.json", None, ("no tokenizer.json",)),
        ("tokenizer_config.json", b"{", ("tokenizer_config.json is not valid JSON", "check its source")),
        ("model.safetensors", b"\0" * 100, ("model.safetensors of the pretrained model is damaged",)),
        ("model.safetensors", None, ("There is no model here",)),
    ],
)
def test_a_folder_that_no_recipe_could_use(
    file: str, content: bytes | dict[str, Any] | None, told: tuple[str, ...], workspace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What came is looked at, and not only named: a sentence without the folder in which it lies meanwhile."""
    write_checkpoint(Path("models"), "Llama", "ForCausalLM")
    path = Path("models", file)
    if content is None:
        path.unlink()
    elif isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    else:
        path.write_bytes(content)
    refused_and_nothing_written(workspace, "models", told, capsys)


MORE = {
    "tokenizer.ggml.tokens": [*TOKENIZER["tokenizer.ggml.tokens"], *(f"z{number}" for number in range(9))],
    "tokenizer.ggml.token_type": [*TOKENIZER["tokenizer.ggml.token_type"], *[1] * 9],
}


@pytest.mark.parametrize(
    ("metadata", "added", "told"),
    [
        (LLAMA, [], ("a.gguf", "tokenizer")),
        (LLAMA | TOKENIZER | MORE, [], ("tokenizer.json has 273 entries, its embedding only 264",)),
        (LLAMA | TOKENIZER, ["rope_freqs.weight"], ("a.gguf has rope_freqs.weight",)),
    ],
    ids=["no tokenizer", "another model's tokenizer", "a weight too many"],
)
def test_a_gguf_file_that_no_recipe_could_use(
    metadata: dict[str, Any], added: list[str], told: tuple[str, ...], workspace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    tensors = tensors_of(network("Llama"))
    write_gguf(
        Path("models/a.gguf"), "llama", metadata, tensors | {name: tensors["output_norm.weight"][:8] for name in added}
    )
    refused_and_nothing_written(workspace, "models/a.gguf", told, capsys)


def test_two_files_in_a_folder_are_listed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write_model(Path(f"models/{name}.gguf"), "Llama")
    refused_and_nothing_written(workspace, "models", ("a.gguf", "b.gguf", "name one of them"), capsys)


def refused_and_nothing_written(
    workspace: Path, place: str, told: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(workspace)
    assert call(["new", "pretrained", "tiny", "--from", place, "--licence", "MIT"]) in (1, 2)
    error = capsys.readouterr().err
    assert all(words in error for words in told), error
    assert ".tmp" not in error and "bug" not in error, error
    assert contents(workspace) == before
