from pathlib import Path

import pytest

from langmill.errors import GraphError
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from langmill.workspace import Workspace
from tests.refused import refused
from tests.unit.graph.running import DVC_YAML

pytestmark = pytest.mark.unit


def test_stages_come_in_an_order_in_which_they_can_run(workspace):
    graph = read_graph()
    assert list(graph.stages) == ["settings", "copy@one", "copy@two", "judge@one", "judge@two"]
    assert graph.stage("copy@one").description == "Copy one"
    assert graph.stage("copy@one").upstream == ("settings",)
    assert graph.stage("copy@one").by_params_only == {"settings"}
    assert graph.stage("judge@two").by_params_only == set()
    assert graph.names(Workspace().evaluation) == ["one", "two"]
    assert list(graph.for_recipes(["two"]).stages) == ["settings", "copy@two", "judge@two"]


def test_unknown_names_are_refused_with_those_that_exist(workspace):
    graph = read_graph()
    with refused(GraphError, "unknown", "build/evaluation/three", "one, two", "langmill new recipe"):
        graph.for_recipes(["three"])
    with refused(GraphError, "unknown", "'evaluation'", "settings, copy@one"):
        graph.stage("evaluation")
    with refused(GraphError, "unknown", "'judge@three'", "judge@two, judge@one?"):
        graph.stage("judge@three")
    with refused(GraphError, "unknown", "'train@one'", "did you mean"):  # another step of the same name
        graph.stage("train@one")
    with refused(GraphError, "unknown", "Did you mean one?"):
        graph.for_recipes(["ones"])


def test_no_workspace_and_a_broken_graph_are_told_in_a_sentence(tmp_path, workspace):
    with refused(GraphError, "missing", ".dvc"):
        read_graph(Path("/"))
    (workspace / "dvc.yaml").write_text(
        DVC_YAML.replace("deps: [settings.yaml]", "deps: [settings.yaml, build/evaluation/one]")
    )
    with refused(GraphError, "impossible", "dvc.yaml", "copy@one", "settings"):
        read_graph()
    (workspace / "dvc.yaml").write_text("stages: [")
    with refused(GraphError, "impossible", "dvc.yaml"):
        read_graph()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        (".dvc/config", "[core\n", "unreadable"),
        (".dvc/config", "[core]\n    autostage = perhaps\n", "unreadable"),
        ("dvc.lock", "stages: [", "impossible"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: ${nothing}\n", "impossible"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: x\n    outs: [../x]\n    deps: 3\n", "impossible"),
    ],
)
def test_what_dvc_refuses_is_a_sentence(workspace, name, content, code):
    (workspace / name).write_text(content)
    with refused(GraphError, code, name) as caught:
        freshness_of(read_graph())
    assert "\n" not in str(caught.value)
