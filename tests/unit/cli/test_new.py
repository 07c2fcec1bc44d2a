"""`langmill new`: files, lines, guesses, refusals."""

import gzip
import io
import json
import pickle
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from dvc.utils.serialize import parse_yaml as read_as_dvc

from langmill.cli import call
from langmill.cli.new.graph_file import add_line
from langmill.cli.new.guesses import guess_fields
from langmill.config.compose import available, compose_corpus, compose_recipe
from langmill.errors import ConfigError, LangmillError
from langmill.stages.compose import check_recipe, require_composed

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """The shipped settings and graph."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def variables(workspace: Path, read=yaml.safe_load) -> dict[str, dict[str, dict[str, str]]]:
    """The groups of names in dvc.yaml."""
    return {key: value for entry in read((workspace / "dvc.yaml").read_text())["vars"] for key, value in entry.items()}


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
    assert add_line(GRAPH, "corpora", "two", {"source": "no"}).splitlines()[5] == '      two: {source: "no"}'
    added = add_line(GRAPH, "from_scratch", "other", {"corpus": "one", "tokenizer": "one"}).splitlines()
    assert added == [*lines[:9], "      other: {corpus: one, tokenizer: one}", *lines[9:]]
    added = add_line(GRAPH, "tokenizers", "one", {"corpus": "one"}).splitlines()
    assert added == [*lines[:6], "    tokenizers:", "      one: {corpus: one}", *lines[7:]]
    added = add_line(GRAPH, "fine_tuned", "x", {"corpus": "one", "tokenizer": "one", "base": "lm"})
    assert yaml.safe_load(added)["vars"][0]["recipes"]["x"]["base"] == "lm"
    assert "# none yet" in added


@pytest.mark.parametrize("group", ["corpora", "tokenizers", "pretrained", "from_scratch", "fine_tuned"])
def test_the_shipped_graph_keeps_every_byte_beside_the_line(group):
    """The line comes after the group's last one, before the comments that end the group."""
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    added = add_line(text, group, "mine", {"corpus": "reviews"})
    assert added.count("      mine: {corpus: reviews}\n") == 1
    assert added.replace("      mine: {corpus: reviews}\n", "") == text
    known = list(
        {key: value for entry in read_as_dvc(added, "dvc.yaml")["vars"] for key, value in entry.items()}[group]
    )
    assert known[-1] == "mine"
    before, _, after = added.partition("      mine: {corpus: reviews}\n")
    assert before.splitlines()[-1].startswith(f"      {known[-2]}: ")
    assert after


@pytest.mark.parametrize(
    ("text", "added"),
    [
        (
            "vars:\n- corpora:\n    one: {source: a}",
            'vars:\n- corpora:\n    one: {source: a}\n    two: {source: "b"}\n',
        ),
        (
            "vars:\n  - corpora:\n      one: {source: a,\n            x:  1} # b\n      # c\nx:   y\n",
            "vars:\n  - corpora:\n      one: {source: a,\n            x:  1} # b\n"
            '      two: {source: "b"}\n      # c\nx:   y\n',
        ),
        (
            "vars:\n  - corpora:\n      one:\n        source: a   # b\n\n      # c\n",
            'vars:\n  - corpora:\n      one:\n        source: a   # b\n      two: {source: "b"}\n\n      # c\n',
        ),
        ("vars:\n  - corpora:   # none yet\n", 'vars:\n  - corpora:   # none yet\n      two: {source: "b"}\n'),
    ],
)
def test_a_graph_in_a_form_of_its_own_keeps_that_form(text, added):
    assert add_line(text, "corpora", "two", {"source": "b"}) == added


@pytest.mark.parametrize("text", ["vars:\n  - corpora: {one: {source: a}}\n", "vars:\n  - other: {}\n", "- 1", ""])
def test_a_graph_in_another_form_is_left_alone_with_the_line_to_write(text):
    with pytest.raises(ConfigError, match=r'write under it: two: \{source: "b\.csv"\}'):
        add_line(text, "corpora", "two", {"source": "b.csv"})


def test_corpus_and_recipes_begin_with_files_that_compose(workspace, capsys):
    (workspace / "mine").mkdir()
    with gzip.open(workspace / "mine" / "a.jsonl.gz", "wt") as file:
        for number in range(3):
            file.write(json.dumps({"id": number, "Body": "some longer text here", "topic": "x"}) + "\n")
    before = variables(workspace)
    assert call(["new", "corpus", "mine", "--from", "mine"]) == 0
    out = capsys.readouterr().out
    assert "Guessed: the text is in 'Body', the label in 'topic'. Look at conf/corpus/mine.yaml." in out
    corpus = compose_corpus("mine")
    assert (corpus.source.path, corpus.fields.text, corpus.fields.label) == ("mine", "Body", "topic")
    base = yaml.safe_load((workspace / "conf" / "corpus" / "base.yaml").read_text())
    assert corpus.split.test == base["split"]["test"]
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
    assert "# The graph: which step follows which" in (workspace / "dvc.yaml").read_text()


@pytest.mark.parametrize("base", ["minilm", "gpt2-small"])
def test_a_recipe_can_start_from_a_pretrained_model(workspace, base):
    path = workspace / "dvc.yaml"
    path.write_text(path.read_text().replace("# gpt2-small: {source", "gpt2-small: {source"))
    assert call(["new", "recipe", "mine", "--corpus", "reviews", "--task", "classification", "--base", base]) == 0
    recipe = compose_recipe("mine")
    assert (recipe.tokenizer.name, recipe.training.base, recipe.model.architecture) == (base, base, "pretrained")
    assert recipe.training.optimizer.matrix_learning_rate < 1e-4
    after = variables(workspace)
    assert after["fine_tuned"]["mine"] == {"corpus": "reviews", "tokenizer": base, "base": base}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["corpus", "reviews"], "conf/corpus/reviews.yaml exists; choose another name"),
        (["corpus", "base"], "conf/corpus/base.yaml exists; choose another name"),
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
    {"text": f"A question, the {number}th of them all", "target": "An answer", "label": "x"} for number in range(4)
]
AWKWARD = ["a: b", "${a}", "a\nb", "no", "1e5", "# a", "'", '"', "[a", "é ü", "a\tb", " a", "0123", "*a", "$(a)"]


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
    [("${a}.jsonl", "a path without `${`, which DVC takes"), ("\udcff.jsonl", "is not UTF-8, and YAML can't hold it")],
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
    assert "'../no' can't be a name" in capsys.readouterr().err


@pytest.fixture
def pairs(workspace) -> Path:
    """A corpus `mine` with a text, a label and a target in each row."""
    write_rows(workspace / "a.jsonl", PAIRS)
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    path = workspace / "conf" / "corpus" / "mine.yaml"
    path.write_text(path.read_text().replace("fields:\n", "fields:\n  target: target\n"))
    return workspace


@pytest.mark.parametrize("task", available("task", ROOT / "conf"))
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
    assert recipe.tokenizer.special_tokens == (["<|mask|>"] if masked else [])
    assert all(("<|mask|>" in prompt) == masked for prompt in recipe.training.samples)
    assert read_as_dvc((pairs / "dvc.yaml").read_text(), "dvc.yaml")


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
        (["--task", "masked_language_modelling", "--tokenizer", "reviews"], "needs the special token <|mask|>, which"),
        (["--task", "text_to_text", "--base", "reviews-lm"], "makes a network of the kind causal; the task"),
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
    assert call(["new", "corpus", "mine", "--from", "a.jsonl"]) == 0
    assert call(["new", "recipe", "mine", "--corpus", "mine", "--task", "classification"]) == 0
    assert "Warning: none of the first 3 rows of mine has a label in the field 'label'" in capsys.readouterr().err


def test_an_interruption_takes_back_what_was_written(workspace, monkeypatch):
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}

    def interrupted(*_: object) -> None:
        assert Path("conf/corpus/mine.yaml").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("langmill.stages.compose.require_composed", interrupted)
    assert call(["new", "corpus", "mine"]) == 130
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before


def test_fields_are_guessed_from_each_kind_of_file(tmp_path):
    table = {"n": [1, 2], "words": ["a long piece of text", "another long piece of text"], "code": ["a", "b"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert guess_fields(tmp_path / "a.parquet") == ({"text": "words", "label": None}, ["n", "code"])
    (tmp_path / "b.csv").write_text("label,text\npos,hello\n")
    assert guess_fields(tmp_path / "b.csv") == ({"text": "text", "label": "label"}, [])
    (tmp_path / "c.txt").write_text("hello")
    assert guess_fields(tmp_path / "c.txt") == ({"text": "text", "label": None}, [])
    (tmp_path / "d.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(LangmillError, match=r"no field with text in its first rows, only numbers; known are n"):
        guess_fields(tmp_path / "d.jsonl")


def parquet(table: dict[str, list[object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    return file.getvalue()


ROW = b'{"text": "a"}'
NASTY = {
    "empty": ("a.csv", b"", "The file is empty; get it again"),
    "white space": ("a.jsonl", b" \n\n", "holds white space only"),
    "Latin-1 header and rows": (
        "a.csv",
        "text,größe\nä,ö\n".encode("latin-1"),
        "is not in UTF-8: line 1 has the byte 0xf6",
    ),
    "Latin-1 lines": ("a.jsonl", '{"text": "é"}'.encode("latin-1"), "convert it with `iconv -f WINDOWS-1252"),
    "Latin-1 text": (
        "a.txt",
        "größe".encode("latin-1"),
        "has the byte 0xf6, so it is most likely Latin-1",
    ),
    "UTF-16 by its mark": (
        "a.csv",
        "text\na\n".encode("utf-16"),
        "is encoded in UTF-16; convert it to UTF-8 with `iconv -f UTF-16",
    ),
    "UTF-16 without a mark": ("a.txt", "some text".encode("utf-16-le"), "is encoded in UTF-16LE; convert it"),
    "UTF-32": ("a.json", "[]".encode("utf-32"), "is encoded in UTF-32; convert it"),
    "zero bytes": (
        "a.txt",
        b"some text\0\0\0 and more text that is not wide",
        "has NUL bytes, the first in line 1; take them out",
    ),
    "arrays in an array": ("a.json", b'[["a", 1], ["b", 2]]', "Row 1 is an array and not an object"),
    "arrays in lines": ("a.jsonl", b'["a", 1]\n["b", 2]\n', "Line 1 is an array and not an object"),
    "texts": ("a.json", b'["a", "b"]', "Row 1 is a text and not an object, so no field has a name; write {"),
    "numbers in lines": ("a.jsonl", b"1\n2\n", "Line 1 is a number and not an object"),
    "a trailing comma": ("a.json", b"[" + ROW + b",\n]", "has a comma after the last item, which JSON does not allow"),
    "commas between lines": ("a.jsonl", ROW + b",\n" + ROW + b",\n", "has a comma after the last item"),
    "single quotes": ("a.json", b"[{'text': 'a'}]", "Line 1 is in Python's notation and not JSON"),
    "single quotes in lines": ("a.jsonl", b"{'text': 'a'}\n", "write it with json.dumps"),
    "a comment": ("a.json", b"// rows\n[]", "Line 1 has a comment, which JSON does not allow"),
    "half a JSON file": ("a.json", b"[" + ROW + b",", "Line 1 is cut short; get the file again"),
    "other JSON": ("a.json", b"[{text: 1}]", "is not JSON (Expecting property name"),
    "JSON lines in .json": ("a.json", ROW + b"\n" + ROW, "which are JSON lines; rename it to .jsonl"),
    "JSON in .jsonl": (
        "a.jsonl",
        b"[\n" + ROW + b"\n]",
        "is one JSON array, but .jsonl wants an object a line; rename it to .json",
    ),
    "JSON in one line": (
        "a.jsonl",
        b"[" + ROW + b"]",
        "is one JSON array, but .jsonl wants an object a line; rename it to .json",
    ),
    "rows inside an object": ("a.json", b'{"data": [{"text": "a"}]}', "whose rows may be the list 'data'; write that"),
    "an object": ("a.json", ROW, "is one object and not an array of objects; write it as an array"),
    "an empty array": ("a.json", b"[]", "is an empty array"),
    "deep nesting": ("a.json", b"[" * 100_000, "is nested too deeply"),
    "an LFS pointer": (
        "a.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "is a Git LFS pointer and not",
    ),
    "an LFS pointer for Parquet": ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
    "a web page": ("a.json", b"<!DOCTYPE html>\n<html>", "is a web page, as a server sends it in place of the data"),
    "XML": ("a.csv", b"<?xml version='1.0'?>", "is XML, which is not read; convert it"),
    "a ZIP archive": ("a.csv", b"PK\x03\x04rest", "is a damaged zip archive; get it again and unpack it"),
    "a PDF": ("a.txt", b"%PDF-1.7", "is a PDF; take its text out"),
    "a pickle": ("a.json", pickle.dumps([1], protocol=4), "is a Python pickle, which could run code"),
    "gzip without its ending": (
        "a.csv",
        gzip.compress(b"text\na\n", mtime=0),
        "is compressed, which its name does not say; rename it",
    ),
    "no gzip in .gz": ("a.csv.gz", b"text\na\n", "is not compressed as its name says; get it again, or take .gz off"),
    "half of a .gz": (
        "a.csv.gz",
        gzip.compress(b"text\na\n" * 99, mtime=0)[:-12],
        "is damaged or cut short (Compressed file ended before",
    ),
    "Parquet under another name": ("a.csv", parquet({"text": ["a"]}), "is a Parquet file; rename it to a.parquet"),
    "no Parquet": ("a.parquet", b"text\na\n", "is no Parquet file, whatever its name says"),
    "half a Parquet file": (
        "a.parquet",
        parquet({"text": ["a"]})[:-20],
        "is damaged or cut short (Parquet magic bytes",
    ),
    "Parquet without rows": ("a.parquet", parquet({"text": []}), "has columns and no rows"),
    "a header alone": ("a.csv", b"text,label\n", "has a header and no rows"),
    "semicolons": ("a.csv", b"text;label\na;b\n", "are separated by semicolons, not commas; save it with commas"),
    "tabs in .csv": ("a.csv", b"text\tlabel\na\tb\n", "are separated by tabs, not commas; rename it to .tsv"),
    "commas in .tsv": ("a.tsv", b"text,label\na,b\n", "are separated by commas, not tabs; rename it to .csv"),
    "semicolons and commas in the rows": ("a.csv", b"text;label\na, b;c\n", "are separated by semicolons"),
    "too few names": (
        "a.csv",
        b"text,label\na, b,c\nd, e,f\n",
        "has 2 names in its header and 3 cells in its first row",
    ),
    "an open quotation mark": ("a.csv", b'"text,label\na,b\n', "Line 1 has a quotation mark that is never closed"),
    "conversations": (
        "a.jsonl",
        b'{"messages": [{"role": "user"}]}\n',
        "messages holds lists or objects: conversations",
    ),
    "numbers": ("a.jsonl", b'{"n": 1}\n', "only numbers; known are n"),
    "empty fields": ("a.csv", b"text,label\n,\n", "has only empty fields in its first rows; known are text, label"),
    "fields without a name": ("a.jsonl", b"{}\n", "has rows without any fields"),
    "bytes": ("a.parquet", parquet({"text": [b"a"]}), "only bytes; write them as text"),
    "another ending": ("a.docx", b"x", " be read; readable are .csv"),
}


@pytest.mark.parametrize("case", NASTY)
def test_a_file_without_rows_is_told_by_its_cause_with_a_remedy(tmp_path, case):
    name, data, sentence = NASTY[case]
    (tmp_path / name).write_bytes(data)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(LangmillError) as caught:
            guess_fields(path)
        message = str(caught.value)
        assert sentence in message
        assert message.startswith(str(tmp_path))
        assert "known are none" not in message
        assert "\n" not in message


def test_a_folder_says_what_it_has(tmp_path):
    with pytest.raises(LangmillError, match=r"holds no file that can be read; readable are .*, and it is empty\."):
        guess_fields(tmp_path)
    for name in ("a.docx", "b.docx", "README"):
        (tmp_path / name).write_text("x")
    with pytest.raises(LangmillError, match=r"it has files with the endings \.docx \(2\), none \(1\)\."):
        guess_fields(tmp_path)


def test_a_file_without_rows_among_others_is_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text("1\n")
    (tmp_path / "b.jsonl").write_text('{"text": "hello"}\n')
    assert guess_fields(tmp_path)[0]["text"] == "text"
