"""What the champions are worth, read back from the registry alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from langmill import cli
from langmill.errors import RegistryError
from langmill.evaluation.card import card
from langmill.evaluation.estimates import BaselineMetrics, Estimate, Metrics
from langmill.registry import steps
from langmill.registry.promote import promote
from langmill.registry.results import Refused, Result, read_refused, read_result, read_results, results_page
from langmill.registry.store import ModelRegistry
from langmill.registry.versions import State, Tag
from tests.refused import refused
from tests.unit.registry.building import CLASSIFIER, LANGUAGE_MODEL, URI, recipe_of

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 20)


BASELINES = (
    BaselineMetrics("majority", "trivial", {"accuracy": 0.5}, Estimate(0.4, 0.35, 0.45)),
    BaselineMetrics("tfidf", "strong", {"accuracy": 0.91, "macro_f1": 0.905}, Estimate(-0.01, -0.02, -0.005)),
    BaselineMetrics("weak", "strong", {"accuracy": 0.8}, Estimate(0.1, 0.05, 0.15)),
)


def result(baselines: tuple[BaselineMetrics, ...] = BASELINES, **changes: object) -> Result:
    estimates = {"accuracy": Estimate(0.9, 0.88, 0.92), "macro_f1": Estimate(0.89, 0.87, 0.91)}
    given = {
        "name": "mood", "version": 2, "registered": DAY, "task": "classification", "description": "Tells moods.",
        "metrics": Metrics("accuracy", estimates, baselines, 1234, 1234, "ab"), "documents": 22468, "megabytes": 29.34,
        "parameters": 1412352, "minutes": 1.44, "memory": 1234.5,
    }  # fmt: skip
    return Result(**{**given, **changes})  # type: ignore[arg-type]


def test_the_page_says_plainly_what_was_not_beaten() -> None:
    unknown = {"minutes": None, "memory": None}
    page = results_page([result(), result(name="other", task="language_modelling", baselines=(), **unknown)])
    assert "## Classification" in page and "## Language modelling" in page
    assert (
        "| `mood` | 22,468 | 29.3 | 1,412,352 | 1.4 | accuracy | 0.9000 (0.8800 to 0.9200) | majority 0.5000 "
        "| tfidf 0.9100 | 1,234 |"
    ) in page
    told = "- `mood` (version 2 of 2026-11-20, 1,234 test documents): Tells moods. Against tfidf: "
    assert f"{told}**does not beat it**: worse by" in page
    assert "Also: macro_f1 0.8900 (tfidf 0.9050)." in page
    assert "| `other` | 22,468 | 29.3 | 1,412,352 | - | accuracy | 0.9000 (0.8800 to 0.9200) | - | - | - |" in page


def test_a_metric_of_fewer_documents_says_so_wherever_it_stands() -> None:
    judged = replace(result().metrics, examples=200, usable=1178, examples_of={"macro_f1": 40})
    page = results_page([result(metrics=judged)])
    assert "accuracy | 0.9000 (0.8800 to 0.9200) on 200 of 1,178 |" in page
    assert "Also: macro_f1 0.8900 on 40 of 1,178 (tfidf 0.9050)." in page
    shown = card("", replace(judged, higher_is_better=True), {})
    assert "| **accuracy** (higher is better) | **0.9** " in shown and "| **accuracy** | " in card("", judged, {})
    assert "on 200 of 1,178 test documents |" in shown and "| macro f1 | on 40 of 1,178 test documents |" in shown


def test_the_page_says_what_the_gate_kept_out() -> None:
    page = results_page([result()], [Refused("answers", 3, DAY, "Too few documents.")])
    assert page.endswith("## Refused by the gate\n\n- `answers` (version 3 of 2026-11-20): Too few documents.\n")
    assert "Refused" not in results_page([result()])


def test_rows_of_models_that_the_registry_does_not_have_stay() -> None:
    """As after a clone: the page came with it, the registry did not."""
    refused = [Refused("answers", 3, DAY, "Too few documents."), Refused("poems", 1, DAY, "No better.")]
    former = results_page([result(), result(name="lm", task="language_modelling"), result(name="odd")], refused)
    former = former.replace("`odd` (version 2 of 2026-11-20", "`odd` (version 2")  # as before days were noted
    now = results_page([result(version=3), result(name="poems", task="completion")], (), former)
    assert "does not have them: `odd` (day not noted), `lm` (2026-11-20), `answers` (2026-11-20)." in now
    for kept in ("`lm` (version 2 of", "`odd` (version 2,", "`answers` (version 3 of", "`mood` (version 3 of"):
        assert now.count(f"- {kept}") == 1
    assert now.count("| `mood` |") == now.count("| `odd` |") == now.count("| `lm` |") == now.count("`poems` (v") == 1
    assert now.index("## Classification") < now.index("## Completion") < now.index("## Language") < now.index("## Ref")
    assert results_page([result(version=3), result(name="poems", task="completion")], (), now) == now


def test_a_row_that_was_kept_has_every_column_of_today() -> None:
    former = results_page([result(), result(name="lm")])
    (row,) = (line for line in former.splitlines() if line.startswith("| `lm` |"))
    shorter = row.removesuffix(" 1,234 | - |")  # as before memory was noted, and what the base could do
    assert shorter != row
    assert results_page([result()], (), former.replace(row, shorter)).count(f"{shorter} - | - |\n") == 1


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Estimate(0.1, 0.05, 0.15), "beats it by 0.1000"),
        (Estimate(0.01, -0.05, 0.15), "no clear difference"),
        (Estimate(-0.1, -0.2, -0.05), "**does not beat it**: worse by 0.1000"),
    ],
)
def test_a_baseline_is_beaten_or_not(gain: Estimate, words: str) -> None:
    assert BaselineMetrics("x", "strong", {}, gain).sentence.startswith(words)


@pytest.fixture(scope="module")
def champions(built_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a champion of each of two recipes; made once."""
    folder = tmp_path_factory.mktemp("champions") / "workspace"
    shutil.copytree(built_models, folder)
    if not (folder / "conf").exists():
        shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in (LANGUAGE_MODEL, CLASSIFIER):
            version = steps.package_and_register(recipe_of(name), URI).version
            ModelRegistry(URI).note(version, {Tag.state: State.validated})
            promote(ModelRegistry(URI), name, version.version, force="for the test", command="test")
    return folder


def test_a_champion_is_read_back(champions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(champions)
    found = read_results(ModelRegistry(URI))
    assert [each.name for each in found] == [CLASSIFIER, LANGUAGE_MODEL]  # by task
    language_model = found[1]
    metrics = language_model.metrics
    assert metrics.primary == "bits_per_byte"
    assert metrics.decides.low < metrics.decides.value < metrics.decides.high
    trivial, strong = metrics.hardest("trivial"), metrics.hardest("strong")
    assert trivial is not None and trivial.improvement is not None and strong is not None
    assert (trivial.name, strong.name) == ("unigram", "trigram")
    gain = trivial.values["bits_per_byte"] - metrics.decides.value
    assert trivial.improvement.value == pytest.approx(gain, abs=1e-6)
    with refused(RegistryError, "missing", "langmill run ghost"):
        read_result(ModelRegistry(URI), "ghost")


def test_a_version_that_is_not_in_service_is_told(champions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(champions)
    assert read_refused(ModelRegistry(URI)) == []
    registry = ModelRegistry(URI)
    monkeypatch.setattr(registry, "champion", lambda name: None)
    assert [each.name for each in read_refused(registry)] == sorted([CLASSIFIER, LANGUAGE_MODEL])


def test_the_commands_write_a_page_a_table_and_a_picture(
    champions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(champions)
    assert cli.call(["report", "--out", "out/results.md"]) == 0
    page = Path("out/results.md")
    assert page.read_text().count("\n| `") == 2
    page.write_text(page.read_text().replace(LANGUAGE_MODEL, "elsewhere"))
    assert cli.call(["report", "--out", "out/results.md"]) == 0
    assert page.read_text().count("\n| `") == 3
    assert cli.call(["compare", LANGUAGE_MODEL, "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert "recipe" in told and "bits_per_byte" in told
    assert Path(f"out/{LANGUAGE_MODEL}-bits_per_byte.png").read_bytes().startswith(b"\x89PNG")
    assert cli.call(["compare", LANGUAGE_MODEL, CLASSIFIER]) == 1
    assert "of 2 tasks (classification, language_modelling)" in capsys.readouterr().err
    assert cli.call(["compare", LANGUAGE_MODEL, "--metric", "charm"]) == 1
    assert "has no metric 'charm'" in capsys.readouterr().err
