"""Paths are said once: dvc.yaml agrees with `Workspace`, and no other module spells one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from langmill.data.contract.passed import PASSED_NAME
from langmill.data.document import Split, documents_path
from langmill.workspace import Workspace

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]
HERE = Workspace()
MADE = {
    "compose": (HERE.composed,),
    "fetch": (HERE.raw("NAME"),),
    "clean": (HERE.documents("NAME"),),
    "contract": (HERE.contract("NAME"),),
    "tokenizer": (HERE.tokenizer("NAME"),),
    "pretrained": (HERE.model("NAME"), HERE.tokenizer("NAME")),
    "encode": (HERE.shards("NAME"),),
    "train": (HERE.model("NAME"),),
    "finetune": (HERE.model("NAME"),),
    "evaluate": (HERE.evaluation("NAME"),),
}
PARTS = [
    *(documents_path(HERE.documents("NAME"), split) for split in Split),
    HERE.contract("NAME") / PASSED_NAME,
]
"""Files that are read without the rest of their folder."""
SPELLED = re.compile(r"(?<![\w/])build/|(?<!\w)\.langmill\b")
NAMES = {"build", "conf", "dvc.lock", "dvc.yaml"}


def stages() -> dict[str, dict[str, list]]:
    text = re.sub(r"\$\{(key|item\.(corpus|tokenizer|base))\}", "NAME", HERE.graph_file.read_text(encoding="utf-8"))
    return {name: stage.get("do", stage) for name, stage in yaml.safe_load(text)["stages"].items()}


def test_the_graph_makes_and_reads_what_a_workspace_names(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert {name: tuple(map(Path, stage["outs"])) for name, stage in stages().items()} == MADE
    made = {str(path) for paths in MADE.values() for path in paths}
    composed = {str(HERE.composed_file(group, "NAME")) for group in ("corpus", "tokenizer", "pretrained", "recipe")}
    for name, stage in stages().items():
        read = {path for path in stage["deps"] if path.startswith(f"{HERE.build}/")}
        assert read <= made | {str(path) for path in PARTS}, name
        assert {path for entry in stage.get("params", []) for path in entry} <= composed, name


def test_a_workspace_elsewhere_and_here():
    assert HERE.log("serve") == Path(".langmill/logs/serve.log")
    assert Workspace(Path("/there")).model("reviews-lm") == Path("/there/build/models/reviews-lm")
    assert HERE.progress("sub/dvc.yaml:train@x").name == "sub_dvc.yaml_train@x.json"


@pytest.mark.parametrize("package", ["src/langmill", "flows"])
def test_no_other_module_spells_a_path(package):
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name != "workspace.py" or path.parent.name != "langmill":
            found += [f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}" for node in spelled(path)]
    assert not found, "langmill.workspace.Workspace gives these paths"


def spelled(path: Path) -> list[ast.Constant]:
    """The texts of a module that name a path of the workspace; docstrings may."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = [part for node in ast.walk(tree) for part in joined(node)]
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [
        text
        for text in texts
        if text not in docstrings and (SPELLED.search(text.value) or (text in parts and text.value in NAMES))
    ]


def joined(node: ast.AST) -> list[ast.expr]:
    """What an expression makes a path of."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Path":
        return node.args
    return [node.left, node.right] if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else []
