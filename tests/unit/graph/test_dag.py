from pathlib import Path

import pytest

from langmill.errors import GraphError
from langmill.graph.dag import read_graph
from langmill.graph.freshness import freshness_of
from langmill.workspace import Workspace
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
    with pytest.raises(GraphError, match=r"no build/evaluation/three; it knows one, two"):
        graph.for_recipes(["three"])
    with pytest.raises(GraphError, match=r"no stage 'evaluation'; there are: settings, copy@one"):
        graph.stage("evaluation")
    with pytest.raises(GraphError, match=r"no stage 'judge@three'; did you mean judge@two, judge@one"):
        graph.stage("judge@three")


def test_no_workspace_and_a_broken_graph_are_told_in_a_sentence(tmp_path, workspace):
    with pytest.raises(GraphError, match="no Langmill workspace here"):
        read_graph(Path("/"))
    (workspace / "dvc.yaml").write_text(
        DVC_YAML.replace("deps: [settings.yaml]", "deps: [settings.yaml, build/evaluation/one]")
    )
    with pytest.raises(GraphError, match=r"both a dependency and an output in stages: .*settings"):
        read_graph()
    (workspace / "dvc.yaml").write_text("stages: [")
    with pytest.raises(GraphError, match=r"dvc\.yaml"):
        read_graph()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (".dvc/config", "[core\n", "DVC's settings in .dvc/config are refused"),
        (".dvc/config", "[core]\n    autostage = perhaps\n", "DVC's settings in .dvc/config are refused"),
        ("dvc.lock", "stages: [", "dvc.yaml or dvc.lock is refused"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: ${nothing}\n", "dvc.yaml or dvc.lock is refused"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: x\n    outs: [../x]\n    deps: 3\n", "dvc.yaml or dvc.lock is refused"),
    ],
)
def test_what_dvc_refuses_is_a_sentence(workspace, name, content, sentence):
    (workspace / name).write_text(content)
    with pytest.raises(GraphError, match=sentence) as caught:
        freshness_of(read_graph())
    assert "\n" not in str(caught.value)
