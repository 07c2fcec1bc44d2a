"""Which stages a change makes stale: what judges, or checks documents, trains nothing again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from langmill.files import write_text
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from langmill.stages import compose
from langmill.stages.foresight import composed_params
from langmill.workspace import Workspace
from tests.pipeline.workspace import keep

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("src/langmill/scoring/metrics/corpus.py", "title = ", "title  = ", {"evaluate"}),
        ("src/langmill/scoring/conditional_generation.py", '"""', '"""Now: ', {"evaluate"}),  # its docstring
        ("conf/recipe/catalogs-en-de.yaml", "num_beams: 8", "num_beams: 4", {"evaluate"}),
        ("conf/recipe/catalogs-en-de.yaml", "[chrf, bleu, ", "[chrf, ", {"evaluate"}),
        ("src/langmill/tasks/text_to_text.py", '"""', '"""Now: ', {"encode", "train", "evaluate"}),
        ("conf/recipe/catalogs-en-de.yaml", "smoothing: 0.1", "smoothing: 0", {"encode", "train", "evaluate"}),
        ("conf/gate/text_to_text.yaml", "min_effect: 0.5", "min_effect: 0.4", set()),
    ],
)  # fmt: skip
def test_what_only_judges_makes_evaluate_alone_stale(
    made: Path, file: str, old: str, new: str, stale: set[str]
) -> None:
    path = made / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        found = freshness_of(read_graph(), composed_params())
    finally:
        path.write_text(text)
    expected = {"compose", *(f"{kind}@catalogs-en-de" for kind in stale)}  # compose writes the same files again
    assert {address for address, state in found.items() if state.reasons} == expected
    assert {address for address, state in found.items() if not state.fresh} == expected


@pytest.mark.parametrize(
    ("file", "old", "new", "reading"),
    [
        ("conf/corpus/catalogs-en-de.yaml", "unread: {stop: 0.001", "unread: {stop: 0.002", {"compose", "contract"}),
        ("src/langmill/data/contract/limits.py", '"""', '"""Now: ', {"compose", "clean", "contract"}),
        ("build/documents/catalogs-en-de/made", "build", "a report with other numbers", {"clean", "contract"}),
        ("build/contracts/catalogs-en-de/made", "build", "results with other numbers", {"contract"}),
    ],
)
def test_what_only_checks_documents_is_read_by_nothing_that_learns(
    made: Path, file: str, old: str, new: str, reading: set[str]
) -> None:
    path = made / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        found = freshness_of(read_graph(), composed_params())
    finally:
        path.write_text(text)
    assert {address.split("@")[0] for address, state in found.items() if state.reasons} == reading


def test_options_of_a_plug_in_are_refused_before_anything_runs(made: Path) -> None:
    path = made / "conf" / "gate" / "text_to_text.yaml"
    text = path.read_text()
    path.write_text(text.replace("min_effect: 0.5", "min_effect: -1"))
    try:
        found = freshness_of(read_graph(), composed_params())
    finally:
        path.write_text(text)
    (reason,) = found["train@catalogs-en-de"].reasons
    assert "gate.rules.improvement.min_effect is -1" in reason
    assert f"It stands in {path.relative_to(made)}" in reason


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace in which the stages of one recipe count as run."""
    root = tmp_path_factory.mktemp("made")
    for name in ("conf", "src/langmill"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", root)
    keep(root / "dvc.yaml", ["catalogs-en-de"])
    text = (root / "dvc.yaml").read_text().replace("    pretrained:\n", "    pretrained: {}\n", 1)
    (root / "dvc.yaml").write_text(text.replace("fine_tuned: &fine_tuned\n", "fine_tuned: &fine_tuned {}\n"))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    write_text(root / ".dvc" / "config", "[core]\n    analytics = false\n    check_update = false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        compose.main()
        graph = read_graph()
        for out in (out for stage in graph.stages.values() for out in stage.outs if not Path(out).exists()):
            write_text(root / out / "made", out)
        for path in (Path(dep.fs_path) for node in graph.nodes.values() for dep in node.deps):
            if path.is_relative_to(root / Workspace().build) and not path.exists():  # a file in a folder that is made
                write_text(path, path.name)
        graph.repo.commit(force=True)
        assert all(state.fresh for state in freshness_of(read_graph(), composed_params()).values())
        yield root
