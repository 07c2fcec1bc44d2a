"""`langmill new recipe --base`: what is written for a pretrained model, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml as read_as_dvc

from langmill.cli import call
from langmill.config.compose import compose_recipe
from langmill.errors import ConfigError
from langmill.models.huggingface.settings import Tuning
from langmill.stages.compose import checked_recipe, require_composed
from tests.pipeline.workspace import keep
from tests.refused import refused
from tests.unit.cli.new.test_commands import NEIGHBOURS, ROOT, variables, write_rows

pytestmark = pytest.mark.unit
ROWS = [
    {"text": f"The {number}th question", "target": "An answer", "rejected": "Another", "label": "xy"[number % 2]}
    for number in range(2000)
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped settings, a few lines of the graph, and a corpus `mine`: rows of a text, a label and a target."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    keep(tmp_path / "dvc.yaml", NEIGHBOURS)
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", ROWS)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    path = tmp_path / "conf" / "corpus" / "mine.yaml"
    path.write_text(path.read_text().replace("fields:\n", "fields:\n  metadata: [rejected]\n"))
    return tmp_path


@pytest.mark.parametrize(
    "task", ["chat", "completion", "language_modelling", "classification", "preferences", "question_answering"]
)
def test_an_assistant_learns_any_task_of_a_causal_network(task: str, workspace: Path) -> None:
    assert call(["new", "recipe", "mine", "--corpus", "mine", "--task", task, "--base", "smollm2"]) == 0
    recipe = compose_recipe("mine")
    require_composed(["mine"])
    assert (recipe.tokenizer.name, recipe.training.base, recipe.model.architecture) == (
        "smollm2", "smollm2", "pretrained",
    )  # fmt: skip
    assert recipe.model.options["kind"] == "auto"
    assert (recipe.model.options["tuning"], recipe.model.options["lora"]["targets"]) == ("lora", ["all-linear"])
    training = recipe.training
    length = 512 if task == "question_answering" else 256
    assert (training.block_length, training.batch_size, training.micro_batch_size) == (length, 8, 8)
    operations = 6 * 134_515_008 * length * 8  # of a step
    assert 50 <= training.steps <= max(50, 1e14 / operations)  # for a corpus that is not small
    assert training.optimizer.warmup_steps <= training.steps // 5
    assert training.optimizer.matrix_learning_rate == 5e-4
    assert variables(workspace)["fine_tuned"]["mine"] == {"corpus": "mine", "tokenizer": "smollm2", "base": "smollm2"}
    assert read_as_dvc((workspace / "dvc.yaml").read_text(), "dvc.yaml")


@pytest.mark.parametrize("tuning", list(Tuning))
@pytest.mark.parametrize("base", ["smollm2", "minilm"])
def test_the_weights_that_are_trained_can_be_chosen(tuning: Tuning, base: str, workspace: Path) -> None:
    given = ["--task", "classification", "--base", base, "--tuning", tuning.value]
    assert call(["new", "recipe", "mine", "--corpus", "mine", *given]) == 0
    recipe = compose_recipe("mine")
    assert recipe.model.options["tuning"] == tuning.value
    targets = ["query", "key", "value", "dense"] if base == "minilm" else ["all-linear"]
    assert recipe.model.options["lora"]["targets"] == targets
    assert recipe.training.optimizer.matrix_learning_rate == (5e-4 if tuning is Tuning.lora else 4e-5)


def test_a_model_made_from_a_pretrained_one_is_a_base_as_well(workspace: Path) -> None:
    given = ["--corpus", "mine", "--task", "chat"]
    assert call(["new", "recipe", "first", *given, "--base", "smollm2"]) == 0
    for name, tuning in (("second", []), ("third", ["--tuning", "full"])):
        assert call(["new", "recipe", name, *given, "--base", "first", *tuning]) == 0
        recipe = compose_recipe(name)
        assert (recipe.training.base, recipe.tokenizer.name) == ("first", "smollm2")
        assert recipe.model.options["tuning"] == ("full" if tuning else "lora")
        assert recipe.training.optimizer.matrix_learning_rate < 1e-3  # what is known is kept


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--base", "smolm2"], ("There is no base smolm2", "Did you mean smollm2?", "langmill new pretrained")),
        (
            ["--base", "smollm2", "--task", "text_to_text"],
            ("smollm2", "causal", "text_to_text", "chat, classification, completion, language_modelling, preferences"),
        ),
        (["--base", "minilm", "--task", "chat"], ("minilm", "bidirectional", "it can learn: classification.")),
        (["--base", "minilm", "--task", "masked_language_modelling"], ("minilm", "it can learn: classification.")),
        (["--base", "reviews-lm", "--tuning", "lora"], ("reviews-lm is no pretrained model",)),
        (["--tuning", "lora"], ("--base",)),
        (["--task", "chat", "--base", "smollm2", "--tuning", "head"], ("--tuning head", "chat", "lora or full")),
        (["--base", "smollm2", "--tokenizer", "reviews"], ("'reviews'", "smollm2")),
        (["--task", "preferences"], ("preferences", "--base", "smollm2")),
        (["--task", "chatt", "--base", "smollm2"], ("Did you mean chat?",)),
    ],
)
def test_what_can_not_be_leaves_nothing_behind(
    given: list[str], told: tuple[str, ...], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert call(["new", "recipe", "x", "--corpus", "mine", *given]) in (1, 2)
    error = capsys.readouterr().err
    assert all(words in error for words in told), error
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before


def test_pairs_to_prefer_between_are_asked_for_at_once(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A chat's corpus has a history, and no second answer: nothing is written, and not `encode` but `new` says so."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    write_rows(workspace / "chats.jsonl", [{"messages": messages}] * 3)
    assert call(["new", "corpus", "chats", "--from", "chats.jsonl"]) == 0
    capsys.readouterr()
    given = ["new", "recipe", "x", "--corpus", "chats", "--task", "preferences", "--base", "smollm2"]
    assert call(given) == 2
    told = capsys.readouterr().err
    assert all(words in told for words in ("conf/corpus/chats.yaml", "fields.metadata", "rejected"))
    assert not Path("conf/recipe/x.yaml").exists()


def test_documents_are_not_selected_by_a_field_that_none_has(workspace: Path) -> None:
    given = ["--corpus", "mine", "--task", "chat", "--base", "smollm2"]
    assert call(["new", "recipe", "x", *given]) == 0
    checked_recipe("x", ["+task.options.only.rejected=[Another]"])
    with refused(ConfigError, "unknown", "task.options.only", "kind", "rejected"):
        checked_recipe("x", ["+task.options.only.kind=[a]"])
