"""A small Git and DVC workspace with versions of a corpus."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.cli import main

from langmill.data.document import Document, Split
from langmill.data.report import Report
from langmill.data.rows import Row
from langmill.graph.dag import read_graph
from tests.unit.data.contract.corpora import write_corpus

ROOT = Path(__file__).parents[4]
GRAPH = """\
vars:
  - corpora:
      tiny: {source: data}
stages:
  clean:
    foreach: ${corpora}
    do:
      cmd: "true"
      outs:
        - build/documents/${key}
"""
CORPUS = """\
defaults: [base, _self_]
name: tiny
description: Tiny.
licence: none
source: {kind: files, path: data}
fields: {metadata: [id, source]}
"""


def make_workspace(folder: Path) -> Path:
    """A workspace without documents."""
    (folder / "conf/corpus").mkdir(parents=True)
    shutil.copy(ROOT / "conf/corpus/base.yaml", folder / "conf/corpus")
    (folder / "conf/corpus/tiny.yaml").write_text(CORPUS)
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (folder / ".gitignore").write_text("/build/\n/.langmill/\n/.dvc/cache/\n/.dvc/tmp/\n")
    git(folder, "init", "-q")
    return folder


def git(folder: Path, *arguments: str) -> None:
    """Run Git in a workspace."""
    person = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    subprocess.run(["git", *person, *arguments], cwd=folder, check=True, capture_output=True)


def dvc(folder: Path, *arguments: str) -> int:
    """Run DVC in a workspace, and in this process, since its import takes a second; returns the exit code."""
    with contextlib.chdir(folder):
        return main([*arguments, "--quiet"])


def counted(documents: Sequence[Document]) -> dict[str, Any]:
    """The report of documents that came in as they are."""
    report = Report("tiny")
    for number, document in enumerate(documents):
        row = Row(f"a.csv:{number}", document.text, document.label, document.target, {})
        report.count_row(row)
        report.count_kept(row, document, Split.train)
    return report.as_json()


def keep_version(
    folder: Path, documents: Sequence[Document], tag: str = "", report: dict[str, Any] | None = None
) -> None:
    """Make documents the corpus's, as if the clean stage had, and with a tag a revision of Git."""
    out = folder / "build/documents/tiny"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_corpus(out, documents, report or counted(documents))
    read_graph(folder).repo.commit(force=True)
    if tag:
        git(folder, "add", ".")
        git(folder, "commit", "-qm", tag)
        git(folder, "tag", tag)
