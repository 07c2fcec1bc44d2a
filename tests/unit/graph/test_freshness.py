import subprocess

import pytest

from langmill.errors import ConfigError
from langmill.graph.dag import read_graph
from langmill.graph.freshness import Freshness, freshness_of, is_untouched
from langmill.graph.process import Outcome
from tests.unit.graph.running import make, prepare

pytestmark = pytest.mark.unit


def test_why_follows_the_graph_from_never_run_to_fresh_and_names_each_change(workspace):
    chain = ["settings", "copy@one", "judge@one"]
    graph = read_graph().for_recipes(["one"])
    assert freshness_of(graph) == {
        "settings": Freshness(("it has not run yet",)),
        "copy@one": Freshness(("it has not run yet",), ("settings",)),
        "judge@one": Freshness(("it has not run yet",), ("copy@one",)),
    }
    assert make(workspace, *chain) == [Outcome.made] * 3
    assert all(state.fresh for state in freshness_of(read_graph().for_recipes(["one"])).values())
    assert make(workspace, "copy@one") == [Outcome.unchanged]

    # A comment: the settings' stage alone has to run.
    settings = workspace / "settings.yaml"
    settings.write_text("# A comment.\n" + settings.read_text())
    predict = {"build/settings.yaml": {"training": {"steps": 500, "optimizer": {"rate": 0.1}}, "other": 1}}.get
    stale = freshness_of(read_graph().for_recipes(["one"]), predict)
    assert {address: state.fresh for address, state in stale.items()} == {
        "settings": False, "copy@one": True, "judge@one": True,
    }  # fmt: skip
    assert stale["settings"].reasons == ("settings.yaml changed",)
    settings_stage, copy, judge = (read_graph().for_recipes(["one"]).stages[address] for address in chain)
    assert not is_untouched(settings_stage, stale, {})
    assert is_untouched(copy, stale, {"settings": Outcome.made})  # what that would write was known
    assert is_untouched(judge, stale, {"copy@one": Outcome.unchanged})
    assert not is_untouched(judge, stale, {"copy@one": Outcome.made})
    assert not is_untouched(judge, {}, {"copy@one": Outcome.unchanged})  # it could not be found out

    # A value: told with both values even before the settings' stage has run.
    predict = {"build/settings.yaml": {"training": {"steps": 100, "optimizer": {"rate": 0.1}}, "other": 2}}.get
    stale = freshness_of(read_graph().for_recipes(["one"]), predict)
    assert stale["copy@one"] == Freshness(("training.steps: 500 → 100",))
    assert stale["judge@one"] == Freshness((), ("copy@one",))
    settings.write_text("training: {steps: 500, optimizer: {rate: 0.2, name: adamw}}\nother: 2\n")
    prepare("settings")
    assert freshness_of(read_graph())["copy@one"].reasons == (
        'training.optimizer.name: null → "adamw"',
        "training.optimizer.rate: 0.1 → 0.2",
    )
    prepare("copy@one", "judge@one")

    (workspace / "build/copies/one/out.txt").unlink()
    (workspace / "text.txt").unlink()
    reasons = freshness_of(read_graph())["copy@one"].reasons
    assert reasons == ("text.txt is missing", "its output build/copies/one was changed by hand")

    (workspace / "text.txt").write_text("hello\n")
    assert make(workspace, "copy@one") == [Outcome.restored]
    text = (workspace / "dvc.yaml").read_text().replace("wc -c", "wc -w")
    (workspace / "dvc.yaml").write_text(text)
    assert freshness_of(read_graph())["judge@one"].reasons == ("its command or its list of inputs in dvc.yaml changed",)


def test_a_lock_file_from_another_machine_only_means_that_everything_is_missing(workspace):
    prepare("settings", "copy@one")
    for path in ("build", ".dvc/cache", ".dvc/tmp"):
        subprocess.run(["rm", "-rf", path], cwd=workspace, check=True)
    stale = freshness_of(read_graph())
    assert stale["settings"].reasons == ("its output build/settings.yaml is not in DVC's cache",)
    assert make(workspace, "settings", "copy@one") == [Outcome.made] * 2
    assert freshness_of(read_graph())["copy@one"].fresh


def test_settings_that_are_refused_leave_the_other_stages_judged(workspace):
    prepare("settings", "copy@one")
    settings = workspace / "settings.yaml"
    settings.write_text("# A comment.\n" + settings.read_text())

    def refuse(path: str) -> None:
        raise ConfigError("conf/x.yaml: no.")

    stale = freshness_of(read_graph().for_recipes(["one"]), refuse)
    assert stale["settings"].reasons == ("settings.yaml changed",)
    assert stale["copy@one"].reasons == ("its settings are refused: conf/x.yaml: no.",)


def test_a_dotted_parameter_is_foreseen_as_dvc_reads_it(workspace):
    graph_file = workspace / "dvc.yaml"
    graph_file.write_text(graph_file.read_text().replace("- training\n", "- training.optimizer.rate\n"))
    prepare("settings", "copy@one")
    settings = workspace / "settings.yaml"
    settings.write_text("# A comment.\n" + settings.read_text())
    values = {"training": {"steps": 9, "optimizer": {"rate": 0.1}}, "other": 1}
    assert freshness_of(read_graph().for_recipes(["one"]), {"build/settings.yaml": values}.get)["copy@one"].fresh
    values["training"]["optimizer"]["rate"] = 0.2
    stale = freshness_of(read_graph().for_recipes(["one"]), {"build/settings.yaml": values}.get)
    assert stale["copy@one"].reasons == ("training.optimizer.rate: 0.1 → 0.2",)
