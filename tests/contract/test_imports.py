"""Import rules: the layers of pyproject.toml, and that a stage's dependencies in dvc.yaml cover what it imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from langmill.training.provenance import CODE

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

# Code that can't change what a stage writes, only how it is watched: not listed as a dependency, so that mending a
# progress bar retrains nothing. Everything else that a stage imports must be.
WATCHES_ONLY = {
    "langmill",
    "langmill.errors",
    "langmill.files",
    "langmill.imports",
    "langmill.lifetime",
    "langmill.plugins",
    "langmill.progress",
    "langmill.stages",
    "langmill.stages.process",
    "langmill.workspace",
}
WATCHING_PACKAGES = ("langmill.tracking",)
# Typed settings and the record type: a change that matters shows in the composed file or in the documents themselves,
# but for what tells groups apart.
SHAPES_ONLY = ("langmill.config", "langmill.data")
GROUPS = "langmill.data.folding"

NOT_SERVED = {"httpx", "matplotlib", "mlflow", "pandas", "pytorch_lightning", "scipy", "sqlalchemy", "transformers"}
"""Packages that a server has not imported when it is ready: each costs a tenth of a second to some seconds."""


def module_path(name: str) -> Path | None:
    base = SOURCE.joinpath(*name.split("."))
    if base.with_suffix(".py").is_file():
        return base.with_suffix(".py")
    return base / "__init__.py" if (base / "__init__.py").is_file() else None


class WithoutTypes(ast.NodeTransformer):
    """Drops what is imported for its types alone: it is not executed."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def direct_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(WithoutTypes().visit(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("langmill") and module_path(name)}


def transitive_imports(name: str) -> set[str]:
    seen: set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            path = module_path(current)
            assert path is not None
            todo += sorted(direct_imports(path))
    return seen


def stage_commands() -> dict[str, dict[str, object]]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


@pytest.mark.parametrize("stage", sorted(stage_commands()))
def test_dependencies_cover_imports(stage: str) -> None:
    definition = stage_commands()[stage]
    command = definition["cmd"]
    module = "langmill.stages." + str(command[0] if isinstance(command, list) else command).split()[3]
    dependencies = [str(dependency) for dependency in definition["deps"]]  # type: ignore[attr-defined]
    missing = []
    for name in sorted(transitive_imports(module) - WATCHES_ONLY):
        if name.startswith(WATCHING_PACKAGES):
            continue
        path = module_path(name)
        assert path is not None
        relative = path.relative_to(ROOT).as_posix()
        if relative.endswith("__init__.py") and path.read_text(encoding="utf-8").count("import") == 0:
            continue
        if (
            name.startswith(SHAPES_ONLY)
            and name != GROUPS
            and not (stage == "clean" and name.startswith("langmill.data"))
        ):
            continue
        if not any(relative == dependency or relative.startswith(f"{dependency}/") for dependency in dependencies):
            missing.append(relative)
    assert not missing, f"{stage} imports files that dvc.yaml does not list among its deps"


@pytest.mark.parametrize("stage", ["train", "finetune"])
def test_provenance_names_the_code_that_dvc_watches(stage: str) -> None:
    dependencies = [str(each) for each in stage_commands()[stage]["deps"]]  # type: ignore[attr-defined]
    watched = {each.removeprefix("src/langmill/") for each in dependencies if each.startswith("src/langmill/")}
    assert watched == set(CODE)


def test_importing_anything_has_no_side_effect(tmp_path: Path) -> None:
    """No module makes a file, starts a thread or prints; a server and a training import no more than they use."""
    modules = sorted(
        path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in (SOURCE / "langmill").rglob("*.py")
    )
    program = (
        "import importlib, sys, threading\n"
        "import langmill.serving.lifecycle, langmill.serving.routes.base\n"
        "langmill.serving.routes.base.all_routes()\n"
        f"assert not {NOT_SERVED!r} & sys.modules.keys(), {NOT_SERVED!r} & sys.modules.keys()\n"
        "from langmill.imports import without_metrics_extras\n"
        "with without_metrics_extras(): import langmill.training.fitting\n"
        "assert not {'matplotlib', 'scipy', 'transformers'} & sys.modules.keys()\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []
