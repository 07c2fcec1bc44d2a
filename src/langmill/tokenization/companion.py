"""What stands beside a `tokenizer.json`: the chat template and the names of the special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmill.errors import LangmillError, TokenizerError
from langmill.files import digest_of, read_json, sha256_file

CONFIG_NAME = "tokenizer_config.json"
TEMPLATE_NAME = "chat_template.jinja"
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class Companion:
    """What a `tokenizer_config.json` says that `tokenizer.json` does not."""

    chat_template: str | None = None
    """The model's own chat template, in Jinja."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The text of the special tokens that have a purpose, by `bos_token`, `eos_token` and so on."""

    @classmethod
    def beside(cls, file: Path) -> Companion:
        """Read what stands beside a `tokenizer.json`; where nothing does, it is empty.

        Raises TokenizerError where a file can't be read.
        """
        config_file, template_file = file.with_name(CONFIG_NAME), file.with_name(TEMPLATE_NAME)
        config: Any = {}
        try:
            if config_file.is_file():
                config = read_json(config_file)
            template = template_file.read_text(encoding="utf-8") if template_file.is_file() else None
        except (LangmillError, OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"What stands beside {file} can't be read: {error}", "unreadable") from error
        if not isinstance(config, dict):
            raise TokenizerError(f"{config_file} holds no settings of a tokenizer; get it again.", "unreadable")
        named = {name: _content(config.get(name)) for name in _NAMES}
        return cls(
            _template(config.get("chat_template")) if template is None else template,
            {name: text for name, text in named.items() if text is not None},
        )

    def digest(self, file: Path) -> str:
        """The SHA-256 of all that decides how a model reads: of `tokenizer.json` alone, where there is no template."""
        return self.digest_with(sha256_file(file))

    def digest_with(self, own: str) -> str:
        """The same, beside a `tokenizer.json` with the SHA-256 `own`."""
        if self.chat_template is None:
            return own
        return digest_of({"tokenizer": own, "chat_template": self.chat_template, "names": dict(self.names)})


def tokenizer_digest(file: Path) -> str:
    """The digest of a `tokenizer.json` with what stands beside it (`Companion.digest`).

    Raises TokenizerError where a file can't be read.
    """
    return Companion.beside(file).digest(file)


def _template(value: object) -> str | None:
    """A template; of several, each under a name, the one called default."""
    if isinstance(value, list):
        named = {each.get("name"): each.get("template") for each in value if isinstance(each, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None


def _content(value: object) -> str | None:
    """A special token's text, also where it is described."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
