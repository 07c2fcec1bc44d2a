"""What dvc.yaml says about each name under `vars`, and that conf/ says the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmill.config.compose import CONF
from langmill.config.core_yaml import ALLOWED_NAMES, is_name, read_yaml
from langmill.errors import ConfigError
from langmill.workspace import Workspace

GRAPH_FILE = Workspace().graph_file


@dataclass(frozen=True)
class Lines:
    """What dvc.yaml's `vars` say about each name."""

    corpora: dict[str, dict[str, str]]
    tokenizers: dict[str, dict[str, str]]
    pretrained: dict[str, dict[str, str]]
    from_scratch: dict[str, dict[str, str]]
    fine_tuned: dict[str, dict[str, str]]
    plugins: Path | None = None
    """The folder of other packages that bring plug-ins, watched for changes."""
    judging: Path | None = None
    """The same of those that bring nothing but scorers and metrics."""

    @property
    def recipes(self) -> dict[str, dict[str, str]]:
        """Every recipe's line."""
        return {**self.from_scratch, **self.fine_tuned}

    @property
    def groups(self) -> dict[str, dict[str, dict[str, str]]]:
        """Every name's line, by the folder of conf/ that has its file."""
        return {
            "corpus": self.corpora,
            "tokenizer": self.tokenizers,
            "pretrained": self.pretrained,
            "recipe": self.recipes,
        }


def read_lines(path: Path = GRAPH_FILE) -> Lines:
    """Read the names that the graph is made for.

    Raises ConfigError where the file is missing, is not YAML, or a group of names is missing or malformed.
    """
    try:
        values = read_yaml(path, anchors=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist here; go to a workspace's folder.", "missing") from error
    groups: dict[str, Any] = {}
    for entry in (values or {}).get("vars") or []:
        if isinstance(entry, dict):
            groups |= entry
    needed = {"corpora": {"source"}, "tokenizers": {"corpus"}, "pretrained": {"source"}}
    needed["from_scratch"] = {"corpus", "tokenizer"}
    needed["fine_tuned"] = needed["from_scratch"] | {"base"}
    for group, keys in needed.items():
        names = groups.get(group)
        if names is None and group in ("fine_tuned", "pretrained"):
            names = groups[group] = {}
        if not isinstance(names, dict):
            raise ConfigError(f"{path}: vars has no table of names called {group}.", "missing")
        for name, line in names.items():
            if not is_name(name):
                raise ConfigError(
                    f"{path}: {group}.{name!r} can't be a name; allowed are {ALLOWED_NAMES}.", "impossible"
                )
            if not isinstance(line, dict) or set(line) != keys:
                fields = ", ".join(sorted(keys))
                raise ConfigError(f"{path}: {group}.{name} is {line!r}; allowed is a line with {fields}.", "impossible")
            for key, value in line.items():
                if not isinstance(value, str):
                    raise ConfigError(
                        f"{path}: {group}.{name}.{key} is {value!r}; allowed is a text, so quote it.", "wrong_type"
                    )
    plugins, judging = (Path(str(groups[key])) if groups.get(key) else None for key in ("plugins", "judging"))
    return Lines(**{group: groups[group] for group in needed}, plugins=plugins, judging=judging)


def conf_file(name: str) -> str:
    """The path of a file in conf/ from its folder and name, as in `corpus/reviews`."""
    return str(CONF / f"{name}.yaml")


def require_same(line: str, given: str, expected: str, file: str, field: str | None = None) -> None:
    """Raise ConfigError where a key under dvc.yaml's vars and a file of conf/ differ.

    `field` is the setting that says it there; None where it is called as the key.
    """
    if given != expected:
        key = field or line.rsplit(".", maxsplit=1)[1]
        raise ConfigError(
            f"{GRAPH_FILE}: {line} is {given!r}, but {conf_file(file)} makes it {expected!r} ({key}); "
            "write the same in both.",
            "mismatch",
        )


def require_line(line: str, name: str, names: dict[str, dict[str, str]]) -> None:
    """Raise ConfigError where a name, which the key `line` of dvc.yaml says, has no line of its own there."""
    if name not in names:
        known = ", ".join(sorted(names))
        raise ConfigError(
            f"{GRAPH_FILE}: {line} is {name!r}, which has no line there; allowed is one of {known}.", "unknown"
        )
