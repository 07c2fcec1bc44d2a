"""`langmill new`: what it writes, what it refuses, and names and paths that YAML or DVC would misread."""

import gzip
import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml as read_as_dvc

from langmill.cli import call
from langmill.cli.new.choices import fitting_length, task_of
from langmill.cli.new.graph_file import add_line
from langmill.config.compose import available, compose_corpus, compose_recipe
from langmill.stages.compose import require_composed
from langmill.stages.recipe_checks import check_recipe
from tests.pipeline.workspace import KEPT, keep

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[4]
NEIGHBOURS = (*KEPT, "shakespeare", "smollm2")


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """The shipped settings, and the graph with a few of its lines: each command reads all of it several times."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    keep(tmp_path / "dvc.yaml", NEIGHBOURS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def variables(workspace: Path, read=yaml.safe_load) -> dict[str, dict[str, dict[str, str]]]:
    """The groups of names in dvc.yaml."""
    return {key: value for entry in read((workspace / "dvc.yaml").read_text())["vars"] for key, value in entry.items()}


def test_corpus_and_recipes_begin_with_files_that_compose(workspace, capsys):
    (workspace / "mine").mkdir()
    with gzip.open(workspace / "mine" / "a.jsonl.gz", "wt") as file:
        for number in range(3):
            file.write(json.dumps({"id": number, "Body": "some longer text here", "topic": "x"}) + "\n")
    before = variables(workspace)
    assert call(["new", "corpus", "mine", "--from", "mine"]) == 0
    out = capsys.readouterr().out
    assert "The text is Body (its name, words); the label is topic (its name, 1 value); the id is id" in out
    assert "1 .jsonl.gz" in out and "Body: some longer text here | topic: x | id: 0" in out
    corpus = compose_corpus("mine")
    assert (corpus.source.path, corpus.fields.text, corpus.fields.label) == ("mine", "Body", "topic")
    assert corpus.fields.metadata == ["id"]
    base = yaml.safe_load((workspace / "conf" / "corpus" / "base.yaml").read_text())
    assert (corpus.split.validation, corpus.split.test) == (0.2, 0.2)  # of three rows; the base's twentieth is of many
    assert corpus.cleaning.options["length"] == base["cleaning"]["options"]["length"]

    assert call(["new", "recipe", "mine-lm", "--corpus", "mine"]) == 0
    assert (
        call(["new", "recipe", "mine-topic", "--corpus", "mine", "--task", "classification", "--base", "mine-lm"]) == 0
    )
    lm, topic = compose_recipe("mine-lm"), compose_recipe("mine-topic")
    assert (lm.tokenizer.name, lm.training.base, lm.task.name) == ("mine", None, "language_modelling")
    assert (topic.tokenizer.name, topic.training.base, topic.gate.metric) == ("mine", "mine-lm", "accuracy")

    after = variables(workspace)
    assert after["corpora"] == {**before["corpora"], "mine": {"source": "mine"}}
    assert after["tokenizers"] == {**before["tokenizers"], "mine": {"corpus": "mine"}}
    assert after["from_scratch"] == {**before["from_scratch"], "mine-lm": {"corpus": "mine", "tokenizer": "mine"}}
    assert after["recipes"]["mine-topic"] == {"corpus": "mine", "tokenizer": "mine", "base": "mine-lm"}
    text = (workspace / "dvc.yaml").read_text()
    assert "# The graph: which step follows which" in text
    compared = [f"build/evaluation/{name}/metrics.json" for name in ("mine-lm", "mine-topic")]
    assert yaml.safe_load(text)["metrics"][-2:] == compared


@pytest.mark.parametrize("base", ["minilm", "gpt2-small"])
def test_a_recipe_can_start_from_a_pretrained_model(workspace, base):
    path = workspace / "dvc.yaml"
    path.write_text(path.read_text().replace("# gpt2-small: {source", "gpt2-small: {source"))
    assert call(["new", "recipe", "mine", "--corpus", "reviews", "--task", "classification", "--base", base]) == 0
    recipe = compose_recipe("mine")
    assert (recipe.tokenizer.name, recipe.training.base, recipe.model.architecture) == (base, base, "pretrained")
    assert recipe.model.options["tuning"] == ("full" if base == "minilm" else "lora")  # GPT-2 has 124 million weights
    assert recipe.training.optimizer.matrix_learning_rate < 1e-3
    after = variables(workspace)
    assert after["fine_tuned"]["mine"] == {"corpus": "reviews", "tokenizer": base, "base": base}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["corpus", "reviews"], "conf/corpus/reviews.yaml exists; choose another name"),
        (["corpus", "base"], "conf/corpus/base.yaml exists; choose another name"),
        (["corpus", "My Corpus"], "My Corpus can't be a name; allowed are lower-case letters, digits"),
        (["corpus", "x", "--from", "gone.csv"], "gone.csv does not exist"),
        (["corpus", "x", "--from", "conf/corpus"], "conf/corpus holds no file that can be read; readable are"),
        (["recipe", "sentiment", "--corpus", "reviews"], "conf/recipe/sentiment.yaml exists"),
        (["recipe", "x", "--corpus", "gone"], "There is no corpus gone (conf/corpus/gone.yaml is missing)"),
        (["recipe", "x", "--corpus", "review"], "Did you mean reviews?"),
        (
            ["recipe", "x", "--corpus", "reviews", "--task", "gone"],
            "There is no conf/task/gone.yaml; there are: chat, ",
        ),
        (["recipe", "x", "--corpus", "reviews", "--base", "gone"], "There is no base gone"),
        (
            ["recipe", "x", "--corpus", "reviews", "--base", "gpt2-small"],
            "'gpt2-small', which has no line there; allowed",
        ),
    ],
)
def test_refusals_leave_nothing_behind(workspace, arguments, sentence, capsys):
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert call(["new", *arguments]) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before


def test_a_name_that_stands_in_the_graph_alone_is_refused_too(workspace, capsys):
    path = workspace / "dvc.yaml"
    path.write_text(add_line(path.read_text(), "corpora", "ghost", {"source": "ghost.csv"}))
    assert call(["new", "corpus", "ghost"]) == 1
    assert "dvc.yaml has a line ghost under corpora already" in capsys.readouterr().err


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


PAIRS = [
    {"text": f"A question, the {number}th of them all", "target": "An answer", "label": "x", "rejected": "Another"}
    for number in range(4)
]
AWKWARD = ["a: b", "${a}", "a\nb", "no", "1e5", "# a", "'", '"', "[a", "é ü", "a\tb", " a", "0123", "*a", "$(a)"]


CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def test_a_corpus_of_conversations_and_a_recipe_that_chats(workspace, capsys):
    write_rows(workspace / "chats.jsonl", [CHAT] * 3)
    assert call(["new", "corpus", "mine", "--from", "chats.jsonl"]) == 0
    assert "format messages" in capsys.readouterr().out
    corpus = compose_corpus("mine")
    assert (corpus.format.name, corpus.fields.text, corpus.fields.target) == ("messages", "question", "answer")
    assert corpus.split.by == "opening" and {"history", "system"} <= set(corpus.fields.metadata)
    assert call(["new", "recipe", "mine-chat", "--corpus", "mine", "--task", "chat"]) == 0
    recipe = compose_recipe("mine-chat")
    assert recipe.task.name == "chat" and recipe.task.options["length"] == recipe.training.block_length == 256
    assert recipe.tokenizer.special_tokens == ["<|im_start|>", "<|im_end|>"]


@pytest.mark.parametrize(
    ("task", "length"),
    [
        ("chat", 256),
        ("preferences", 256),
        ("question_answering", 512),
        ("classification", None),
        ("text_to_text", None),
    ],
)
def test_a_sequence_has_room_for_the_longest_prompt_and_an_answer(workspace, task, length):
    assert fitting_length(task_of(task)[1]) == length


CHOSEN = {"prompt": "q", "chosen": "a", "rejected": "b"}
ALPACA = {"instruction": "Say hello", "input": "", "output": "Hello"}
SILENT = {"messages": [CHAT["messages"][0], {"role": "assistant", "content": ""}]}
BACKWARDS = {"messages": CHAT["messages"][::-1]}


@pytest.mark.parametrize(
    ("files", "warned", "next_"),
    [
        ({"a.jsonl": [CHAT] * 9 + [SILENT]}, "1 of the first 10 rows of mine has no answer", "--task chat"),
        ({"a.jsonl": [BACKWARDS] * 3}, "none of the first 3 rows of mine can be used (unexpected shape: 3)", ""),
        ({"a.jsonl": [CHAT] * 3 + [BACKWARDS]}, "1 of the first 4 rows of mine can't be used", "--task chat"),
        ({"a.jsonl": [CHOSEN]}, "", "--task preferences --base BASE"),
        ({"a.jsonl": [{"text": "some text here", "label": "x"}]}, "", "--task classification"),
        ({"a.jsonl": [{"text": "some text here"}]}, "", "--corpus mine"),
    ],
)
def test_a_new_corpus_says_what_is_wrong_with_its_rows_and_what_fits_them(workspace, files, warned, next_, capsys):
    (workspace / "mine").mkdir()
    for name, rows in files.items():
        write_rows(workspace / "mine" / name, rows)
    assert call(["new", "corpus", "mine", "--from", "mine"]) == 0
    out, err = capsys.readouterr()
    assert warned in err and out.splitlines()[-1].endswith(next_)
    if not warned:
        assert "rows of mine" not in err and "shapes" not in err


@pytest.mark.parametrize(("rows", "share"), [(399, 0.2), (799, 0.1), (800, 0.05)])
def test_of_a_small_corpus_more_is_held_out(workspace, rows, share):
    write_rows(workspace / "chats.jsonl", [CHAT] * rows)
    assert call(["new", "corpus", "mine", "--from", "chats.jsonl"]) == 0
    split = compose_corpus("mine").split
    assert (split.validation, split.test, split.by) == (share, share, "opening")


@pytest.mark.parametrize("header", AWKWARD)
def test_awkward_headers_are_quoted(workspace, header):
    rows = [{"x": 1, header: "some longer text here", f"{header}2": "y"}] * 2
    write_rows(workspace / "a.jsonl", rows)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    assert compose_corpus("mine").fields.text == header


@pytest.mark.parametrize("path", [each for each in AWKWARD if "${" not in each])
def test_awkward_paths_are_quoted_in_both_files_and_for_dvc(workspace, path, monkeypatch):
    write_rows(workspace / f"{path}.jsonl", PAIRS)
    (workspace / path).mkdir()
    write_rows(workspace / path / "a.jsonl", PAIRS)
    for name, given in (("mine", f"{path}.jsonl"), ("folder", path)):
        assert call(["new", "corpus", name, "--from", given]) == 0
        assert compose_corpus(name).source.path == given
        for read in (yaml.safe_load, lambda text: read_as_dvc(text, "dvc.yaml")):
            assert variables(workspace, read)["corpora"][name] == {"source": given}
    assert call(["new", "recipe", "mine-lm", "--corpus", "mine"]) == 0
    assert compose_recipe("mine-lm").corpus.source.path == f"{path}.jsonl"


def test_dvc_watches_awkward_paths(workspace):
    from dvc.repo import Repo

    (workspace / ".dvc").mkdir()
    (workspace / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    paths = [f"{path}.jsonl" for path in AWKWARD if "${" not in path]
    for number, path in enumerate(paths):
        write_rows(workspace / path, PAIRS)
        assert call(["new", "corpus", f"c{number}", "--from", path]) == 0
    stages = {stage.addressing: stage for stage in Repo(str(workspace)).index.stages}
    for number, path in enumerate(paths):
        assert str(workspace / path) in {dep.fs_path for dep in stages[f"fetch@c{number}"].deps}
    words = shlex.split(stages["compose"].cmd[1])  # the shell's view of the line that names every path
    assert words[0] == "true"
    assert set(paths) <= set(words)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("${a}.jsonl", "a path without `${`, which DVC takes"), ("\udcff.jsonl", "is not UTF-8; rename")],
)
def test_paths_that_dvc_cannot_hold_are_refused_and_leave_nothing(workspace, path, sentence, capsys):
    write_rows(workspace / path, PAIRS)
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert call(["new", "corpus", "mine", "--from", path]) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["1e5", "true", "123", "no", "null", "0x1f", "2024-01-01"])
@pytest.mark.parametrize("command", [["corpus"], ["recipe", "--corpus", "reviews"]])
def test_names_that_yaml_takes_for_something_else_are_refused(workspace, name, command, capsys):
    assert call(["new", command[0], name, *command[1:]]) == 1
    assert f"{name!r} can't be a name; allowed are lower-case letters" in capsys.readouterr().err


def test_a_tokenizer_gets_a_name_as_well(workspace, capsys):
    assert call(["new", "recipe", "mine", "--corpus", "reviews", "--tokenizer", "../no"]) == 1
    assert "../no can't be a name" in capsys.readouterr().err


@pytest.fixture
def pairs(workspace) -> Path:
    """A corpus `mine` with a text, a label and a target in each row."""
    write_rows(workspace / "a.jsonl", PAIRS)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    path = workspace / "conf" / "corpus" / "mine.yaml"
    path.write_text(path.read_text().replace("fields:\n", "fields:\n  metadata: [rejected]\n"))
    return workspace


FROM_SCRATCH = [task for task in available("task", ROOT / "conf") if task != "preferences"]


@pytest.mark.parametrize("task", FROM_SCRATCH)
def test_every_task_gets_a_network_that_can_learn_it_and_prompts_of_the_corpus(pairs, task):
    assert call(["new", "recipe", "mine", "--corpus", "mine", "--task", task]) == 0
    recipe = compose_recipe("mine")
    check_recipe(recipe, "conf/recipe/mine.yaml")
    require_composed(["mine"])
    assert recipe.training.samples
    assert all("question" in prompt or prompt.startswith("A ") for prompt in recipe.training.samples)
    assert recipe.model.architecture == {
        "text_to_text": "encoder_decoder", "masked_language_modelling": "encoder",
    }.get(task, "decoder")  # fmt: skip
    masked = task == "masked_language_modelling"
    turns = ["<|im_start|>", "<|im_end|>"]
    special = {"masked_language_modelling": ["<|mask|>"], "chat": turns, "question_answering": turns}
    assert recipe.tokenizer.special_tokens == special.get(task, [])
    assert all(("<|mask|>" in prompt) == masked for prompt in recipe.training.samples)
    assert read_as_dvc((pairs / "dvc.yaml").read_text(), "dvc.yaml")


def test_a_small_corpus_gets_a_small_recipe_and_a_warning(workspace, capsys):
    rows = [{"text": f"A short letter, the {number}th of all that came in."} for number in range(140)]
    write_rows(workspace / "a.jsonl", rows)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    warning = capsys.readouterr().err
    for fact in ("about 28 test documents", "min_documents asks for 30", "about 2 are missing", "at least 0.28 "):
        assert fact in warning
    assert call(["new", "recipe", "mine", "--corpus", "mine"]) == 0
    assert "about 2 are missing" in capsys.readouterr().err
    recipe = compose_recipe("mine")
    assert (recipe.tokenizer.vocab_size, recipe.training.steps) == (512, 50)
    assert recipe.training.optimizer.warmup_steps == recipe.training.validate_every == 10


def test_a_corpus_that_has_been_cleaned_is_judged_by_its_counts(workspace, capsys):
    write_rows(workspace / "a.jsonl", [{"text": f"letter {number} of many"} for number in range(20)])
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    capsys.readouterr()
    split = {"documents": 300, "characters": 500_000}
    report = {"splits": {"train": split, "validation": split, "test": {"documents": 29, "characters": 9_000}}}
    path = workspace / "build" / "documents" / "mine" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(report))
    assert call(["new", "recipe", "mine", "--corpus", "mine"]) == 0
    assert "has 29 test documents" in (warning := capsys.readouterr().err)
    assert "so 1 is missing" in warning
    assert compose_recipe("mine").tokenizer.vocab_size == 1984  # 1,009,000 characters
    path.write_text(json.dumps(report | {"splits": report["splits"] | {"test": split}}))
    assert call(["new", "recipe", "other", "--corpus", "mine"]) == 0
    assert capsys.readouterr().err == ""


def test_prompts_with_references_and_new_lines_are_texts(workspace):
    write_rows(workspace / "a.jsonl", [{"text": "${a}: 'b'\n\"c\" # d"}, {"text": "no"}])
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    assert call(["new", "recipe", "mine", "--corpus", "mine"]) == 0
    assert compose_recipe("mine").training.samples == ["${a}: 'b' \"c\"", "no"]


def test_a_corpus_that_is_not_here_gives_no_prompts(workspace):
    assert call(["new", "recipe", "mine", "--corpus", "shakespeare"]) == 0
    assert compose_recipe("mine").training.samples == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "classification"], "conf/corpus/mine.yaml: fields.label is null, but the task classification of"),
        (["--task", "text_to_text"], "fields.target is null, but the task text_to_text of"),
        (["--task", "preferences", "--base", "smollm2"], "fields.target is null, but the task preferences of"),
        (["--task", "masked_language_modelling", "--tokenizer", "reviews"], "needs the special token <|mask|>, which"),
        (["--task", "text_to_text", "--base", "reviews-lm"], "goes on with a text (causal), which the task"),
        (["--base", "reviews-lm", "--tokenizer", "mine"], "but its base reviews-lm was made with 'reviews'"),
    ],
)
def test_a_recipe_that_cannot_be_made_is_taken_back(workspace, arguments, sentence, capsys):
    assert call(["new", "corpus", "mine"]) == 0
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert call(["new", "recipe", "x", "--corpus", "mine", *arguments]) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before


def test_a_classifier_of_rows_without_labels_is_warned_of(workspace, capsys):
    write_rows(workspace / "a.jsonl", [{"text": "some longer text here", "label": None}] * 3)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl", "--label", "label"]) == 0
    assert call(["new", "recipe", "mine", "--corpus", "mine", "--task", "classification"]) == 0
    assert "Warning: none of the first 3 rows of mine has a label in label" in capsys.readouterr().err
    write_rows(workspace / "a.jsonl", [{"text": f"some longer text {n}", "label": "x" * n or None} for n in range(3)])
    assert call(["new", "recipe", "other", "--corpus", "mine", "--task", "classification"]) == 0
    assert "Warning: only 2 of the first 3 rows of mine have a label in label" in capsys.readouterr().err


def test_an_interruption_takes_back_what_was_written(workspace, monkeypatch):
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}

    def interrupted(*_: object) -> None:
        assert Path("conf/corpus/mine.yaml").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("langmill.stages.compose.require_composed", interrupted)
    assert call(["new", "corpus", "mine"]) == 130
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before
