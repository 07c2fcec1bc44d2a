"""Files of conf/ and their lines of dvc.yaml, written all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langmill.cli.new.graph_file import GRAPH_FILE, add_line, flat_vars
from langmill.cli.workspace import require_workspace
from langmill.config.core_yaml import ALLOWED_NAMES, as_written, is_name, read_yaml
from langmill.data.rows import is_text, shown
from langmill.errors import ConfigError, LangmillError
from langmill.files import write_text
from langmill.workspace import Workspace


@dataclass(frozen=True)
class Part:
    """A file of conf/ to write, and its line of dvc.yaml.

    Attributes:
        group: The folder of conf/.
        name: The file's name without its ending, and the line's.
        text: The file's content.
        block: The group of `vars` in dvc.yaml; None for a file that comes with another one's line.
        line: What the line says of the name.
    """

    group: str
    name: str
    text: str
    block: str | None
    line: Mapping[str, str] = field(default_factory=dict)


def write(parts: Sequence[Part]) -> list[Path]:
    """Write files of conf/ and their lines of dvc.yaml, and return the files; if they do not do, take all of it back.

    Raises:
        ConfigError: A corpus, a recipe or a pretrained model among them is refused, or dvc.yaml can't be added to.
            Nothing was written.
    """
    from langmill.stages.compose import require_composed  # brings PyTorch: what is refused earlier is refused at once

    before = GRAPH_FILE.read_text(encoding="utf-8")
    after = before
    for part in parts:
        if part.block is not None:
            after = add_line(after, part.block, part.name, part.line)
    paths = [Workspace().settings(part.group, part.name) for part in parts]
    try:
        for path, part in zip(paths, parts, strict=True):
            write_text(path, part.text)
        write_text(GRAPH_FILE, after)
        groups = ("recipe", "corpus", "pretrained")
        require_composed(*([part.name for part in parts if part.group == group] for group in groups))
    except BaseException as error:
        for path in paths:
            path.unlink(missing_ok=True)
        if GRAPH_FILE.read_text(encoding="utf-8") != before:
            write_text(GRAPH_FILE, before)
        if isinstance(error, ConfigError):
            error.args = (f"Nothing was written. {error}",)
        raise
    return paths


def require_new(group: str, name: str, block: str) -> None:
    """Refuse to begin what is there already.

    Args:
        group: The folder of conf/.
        name: The new name.
        block: The group of `vars` in dvc.yaml.

    Raises:
        ConfigError: dvc.yaml can't be read.
        LangmillError: This is no workspace, the name is none, or it is taken.
    """
    require_workspace()
    if not is_name(name):
        raise LangmillError(f"{as_written(name)} can't be a name; allowed are {ALLOWED_NAMES}.", "impossible")
    path = Workspace().settings(group, name)
    if path.exists():
        raise LangmillError(f"{path} exists; choose another name, or edit that file.", "duplicate")
    try:
        known = flat_vars(read_yaml(GRAPH_FILE, anchors=True)).get(block) or {}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{GRAPH_FILE} has no readable vars: {' '.join(str(error).split())}", "unreadable") from error
    if name in known:
        raise LangmillError(f"{GRAPH_FILE} has a line {name} under {block} already; choose another name.", "duplicate")


def require_text(path: Path) -> None:
    """Refuse a path that YAML can't hold.

    Raises:
        LangmillError: It is not UTF-8.
    """
    if not is_text(str(path)):
        raise LangmillError(f"The name of {shown(str(path))} is not UTF-8; rename the file.", "impossible")
