"""Settings of before that moved to another section are read where they stand, with a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.config.compose import compose_recipe
from langmill.config.moved import split_options
from langmill.files import write_text

pytestmark = pytest.mark.unit
CONF = Path(__file__).parents[3] / "conf"
OLD_TASK = """
name: completion
options:
  metrics: [chrf, exact_match]
  template: "{text}"
  turn: ""
  prompt_length: 32
  cut: tail
  writing:
    max_new_tokens: 24
    num_beams: 3
    length_penalty: 1.0
    repetition_penalty: 1.0
  only: {}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def test_a_task_file_of_before_is_read_with_a_sentence(conf: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_text(conf / "task" / "completion.yaml", OLD_TASK)
    path = conf / "recipe" / "questions.yaml"
    path.write_text(path.read_text().replace("scoring:\n  options:\n", "").replace("    decoding:\n", "    writing:\n"))
    recipe = compose_recipe("questions", conf=conf)
    assert "metrics" not in recipe.task.options and recipe.task.options["prompt_length"] == 224
    assert recipe.scoring.options["metrics"] == ["squad_f1", "squad_exact_match"]
    assert "task.options.writing is scoring.options.decoding now." in caplog.text
    decoding = recipe.scoring.options["decoding"]
    assert (decoding["temperature"], decoding["num_beams"]) == (0.0, 3)


def test_a_recipe_of_before_counts_more_than_the_files_of_today(conf: Path) -> None:
    path = conf / "recipe" / "catalogs-en-de.yaml"
    text = path.read_text().replace("scoring:\n  options:\n", "").replace("    decoding:\n", "    writing:\n")
    path.write_text(text.replace("      keep_placeholders: true\n", "    keep_placeholders: true\n"))
    assert compose_recipe("catalogs-en-de", conf=conf) == compose_recipe("catalogs-en-de", conf=CONF)


def test_options_of_a_model_of_before_are_parted() -> None:
    kept, scoring = split_options({"mask_share": 0.2, "score_length": 64})
    assert (kept, scoring) == ({"mask_share": 0.2}, {"mask_share": 0.2, "score_length": 64})
    assert split_options({"mask_share": 0.2}) == ({"mask_share": 0.2}, {})
    kept, scoring = split_options({"keep_placeholders": True, "writing": {"num_beams": 4}, "only": {}})
    assert kept == {"only": {}}
    assert scoring == {"decoding": {"temperature": 0.0, "num_beams": 4, "keep_placeholders": True}}
