"""A line is added to dvc.yaml and every other byte stays."""

from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml as read_as_dvc

from langmill.cli.new.graph_file import add_compared, add_line
from langmill.errors import ConfigError
from tests.refused import refused

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[4]
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
    with refused(ConfigError, "unreadable", 'two: {source: "b.csv"}'):
        add_line(text, "corpora", "two", {"source": "b.csv"})


def test_a_recipe_is_added_to_what_dvc_compares_and_everything_else_stays():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    added = add_compared(text, "mine")
    lines = ["  - build/evaluation/mine/metrics.json\n", "  - build/evaluation/mine/plots\n"]
    content = read_as_dvc(added, "dvc.yaml")
    assert [content["metrics"][-1], content["plots"][-1]] == [line[4:-1] for line in lines]
    for line in lines:
        added = added.replace(line, "")
    assert added == text
    assert add_compared(add_compared(text, "mine"), "mine") == add_compared(text, "mine")


@pytest.mark.parametrize("text", [GRAPH, "metrics: [a.json]\nplots: {a.csv: {x: step}}\n", "metrics:\nplots: []\n"])
def test_a_list_of_another_form_or_none_is_left_alone(text):
    assert add_compared(text, "mine") == text


def test_a_list_of_another_indent_with_a_comment_keeps_both():
    text = "metrics:\n- a.json  # mine\n\n# below\nplots:\n    - a.csv: {x: step}"
    assert add_compared(text, "b") == (
        "metrics:\n- a.json  # mine\n- build/evaluation/b/metrics.json\n\n# below\nplots:\n    - a.csv: {x: step}\n"
        "    - build/evaluation/b/plots\n"
    )
