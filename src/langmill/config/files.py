"""The files of settings as Hydra reads them: each once, with its defaults list and its plain values."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from langmill.config.core_yaml import parse_yaml, settings_text
from langmill.errors import ConfigError

_RECIPE_HEADER = (
    "# @package _global_"  # Hydra reads it in the first lines only, and files a recipe elsewhere without it
)


class _ConfSource(FileConfigSource):  # type: ignore[misc]
    """A folder of settings, each file read as the core schema of YAML has it."""

    @staticmethod
    def scheme() -> str:
        return "conf"

    def load_config(self, config_path: str) -> SettingsFile:
        path = Path(self.path) / self._normalize_file_name(config_path)
        return _read(self.provider, config_path, str(path), settings_text(path))


@dataclasses.dataclass
class SettingsFile(ConfigResult):  # type: ignore[misc]
    """A file of settings, as Hydra has it for its defaults list, and its plain values."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    refers: bool = False
    """Whether some text of it may name other settings."""


@functools.lru_cache(maxsize=1024)  # recipes share most files, and making a container of OmegaConf's takes milliseconds
def _read(provider: str, config_path: str, path: str, text: str) -> SettingsFile:
    """A file with this text; do not change what it holds. Raises ConfigError."""
    values = parse_yaml(text, path)
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path} holds no settings; write `key: value` lines.", "wrong_type")
    if config_path.startswith("recipe/") and not text.startswith(_RECIPE_HEADER):
        raise ConfigError(f"{path}: the first line must be `{_RECIPE_HEADER}`.", "missing")
    values = values or {}
    refers = "${" in str(values)
    # Hydra looks at the defaults list, and whether there is a setting besides.
    kept = ("defaults", *(values if refers else ()))
    seen = {key: value if key in kept or isinstance(value, str) else None for key, value in values.items()}
    try:
        config = OmegaConf.create(seen)
    except OmegaConfBaseException as error:  # the grammar of ${...}
        raise ConfigError(f"{path}: {first_line(error)}; `${{` in a text is written `\\${{`.", "unreadable") from error
    header = ConfigSource._get_header_dict(text)
    file = SettingsFile(provider=provider, path=path, config=config, header=header, values=values, refers=refers)
    repository = ConfigRepository(ConfigSearchPathImpl())
    defaults = repository._extract_defaults_list(config_path, config)
    file.defaults_list = repository._create_defaults_list(config_path, defaults)
    file.values.pop("defaults", None)
    return file


class SettingsRepository(ConfigRepository):  # type: ignore[misc]
    """The files of settings, each with its defaults list."""

    def __init__(self, conf: Path) -> None:
        self.sources = [_ConfSource("main", f"conf://{conf}")]

    def load_config(self, config_path: str) -> SettingsFile | None:
        """The file of that path below the folder, without its ending; None where there is none."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        return source.load_config(config_path) if isinstance(source, _ConfSource) else None


def first_line(error: BaseException) -> str:
    """What an error says first, without its full stop."""
    return str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
