"""`langmill generate`: which search or sampling it asks for, and what it refuses to ignore."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from langmill import cli
from langmill.cli import models
from langmill.models.generation.config import Beams, GenerationConfig
from tests.unit.serving.conftest import Judge, Writer, loaded

pytestmark = pytest.mark.unit


class Searcher(Writer):
    generation_config = GenerationConfig(100, temperature=0.0, num_beams=4)

    def search(self, network, tokenizer, prompt_ids, beams):
        self.samplings.append(beams)
        yield None
        return list(b"found")


@pytest.fixture
def opened(monkeypatch):
    task = SimpleNamespace(of=Writer())

    @contextmanager
    def opened_model(recipe, folder):
        yield loaded(task.of), "a model"

    monkeypatch.setattr(models, "opened_model", opened_model)
    return task


def test_what_is_not_said_is_as_the_model_has_it(opened, capsys):
    assert cli.call(["generate", "r", "--max-new-tokens", "3", "--top-k", "7"]) == 0
    assert capsys.readouterr().out == "abc\n"
    (sampling,) = opened.of.samplings
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.seed) == (1.0, 7, 1.0, 1)


def test_a_search_needs_none_of_them(opened, capsys):
    opened.of = Searcher()
    assert cli.call(["generate", "r"]) == 0
    assert cli.call(["generate", "r", "--temperature", "1e-40", "--beams", "2", "--length-penalty", "0.5"]) == 0
    opened.of.generation_config = GenerationConfig(100, temperature=1.0)  # a model that draws by itself
    assert cli.call(["generate", "r", "--beams", "3"]) == 0
    assert capsys.readouterr().out == "found\nfound\nfound\n"
    assert opened.of.samplings == [
        Beams(64, 4, 1.0, (256,)),
        Beams(64, 2, 0.5, (256,)),
        Beams(64, 3, 1.0, (256,)),
    ]  # the room


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--seed", "1"], "seed is 1 and num_beams is 3"),
        (["--top-k", "5"], "top_k is 5 and num_beams is 3"),
        (["--top-p", "0.9"], "top_p is 0.9 and num_beams is 3"),
        (["--min-p", "0.1"], "min_p is 0.1 and num_beams is 3"),
        (["--repetition-penalty", "1.3"], "repetition_penalty is 1.3 and num_beams is 3"),
        (["--temperature", "0.5"], "temperature is 0.5 and num_beams is 3"),
    ],
)
def test_a_search_refuses_what_it_would_ignore(opened, capsys, option, told):
    opened.of = Searcher()
    assert cli.call(["generate", "r", "--beams", "3", *option]) == 2
    assert told in capsys.readouterr().err
    assert opened.of.samplings == []


def test_more_than_fits_is_refused_where_it_was_asked_for(opened, capsys):
    assert cli.call(["generate", "r", "--prompt", "x" * 30, "--max-new-tokens", "35"]) == 2
    told = "max_new_tokens is 35; after a prompt of 31 tokens up to 34 are allowed, since a model has a context of 64."
    assert told in capsys.readouterr().err
    assert cli.call(["generate", "r", "--prompt", "x" * 30, "--max-new-tokens", "34"]) == 0
    assert cli.call(["generate", "r", "--prompt", "x" * 63]) == 0  # the model's own length is cut to the room
    assert [sampling.max_new_tokens for sampling in opened.of.samplings] == [34, 1]
    capsys.readouterr()
    assert cli.call(["generate", "r", "--prompt", "x" * 64]) == 1
    assert "prompt has 65 tokens; up to 64 are allowed." in capsys.readouterr().err


def test_classify_says_what_was_cut(opened, capsys):
    opened.of = Judge()
    assert cli.call(["classify", "r", "a" * 64]) == 0
    assert capsys.readouterr().err == "[a model]\n"
    assert cli.call(["classify", "r", "a", "b" * 65, "c" * 99]) == 0
    note = (
        "a model reads 64 tokens of a text; 2 of 3 were longer and truncated, as in training: number 2, 3.\n[a model]\n"
    )
    assert capsys.readouterr().err == note


def test_the_workspaces_own_model_writes_as_it_was_judged_however_its_folder_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr("langmill.tasks.loading.load_model", lambda _, *, evaluation, **__: asked.append(evaluation))
    for folder in (Path("build/models/r"), tmp_path / "build" / "models" / "r", tmp_path / "other" / "r"):
        with models.opened_model(None, folder):
            pass
    assert asked == [Path("build/evaluation/r")] * 2 + [None]
