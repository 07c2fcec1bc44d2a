"""The guide for one's own text, command by command, in a workspace where only the sizes are smaller."""

from __future__ import annotations

import re
import shlex

import pytest

from langmill.files import read_manifest
from tests.pipeline.workspace import REPOSITORY, edit, langmill, sentences, write_csv

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_guides_commands_make_models_of_ones_own_text(tiny_workspace):
    guide = (REPOSITORY / "docs" / "guides" / "own-text.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [command[:2] for command in commands] == [["langmill", verb] for verb in ("new", "new", "run", "new", "run")]
    write_csv(tiny_workspace / "data" / "letters.csv", sentences(900, seed=2))
    conf = tiny_workspace / "conf"
    for command in commands:
        done = langmill(tiny_workspace, *command[1:], timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        match command[1:4]:
            case "new", "recipe", name:
                edit(conf / "tokenizer" / "letters.yaml", vocab_size=400)
                edit(conf / "recipe" / f"{name}.yaml", steps=40)
            case "run", name:
                assert re.search(rf"^{name} .* champion +1$", done.stdout, re.MULTILINE), done.stdout
                assert read_manifest(tiny_workspace / "build" / "models" / name, verify=True)
    report = (tiny_workspace / "build" / "documents" / "letters" / "report.md").read_text(encoding="utf-8")
    assert "900" in report
