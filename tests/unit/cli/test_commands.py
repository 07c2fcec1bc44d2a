"""The command line itself: help, errors, exit codes, speed."""

import errno
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest

from langmill import cli
from langmill.cli.command import Command
from langmill.errors import LangmillError

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command by its path."""
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= leaves(command, (*path, name))
        else:
            found[*path, name] = command
    return found


def test_the_commands_are_those_of_the_readme():
    assert {" ".join(path) for path in leaves(cli.commands)} == {
        "run", "status", "why", "config", "train", "evaluate", "pull", "report", "compare", "benchmark", "generate",
        "classify", "explain", "promote", "rollback", "trial", "trace", "export", "serve", "key", "deploy", "ui",
        "new corpus", "new pretrained", "new recipe", "show", "scan", "profile", "diff", "tokenizers", "remote", "fsck",
        "refresh",
    }  # fmt: skip


@pytest.mark.parametrize("path", leaves(cli.commands), ids=" ".join)
def test_every_command_explains_itself_with_an_example_that_parses(path, capsys):
    command = leaves(cli.commands)[path]
    assert isinstance(command, Command)
    assert cli.call([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: langmill {' '.join(path)}" in text
    assert len(command.get_short_help_str(200)) <= 60
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, f"{option.name} has no help"
    examples = re.findall(r"^  (?:.*\| )?langmill (.+)$", text.split("Example:")[1], re.MULTILINE)
    assert examples
    for example in examples:
        words = __import__("shlex").split(example)
        assert tuple(words[: len(path)]) == path
        command.make_context(" ".join(path), words[len(path) :])  # raises if the example does not fit the command


def test_help_imports_nothing_heavy():
    code = "import sys, langmill.cli; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("torch", "mlflow", "prefect", "dvc", "hydra", "omegaconf", "numpy", "pyarrow", "rich", "yaml"):
        assert f"'{heavy}'" not in done.stdout, heavy


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["swim"], 2, "No such command 'swim'. `langmill --help` shows how it is used."),
        (["why"], 2, "Missing argument 'STAGE'. `langmill why --help` shows how it is used."),
        (
            ["promote", "m", "one"],
            2,
            "Invalid value for 'VERSION': 'one' is not a valid integer. `langmill promote --help`",
        ),
        (["status"], 1, "is not a Langmill workspace (no dvc.yaml or no conf/ in it); go to the folder of your clone."),
        (["run"], 1, "is not a Langmill workspace"),
        (["train", "x"], 1, "is not a Langmill workspace"),
        (["pull"], 1, "is not a Langmill workspace"),
        (["new", "corpus", "x"], 1, "is not a Langmill workspace"),
        (["generate"], 1, "Name either a recipe or, with --model, a model folder."),
        (["classify", "sentiment"], 1, "There is no text to classify"),
        (["generate", "--model", "nowhere"], 1, "There is no model in nowhere"),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_an_exit_code(arguments, code, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.call(arguments) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_bug_keeps_its_trace_and_debug_shows_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("")

    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(cli.commands, "main", broken)
    assert cli.call([]) == 70
    assert capsys.readouterr().err == (
        "A bug in Langmill: ZeroDivisionError: no. The trace is in .langmill/logs/bug.log; please report it.\n"
    )
    assert "ZeroDivisionError: no" in (tmp_path / ".langmill/logs/bug.log").read_text()
    monkeypatch.setenv("LANGMILL_DEBUG", "1")
    assert cli.call([]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, "Stopped; what is finished is kept"),
        (LangmillError("It is wrong."), 1, "It is wrong."),
        (click.Abort(), 130, "Stopped"),
        (
            OSError(errno.ENOSPC, "No space left on device", ".langmill/x"),
            74,
            "No space is left on the disk that holds .langmill/x.",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 74, "No space is left on the disk that holds this workspace."),
        (sqlite3.OperationalError("database or disk is full"), 74, "No space is left on the disk"),
        (
            LangmillError("postgresql://me:s3cret@db/mlflow does not answer."),
            1,
            "postgresql://db/mlflow does not answer.",
        ),
    ],
)
def test_exit_codes(error, code, sentence, monkeypatch, capsys):
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(cli.commands, "main", fail)
    assert cli.call([]) == code
    assert sentence in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; sys.path.insert(0, '.'); from langmill.cli import call; sys.exit(call(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 1)


def holds(values, others):
    """Whether a table has all that another one has; what plug-ins default to stands in one of them alone."""
    pairs = [(values[key], other) for key, other in others.items()]
    return all(holds(mine, other) if isinstance(other, dict) else mine == other for mine, other in pairs)


def test_config_prints_and_explains_the_resolved_settings(monkeypatch, capsys):
    import yaml

    monkeypatch.chdir(ROOT)
    assert cli.call(["config", "reviews-lm", "training.steps=7", "training.optimizer.warmup_steps=2"]) == 0
    plain = capsys.readouterr().out
    assert yaml.safe_load(plain)["training"]["steps"] == 7
    assert cli.call(["config", "reviews-lm", "training.steps=7", "training.optimizer.warmup_steps=2", "--explain"]) == 0
    explained = capsys.readouterr().out
    assert holds(yaml.safe_load(explained), yaml.safe_load(plain))
    assert re.search(r"^  # Optimizer steps.*\n  steps: 7$", explained, re.MULTILINE)
    assert re.search(r"^    # .+\n    learning_rate: ", explained, re.MULTILINE)
    assert re.search(r"^      # .+\n      min_effect: ", explained, re.MULTILINE)  # what plug-ins type as well
    assert re.search(r"^        # .+\n        min_characters: ", explained, re.MULTILINE)
    asked = list(yaml.safe_load(explained)["gate"]["rules"])
    assert asked == [
        "validation",
        "not_rolled_back",
        "enough_documents",
        "not_worse_than_base",
        "improvement",
    ]  # in order
    assert cli.call(["config", "nothing"]) == 2
    assert "There is no recipe nothing" in capsys.readouterr().err
    assert cli.call(["config", "reviews-lm", "training.steps=many"]) == 2
    assert "training.steps is many; allowed is a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("+gate.rules.smal={}", "gate.rules.smal is unknown"),
        ("gate.rules.improvement.min_effect=-1", "gate.rules.improvement.min_effect is -1"),
        ("+task.options.typo=1", "task.options.typo"),
        ("+scoring.options.typo=1", "scoring.options.typo"),
        ("+model.options.typo=1", "model.options.typo"),
        ("+corpus.cleaning.options.length.typo=1", "cleaning.options.length.typo"),
        ("corpus.format.name=typo", "format.name: typo"),
        ("corpus.source.kind=typo", "source.kind: typo"),
        ("model.options", "The override model.options can't be read without a value; write KEY=VALUE"),
        ("training.step=3", "no setting training.step, which an override names. Did you mean steps?"),
    ],
)
def test_config_refuses_what_run_would(monkeypatch, capsys, override, told):
    monkeypatch.chdir(ROOT)
    assert cli.call(["config", "reviews-lm", override]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", [["config"], ["generate"], ["trace"], ["classify"], ["train"]])
def test_a_base_is_no_recipe_and_a_name_may_be_mistyped(command, tmp_path, monkeypatch, capsys):
    for name in ("conf", "dvc.yaml", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    monkeypatch.chdir(tmp_path)
    more = ["a text"] if command == ["classify"] else []
    assert cli.call([*command, "smollm2", *more]) in (1, 2)
    told = capsys.readouterr().err
    assert "smollm2 is a pretrained model as it came" in told and "--base smollm2" in told
    assert cli.call([*command, "sentimen", *more]) in (1, 2)
    assert "Did you mean sentiment?" in capsys.readouterr().err


def test_every_setting_has_a_docstring_for_explain():
    from pydantic import TypeAdapter

    from langmill.config.sections import Operation, Pretrained, Recipe, Serving

    for section in (Operation, Pretrained, Recipe, Serving):
        schema = TypeAdapter(section).json_schema()
        for each in (schema, *schema.get("$defs", {}).values()):
            for name, field in each.get("properties", {}).items():
                assert "description" in field or "$ref" in field, f"{each['title']}.{name}"


def test_the_environment_of_prefect_stays_in_the_workspace(tmp_path, monkeypatch):
    from langmill.cli.workspace import prefect_environment

    monkeypatch.chdir(tmp_path)
    environment = prefect_environment()
    assert environment["PREFECT_HOME"] == str(tmp_path / ".langmill/prefect")
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PATH"] == os.environ["PATH"]
