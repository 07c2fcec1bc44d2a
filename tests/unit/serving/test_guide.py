"""docs/guides/asking.md: what stands there works, against a started server."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.small_server import KEY, MAX_LENGTH, SmallServer

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "guides" / "asking.md").read_text(encoding="utf-8")
NAMES = {"assistant": "chat", "reviews-lm": "writer", "catalogs-en-de": "translator", "sentiment": "judge"}


def blocks(kind: str, small: SmallServer) -> list[str]:
    """The guide's code, asking the small server and its models."""
    found = re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert found
    here = {
        "http://127.0.0.1:8000": small.url,
        'api_key="any"': f'api_key="{KEY}"',
        "max_length=129": f"max_length={MAX_LENGTH + 1}",
    }
    here["tokenizer=reviews-lm-hf"] = f"tokenizer={small.models['writer'].folder}"
    for name, ours in NAMES.items():
        here |= {f'"{name}"': f'"{ours}"', f"/{name}\n": f"/{ours}\n", f"={name},": f"={ours},"}
    for old, new in here.items():
        found = [block.replace(old, new) for block in found]
    return found


def test_its_python_runs(small: SmallServer, capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, Any] = {}
    for block in blocks("python", small):
        exec(block, known)
    assert "context_length_exceeded" in capsys.readouterr().out


def test_its_commands_run(small: SmallServer) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    commands = [line for block in blocks("bash", small) for line in block.replace("\\\n", "").splitlines()]
    curls = [command for command in commands if command.startswith("curl")]
    assert len(curls) == 8
    for command in curls:
        key = ["-H", f"Authorization: Bearer {KEY}", "--fail-with-body"]
        done = subprocess.run([*shlex.split(command), *key], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}"


def test_its_line_for_lm_eval_works(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval reads the line, and the model that it names answers; the whole program takes half a minute to start."""
    from lm_eval._cli.harness import HarnessCLI
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    (command,) = [block.replace("\\\n", "") for block in blocks("bash", small) if block.startswith("lm_eval")]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    read = HarnessCLI().parse_args()
    assert (read.model, read.tasks, read.limit) == ("local-completions", ["data/choices.yaml"], 2)
    assert (ROOT / read.tasks[0]).is_file()
    model = LocalCompletionsAPI(**read.model_args, batch_size=int(read.batch_size))
    (found,) = model.loglikelihood([Instance("loglikelihood", {}, ("the film", " was good"), 0)], disable_tqdm=True)
    assert found[0] < 0
