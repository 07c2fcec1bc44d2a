"""`langmill new`: files, lines, guesses, refusals."""

import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from langmill.cli import call
from langmill.cli.new import add_line, guess_fields
from langmill.config.compose import compose_corpus, compose_recipe
from langmill.errors import ConfigError, LangmillError

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """The shipped settings and graph."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


GRAPH = """\
# A comment at the top.
vars:
  - corpora:   # what there is
      # About one.
      one: {source: a.csv}

    tokenizers: {}
    from_scratch: &from_scratch
      lm: {corpus: one, tokenizer: one}
      # larger: {corpus: one, tokenizer: one}
    fine_tuned: &fine_tuned {}   # none yet
    recipes:
      <<: [*from_scratch, *fine_tuned]
stages:
  compose:
    cmd: python -m x   # kept
"""


def test_a_line_is_added_and_everything_else_stays():
    lines = GRAPH.splitlines()
    added = add_line(GRAPH, "corpora", "two", {"source": "data/two words.csv"}).splitlines()
    assert added == [*lines[:5], '      two: {source: "data/two words.csv"}', *lines[5:]]
    added = add_line(GRAPH, "from_scratch", "other", {"corpus": "one", "tokenizer": "one"}).splitlines()
    assert added == [*lines[:9], "      other: {corpus: one, tokenizer: one}", *lines[9:]]
    added = add_line(GRAPH, "tokenizers", "one", {"corpus": "one"}).splitlines()
    assert added == [*lines[:6], "    tokenizers:", "      one: {corpus: one}", *lines[7:]]
    added = add_line(GRAPH, "fine_tuned", "x", {"corpus": "one", "tokenizer": "one", "base": "lm"})
    assert yaml.safe_load(added)["vars"][0]["recipes"]["x"]["base"] == "lm"
    assert "# none yet" in added


@pytest.mark.parametrize("text", ["vars:\n  - corpora: {one: {source: a}}\n", "vars:\n  - other: {}\n"])
def test_a_graph_in_another_form_is_left_alone_with_the_line_to_write(text):
    with pytest.raises(ConfigError, match=r"write under it: two: \{source: b\.csv\}"):
        add_line(text, "corpora", "two", {"source": "b.csv"})


def test_corpus_and_recipes_begin_with_files_that_compose(workspace, capsys):
    (workspace / "mine").mkdir()
    with gzip.open(workspace / "mine" / "a.jsonl.gz", "wt") as file:
        for number in range(3):
            file.write(json.dumps({"id": number, "Body": "some longer text here", "topic": "x"}) + "\n")
    before = yaml.safe_load((workspace / "dvc.yaml").read_text())["vars"][0]
    assert call(["new", "corpus", "mine", "--from", "mine"]) == 0
    out = capsys.readouterr().out
    assert "Guessed: the text is in 'Body', the label in 'topic'. Look at conf/corpus/mine.yaml." in out
    corpus = compose_corpus("mine")
    assert (corpus.source.path, corpus.fields.text, corpus.fields.label) == ("mine", "Body", "topic")

    assert call(["new", "recipe", "mine-lm", "--corpus", "mine"]) == 0
    assert (
        call(["new", "recipe", "mine-topic", "--corpus", "mine", "--task", "classification", "--base", "mine-lm"]) == 0
    )
    lm, topic = compose_recipe("mine-lm"), compose_recipe("mine-topic")
    assert (lm.tokenizer.name, lm.training.base, lm.task.name) == ("mine", None, "language_modelling")
    assert (topic.tokenizer.name, topic.training.base, topic.gate.metric) == ("mine", "mine-lm", "accuracy")

    after = yaml.safe_load((workspace / "dvc.yaml").read_text())["vars"][0]
    assert after["corpora"] == {**before["corpora"], "mine": {"source": "mine"}}
    assert after["tokenizers"] == {**before["tokenizers"], "mine": {"corpus": "mine"}}
    assert after["from_scratch"] == {**before["from_scratch"], "mine-lm": {"corpus": "mine", "tokenizer": "mine"}}
    assert after["recipes"]["mine-topic"] == {"corpus": "mine", "tokenizer": "mine", "base": "mine-lm"}
    assert "# The graph: which step follows which" in (workspace / "dvc.yaml").read_text()


@pytest.mark.parametrize("base", ["minilm", "gpt2-small"])
def test_a_recipe_can_start_from_a_pretrained_model(workspace, base):
    assert call(["new", "recipe", "mine", "--corpus", "reviews", "--task", "classification", "--base", base]) == 0
    recipe = compose_recipe("mine")
    assert (recipe.tokenizer.name, recipe.training.base, recipe.model.architecture) == (base, base, "pretrained")
    assert recipe.training.optimizer.matrix_learning_rate < 1e-4
    after = yaml.safe_load((workspace / "dvc.yaml").read_text())["vars"][0]
    assert after["fine_tuned"]["mine"] == {"corpus": "reviews", "tokenizer": base, "base": base}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["corpus", "reviews"], "conf/corpus/reviews.yaml exists; choose another name"),
        (["corpus", "My Corpus"], "'My Corpus' can't be a name; allowed are lower-case letters, digits"),
        (["corpus", "x", "--from", "gone.csv"], "gone.csv does not exist"),
        (["corpus", "x", "--from", "conf/corpus"], "conf/corpus holds no file that can be read; readable are"),
        (["recipe", "sentiment", "--corpus", "reviews"], "conf/recipe/sentiment.yaml exists"),
        (["recipe", "x", "--corpus", "gone"], "There is no corpus named 'gone'"),
        (
            ["recipe", "x", "--corpus", "reviews", "--task", "gone"],
            "There is no conf/task/gone.yaml; there are: chat, ",
        ),
        (["recipe", "x", "--corpus", "reviews", "--base", "gone"], "There is no recipe named 'gone'"),
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


def test_fields_are_guessed_from_each_kind_of_file(tmp_path):
    table = {"n": [1, 2], "words": ["a long piece of text", "another long piece of text"], "code": ["a", "b"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert guess_fields(tmp_path / "a.parquet") == ({"text": "words", "label": None}, ["n", "code"])
    (tmp_path / "b.csv").write_text("label,text\npos,hello\n")
    assert guess_fields(tmp_path / "b.csv") == ({"text": "text", "label": "label"}, [])
    (tmp_path / "c.txt").write_text("hello")
    assert guess_fields(tmp_path / "c.txt") == ({"text": "text", "label": None}, [])
    (tmp_path / "d.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(LangmillError, match=r"no field with text in its first rows; known are n"):
        guess_fields(tmp_path / "d.jsonl")
