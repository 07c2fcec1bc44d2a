"""Files of conf/ and their lines of dvc.yaml, written all or none."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langmill.cli.new.graph_file import GRAPH_FILE, add_compared, add_line, flat_vars
from langmill.cli.workspace import require_workspace
from langmill.config.core_yaml import ALLOWED_NAMES, as_written, is_name, read_yaml
from langmill.data.rows import is_text, shown
from langmill.errors import ConfigError, LangmillError
from langmill.files import explained_os_errors, link_or_copy, write_text
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


def write(parts: Sequence[Part], others: Mapping[Path, str] | None = None) -> list[Path]:
    """Write files of conf/ and their lines of dvc.yaml; if one can't be written, or they do not do, take all back.

    Args:
        parts: The files of conf/.
        others: Texts of files elsewhere, which are new too.

    Returns:
        The files of conf/.

    Raises:
        ConfigError: A corpus, a recipe or a pretrained model among them is refused, or dvc.yaml can't be added to.
            Nothing was written.
        SpaceError: The disk is full. Nothing was written.
    """
    from langmill.stages.compose import require_composed  # brings PyTorch: what is refused earlier is refused at once

    after = GRAPH_FILE.read_text(encoding="utf-8")
    for part in parts:
        if part.block is not None:
            after = add_line(after, part.block, part.name, part.line)
        if part.group == "recipe":
            after = add_compared(after, part.name)
    paths = [Workspace().settings(part.group, part.name) for part in parts]
    texts = {path: part.text for path, part in zip(paths, parts, strict=True)} | dict(others or {})
    groups = ("recipe", "corpus", "pretrained")
    with _all_or_none(texts):
        for path, text in texts.items():
            write_text(path, text)
        write_text(GRAPH_FILE, after)
        require_composed(*([part.name for part in parts if part.group == group] for group in groups))
    return paths


@contextlib.contextmanager
def _all_or_none(new: Collection[Path]) -> Iterator[None]:
    """Take new files back, and dvc.yaml as it was, where the block ends with an error.

    Nothing has to be written for that: the old dvc.yaml keeps a second name meanwhile, so it works on a full disk too.
    """
    made = [folder for path in new for folder in path.parents if not folder.exists()]
    kept = GRAPH_FILE.with_name(f".{GRAPH_FILE.name}.{secrets.token_hex(4)}.tmp")  # `files.sweep` knows such names
    try:
        with explained_os_errors(GRAPH_FILE):
            link_or_copy(GRAPH_FILE, kept)
        try:
            yield
        except BaseException:
            for path in new:
                path.unlink(missing_ok=True)
            for folder in dict.fromkeys(made):
                with contextlib.suppress(OSError):  # somebody else's files are in it by now
                    folder.rmdir()
            if not GRAPH_FILE.samefile(kept):
                os.replace(kept, GRAPH_FILE)
            raise
    except ConfigError as error:
        error.args = (f"Nothing was written. {error}",)
        raise
    finally:
        kept.unlink(missing_ok=True)


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
    """Refuse a path that YAML can't hold. Raises LangmillError where it is not UTF-8."""
    if not is_text(str(path)):
        raise LangmillError(f"The name of {shown(str(path))} is not UTF-8; rename the file.", "impossible")
