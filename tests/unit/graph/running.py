"""The graph of a small DVC workspace, and its stages run one after the other."""

import threading
from pathlib import Path

from langmill.graph.__main__ import main
from langmill.graph.process import Outcome, reproduce

DVC_YAML = """
vars:
  - names:
      one: {source: text.txt}
      two: {source: text.txt}
stages:
  settings:
    desc: Write the settings
    cmd: mkdir -p build && cp settings.yaml build/settings.yaml
    deps: [settings.yaml]
    outs: [build/settings.yaml]
  copy:
    foreach: ${names}
    do:
      desc: Copy ${key}
      cmd: mkdir -p build/copies/${key} && cp ${item.source} build/copies/${key}/out.txt
      deps: ["${item.source}"]
      params:
        - build/settings.yaml:
            - training
      outs:
        - build/copies/${key}
  judge:
    foreach: ${names}
    do:
      desc: Judge ${key}
      cmd: mkdir -p build/evaluation/${key} && wc -c build/copies/${key}/out.txt > build/evaluation/${key}/size
      deps:
        - build/copies/${key}
      outs:
        - build/evaluation/${key}
"""


def prepare(*addresses: str) -> None:
    """Run stages of the current folder in this process, for what a test begins with: a process takes a second."""
    for address in addresses:
        assert main([address]) == 0


def make(workspace: Path, *addresses: str) -> list[Outcome]:
    """Run stages one after the other, each in its process."""
    return [
        reproduce(
            address,
            root=workspace,
            log=workspace / ".langmill" / "logs" / "run.log",
            progress=workspace / ".langmill" / "progress" / f"{address}.json",
            cancel=threading.Event(),
        )
        for address in addresses
    ]


def edit_copy_command(workspace: Path, command: str) -> None:
    """Give copy@one and copy@two another command."""
    old = "mkdir -p build/copies/${key} && cp ${item.source} build/copies/${key}/out.txt"
    (workspace / "dvc.yaml").write_text(DVC_YAML.replace(old, command))
