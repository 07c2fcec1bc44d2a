"""Compose `conf/` with Hydra and put the result onto typed sections.

Hydra only merges YAML here. A setting can't run code or look outside: there is no `_target_`, anchors and aliases are
refused before they are followed (a 258-byte file of aliases can take OmegaConf 38 s), and no resolver is registered
while settings are composed, so that `${...}` can name other settings and nothing else. Only the files that a name needs
are read: a broken one stops nothing else.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, UnsupportedInterpolationType

from langmill.config.core_yaml import ALLOWED_NAMES, as_written, is_name, read_yaml
from langmill.config.files import SettingsFile, SettingsRepository, first_line
from langmill.config.names import did_you_mean, only_a_base
from langmill.config.sections import Corpus, Evaluation, Operation, Pretrained, Recipe, Serving, Tokenizer, Training
from langmill.config.typed import Origin, typed
from langmill.errors import ConfigError, FieldError
from langmill.workspace import Workspace

CONF = Workspace().conf
REFUSED = "refused"
"""The one key of a file that the compose stage writes for a name whose settings are refused; it holds the sentence."""
SectionT = TypeVar("SectionT")
_composing = threading.RLock()  # OmegaConf's resolvers belong to the whole process


def available(group: str, conf: Path = CONF) -> list[str]:
    """The names of the files of a group (`recipe`, `corpus`, …), sorted; base.yaml is what the others inherit."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml") if path.stem != "base")


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


def compose_training(name: str) -> Training:
    """How the recipes that name this file are fitted, before their own changes. Raises as `compose_recipe` does."""
    return _section(Training, "training", name, CONF)


def compose_evaluation(conf: Path = CONF) -> Evaluation:
    """How recipes are judged, before their own changes. Raises as `compose_recipe` does."""
    return _section(Evaluation, "evaluation", "default", conf)


def compose_serving(overrides: Sequence[str] = (), conf: Path = CONF) -> Serving:
    """The server's settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Serving, "serving", "default", conf, overrides)


def compose_operation(conf: Path = CONF) -> Operation:
    """The workspace's settings. Raises ConfigError as `compose_recipe` does."""
    return _section(Operation, "operation", "default", conf)


COMPOSERS: Mapping[str, Callable[[str], Corpus | Tokenizer | Pretrained | Recipe]] = {
    "corpus": compose_corpus,
    "tokenizer": compose_tokenizer,
    "pretrained": compose_pretrained,
    "recipe": compose_recipe,
}
"""What composes a name of dvc.yaml, by its group."""


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
        values = read_yaml(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; `dvc repro compose` writes it.", "missing") from error
    if isinstance(values, dict) and set(values) == {REFUSED}:
        raise ConfigError(str(values[REFUSED]), "failed")
    if key is not None and isinstance(values, dict):
        values = values.get(key)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {key or 'the file'} holds no settings; `dvc repro compose` makes it.", "unreadable")
    return typed(section, values, str(path), key or "")


def plain(section: Any) -> dict[str, Any]:
    """A typed section as plain values: enums by value, ready for YAML or JSON."""
    return {field.name: _plain(getattr(section, field.name)) for field in dataclasses.fields(section)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


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
        if group == "recipe" and name in available("pretrained", conf):
            raise ConfigError(only_a_base(name), "mismatch")
        known = available(group, conf)
        raise ConfigError(
            f"There is no {group} {as_written(name)} ({path} is missing); there are: {', '.join(known) or 'none'}."
            f"{did_you_mean(name, known)}",
            "unknown",
        )
    if not is_name(name):
        raise ConfigError(f"{path}: {as_written(name)} can't be a name; allowed are {ALLOWED_NAMES}.", "impossible")
    composed = _compose(f"{group}/{name}", overrides, conf)
    values = composed if whole else composed.get(group)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: the file holds no settings.", "missing")
    origin = origin_in(f"{group}/{name}", overrides, conf)
    try:
        result = typed(section, values, str(path), "" if whole else group, origin)
    except FieldError as error:
        raise located(error, origin) from error
    own_name = getattr(result, "name", name)
    if own_name != name:
        raise ConfigError(f"{path}: name is {as_written(own_name)}; allowed is the file's name, {name}.", "mismatch")
    return result


def _compose(config_name: str, overrides: Sequence[str], conf: Path) -> dict[str, Any]:
    """The merged and resolved values of a file, of those that its defaults list names, and of the overrides."""
    path = conf / f"{config_name}.yaml"
    try:
        with _no_resolvers():
            merged = _merge(config_name, overrides, conf)
            values = OmegaConf.to_container(merged, resolve=True) if isinstance(merged, DictConfig) else merged
    except UnsupportedInterpolationType as error:
        raise ConfigError(
            f"{path}: {error.full_key} asks for a resolver ({first_line(error)}), and what one looks up would be "
            "logged; `${...}` may name another setting, as in ${training.steps}, and nothing else.",
            "impossible",
        ) from error
    except InterpolationResolutionError as error:
        raise ConfigError(
            f"{path}: {error.full_key}: {first_line(error)}; `${{...}}` may name another setting, as in "
            "${training.steps}, and is written `\\${` in a text.",
            "impossible",
        ) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a malformed defaults list
        message = " ".join(str(error).split()).partition(" Config search path:")[0]
        cause = f" ({first_line(error.__cause__)})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        raise ConfigError(f"{path} can't be composed: {message}{cause}", "impossible") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _merge(config_name: str, overrides: Sequence[str], conf: Path) -> DictConfig | dict[str, Any]:
    """What Hydra's `compose` does, without Hydra's own settings: those read the environment and the search path.

    Plain values are merged as OmegaConf merges its containers, which takes fifty times as long.
    """
    files, given = _plan(config_name, overrides, conf)
    values: dict[str, Any] = {}
    for file, embedded in files:
        _merge_into(values, embedded, "", file)
    if not given and not any(file.refers for file, _ in files):
        return values
    merged = OmegaConf.create(values)
    OmegaConf.set_struct(merged, True)
    try:
        ConfigLoaderImpl._apply_overrides_to_config(given, merged)
    except ConfigCompositionException as error:
        found = re.search("Could not override '([^']+)'", str(error))
        if found is None:
            raise
        if found[1].startswith("hydra."):
            raise  # Hydra's own settings, of which there are none here
        parent, _, name = found[1].rpartition(".")
        holder = OmegaConf.select(merged, parent) if parent else merged
        known = [str(key) for key in holder] if isinstance(holder, DictConfig) else []
        if name in known:  # it is there, and takes no such value
            raise
        raise ConfigError(
            f"{conf / config_name}.yaml has no setting {found[1]}, which an override names.{did_you_mean(name, known)} "
            "`langmill config RECIPE` lists them; +KEY=VALUE adds an entry to a table of names.",
            "unknown",
        ) from error
    return merged


def _merge_into(values: dict[str, Any], others: Mapping[str, Any], parent: str, file: SettingsFile) -> None:
    """Put other values over these: tables are merged key by key, anything else is replaced."""
    for key, other in others.items():
        own = values.get(key)
        if isinstance(own, dict) and isinstance(other, dict):
            _merge_into(own, other, f"{parent}{key}.", file)
        elif isinstance(other, dict) and (isinstance(own, list) or "${" in str(own)):
            raise ValueError(f"{parent}{key} is a table in {file.path}, and {as_written(own)} before")
        elif isinstance(own, dict) and isinstance(other, list):
            raise ValueError(f"{parent}{key} is a list in {file.path}, and a table before")
        elif other != MISSING or key not in values:
            values[key] = copy.deepcopy(other)


def _plan(
    config_name: str, overrides: Sequence[str], conf: Path
) -> tuple[list[tuple[SettingsFile, dict[str, Any]]], list[Override]]:
    """Which files are merged, in which order, each with its values where they belong; and the overrides of values."""
    version.setbase("1.3")
    parsed = [_parsed(override) for override in overrides]
    ConfigLoaderImpl.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=False)
    repository = CachingConfigRepository(SettingsRepository(conf))
    defaults = create_defaults_list(repository, config_name, parsed, prepend_hydra=False, skip_missing=False)
    files = []
    for default in defaults.defaults:
        file = repository.load_config(default.config_path)
        package = file.header["package"] if default.package is None else default.package
        values = file.values
        for name in reversed(package.split(".") if package else []):
            values = {name: values}
        files.append((file, values))
    return files, defaults.config_overrides


def _parsed(override: str) -> Override:
    try:
        (found,) = OverridesParser.create().parse_overrides([override])
    except HydraException as error:
        reason = f" ({first_line(error)})" if "=" in override else " without a value"
        raise ConfigError(
            f"The override {as_written(override)} can't be read{reason}; write KEY=VALUE, as in training.steps=1000, "
            "or ~KEY to take one out.",
            "unreadable",
        ) from error
    return found


def origin_in(config_name: str, overrides: Sequence[str] = (), conf: Path = CONF) -> Origin:
    """What gave the settings of a file, as `recipe/reviews-lm`, their values; see `typed`."""

    @functools.cache
    def merged() -> tuple[list[tuple[str, DictConfig]], list[tuple[str, str]]]:
        """The files with their content and the overrides with their keys, the first to win first."""
        files, given = _plan(config_name, overrides, conf)
        return (
            [(file.path, OmegaConf.create(values)) for file, values in reversed(files)],
            [(f"the override {each.input_line}", each.key_or_group) for each in reversed(given)],
        )

    def origin(key: str) -> tuple[int, str] | None:
        parent, _, name = key.rpartition(".")
        with _no_resolvers():
            files, given = merged()
            for override, set_key in given:
                if set_key == key:
                    return len(files), override
            for place, (file, config) in enumerate(files):
                with contextlib.suppress(OmegaConfBaseException):
                    holder = OmegaConf.select(config, parent) if parent else config
                    if isinstance(holder, DictConfig) and name.partition("[")[0] in holder:
                        return -place, file
        return None

    return origin


def located(error: FieldError, origin: Origin) -> FieldError:
    """The error, which also names what gave the setting its value, unless it names that already."""
    place = origin(error.key)
    if place is not None and place[1] not in str(error):
        error.args = (f"{error} It stands in {place[1]}.",)
    return error


@contextlib.contextmanager
def _no_resolvers() -> Iterator[None]:
    """Unregister every resolver for a while, whoever registered it: OmegaConf, Hydra or a plug-in."""
    with _composing:
        held = dict(BaseContainer._resolvers)
        BaseContainer._resolvers.clear()
        try:
            yield
        finally:
            for name, resolver in held.items():
                BaseContainer._resolvers.setdefault(name, resolver)
