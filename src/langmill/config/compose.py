"""Compose `conf/` with Hydra and put the result onto typed sections.

Hydra only merges YAML here. A setting can't run code: there is no `_target_`, and aliases, anchors and resolvers that
read the environment are refused before anything is parsed (a 258-byte file of aliases can take OmegaConf 38 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from langmill.config.sections import Corpus, Operation, Pretrained, Recipe, Serving, Tokenizer
from langmill.config.typed import typed
from langmill.errors import ConfigError

CONF = Path("conf")
_RECIPE_HEADER = (
    "# @package _global_"  # Hydra reads it in the first lines only, and files a recipe elsewhere without it
)
SectionT = TypeVar("SectionT")


def available(group: str, conf: Path = CONF) -> list[str]:
    """The names of the files of a group (`recipe`, `corpus`, …), sorted."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def compose_recipe(name: str, overrides: Sequence[str] = (), conf: Path = CONF) -> Recipe:
    """A recipe's resolved settings.

    Args:
        name: A file of conf/recipe/, without its ending.
        overrides: Hydra overrides, as in `training.steps=10`.
        conf: The folder of settings.

    Raises:
        ConfigError: There is no such recipe, or its settings are refused.
    """
    return _section(Recipe, "recipe", name, conf, overrides, whole=True)


def compose_corpus(name: str, conf: Path = CONF) -> Corpus:
    """A corpus's resolved settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Corpus, "corpus", name, conf)


def compose_tokenizer(name: str, conf: Path = CONF) -> Tokenizer:
    """A tokenizer's resolved settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Tokenizer, "tokenizer", name, conf)


def compose_pretrained(name: str, conf: Path = CONF) -> Pretrained:
    """A pretrained model's resolved settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Pretrained, "pretrained", name, conf)


def compose_serving(name: str = "default", overrides: Sequence[str] = (), conf: Path = CONF) -> Serving:
    """The server's settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Serving, "serving", name, conf, overrides)


def compose_operation(name: str = "default", overrides: Sequence[str] = (), conf: Path = CONF) -> Operation:
    """The workspace's settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Operation, "operation", name, conf, overrides)


def load_section(section: type[SectionT], path: Path, key: str | None = None) -> SectionT:
    """A typed section from a file that the compose stage wrote.

    Args:
        section: The dataclass to fill.
        path: The composed file.
        key: The part of the file that holds the section; None takes the whole file.

    Raises:
        ConfigError: The file is missing or does not hold such a section.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; `dvc repro compose` writes it.") from error
    if key is not None:
        values = values.get(key)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {key or 'the file'} holds no settings; `dvc repro compose` writes it anew.")
    return typed(section, values, str(path))


def plain(section: Any) -> dict[str, Any]:
    """A typed section as plain values: enums by value, ready for YAML or JSON."""
    container = OmegaConf.to_container(OmegaConf.structured(section), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _section(
    section: type[SectionT],
    group: str,
    name: str,
    conf: Path,
    overrides: Sequence[str] = (),
    *,
    whole: bool = False,
) -> SectionT:
    path = conf / group / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(available(group, conf)) or "none"
        raise ConfigError(f"There is no {group} named {name!r} ({path} does not exist); there are: {known}.")
    refuse_unsafe_yaml(conf)
    if group == "recipe" and not path.read_text(encoding="utf-8").startswith(_RECIPE_HEADER):
        raise ConfigError(f"{path}: the first line must be {_RECIPE_HEADER!r}; other comments may follow it.")
    composed = _compose(f"{group}/{name}", overrides, conf)
    values = composed if whole else composed.get(group)
    if not isinstance(values, DictConfig):
        raise ConfigError(f"{path}: the file holds no settings.")
    result = typed(section, values, str(path))
    own_name = getattr(result, "name", name)
    if own_name != name:
        raise ConfigError(f"{path}: name is {own_name!r}; allowed is the file's own name, {name!r}.")
    return result


def _compose(config_name: str, overrides: Sequence[str], conf: Path) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf.resolve()), version_base="1.3"):
            composed: DictConfig = compose(config_name=config_name, overrides=list(overrides))
            return composed
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{conf / config_name}.yaml can't be composed: {message}") from error
    finally:
        GlobalHydra.instance().clear()


def refuse_unsafe_yaml(conf: Path) -> None:
    """Refuse anchors, aliases and environment resolvers anywhere under `conf`, without parsing them.

    Raises:
        ConfigError: A file has one; the message says where.
    """
    for path in sorted(conf.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):  # events: aliases are seen, not followed
                if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                    line = event.start_mark.line + 1 if event.start_mark else 0
                    raise ConfigError(f"{path}, line {line}: YAML anchors and aliases are not allowed; write it out.")
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
        for number, content in enumerate(text.splitlines(), start=1):
            if "${oc." in content.partition("#")[0]:
                raise ConfigError(
                    f"{path}, line {number}: resolvers that read the environment are not allowed, "
                    "since their values would be logged."
                )
