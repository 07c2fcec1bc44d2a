"""YAML as its version 1.2 reads it (the core schema), and written so that every version reads the same.

PyYAML reads version 1.1, in which `no` is false, `0123` is 83 and `12:30` is 750; DVC reads the resolved files and
dvc.yaml in version 1.2. So settings are read here, and here alone.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import SafeConstructor

from langmill.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# What some reader of YAML takes for a number or a date: 1_000, 0b11, 08 and 1e5 besides those above.
_NUMBER_LIKE = re.compile(
    r"[-+]?[0-9][0-9_]*(:[0-9_]+)*(\.[0-9_]*)?([eE][-+]?[0-9_]+)?|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9_]+)?"
    r"|[-+]?0o?[0-7_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?0b[01_]+|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"
)
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"})
_LONGEST = 200  # characters of a value in a sentence
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
ALLOWED_NAMES = (
    "lower-case letters, digits, - and _ (these two not first), at most 63, and nothing that YAML takes for a number, "
    "a date, true, false or null (as 1e5, 123, no, on)"
)


def is_name(text: object) -> bool:
    """Whether a text can name a corpus, a tokenizer, a model or a recipe, and is a text to every reader of YAML."""
    if not isinstance(text, str) or NAME.fullmatch(text) is None:
        return False
    return text not in _WORDS and _NUMBER_LIKE.fullmatch(text) is None


def read_yaml(path: Path, *, anchors: bool = False) -> Any:
    """The content of a YAML file.

    Args:
        path: The file, in UTF-8.
        anchors: Whether anchors, aliases and merge keys (`<<`) are allowed, as dvc.yaml has them.

    Raises:
        ConfigError: It is not UTF-8 or not YAML, or holds what settings may not hold; the message says where.
        FileNotFoundError: There is no such file.
    """
    return parse_yaml(settings_text(path), str(path), anchors=anchors)


def settings_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte-order mark. Raises as `read_yaml` does."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.", "unreadable") from error


def parse_yaml(text: str, where: str, *, anchors: bool = False) -> Any:
    """The content of YAML text; `where` names it in messages. Raises ConfigError as `read_yaml`."""
    return copy.deepcopy(_parsed(text, where, anchors))


@functools.lru_cache(maxsize=1024)  # a hundred recipes share a dozen files
def _parsed(text: str, where: str, anchors: bool) -> Any:
    loader = (_GraphLoader if anchors else _CoreLoader)(text)
    try:
        return loader.get_single_data()
    except _Refused as error:
        raise ConfigError(f"{where}, line {error.line}: {error}.", "impossible") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}", "unreadable") from error
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply; settings have a few levels.", "unreadable") from error
    finally:
        loader.dispose()


def dump_yaml(values: Any, *, sort_keys: bool = True, width: int = 80) -> str:
    """Plain values as YAML that versions 1.1 and 1.2 read alike: what could be read otherwise is quoted."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=True, width=width)


def quoted(text: str) -> str:
    """A text as a YAML scalar in double quotes, on one line, that every reader takes for this text."""
    dumped = yaml.dump(text, Dumper=_Dumper, default_style='"', allow_unicode=True, width=math.inf)
    return dumped.removesuffix("\n")


def as_written(value: Any) -> str:
    """A value for a sentence, as a person writes it in YAML: `true`, `null`, `1e-05`; a list as `a, b`."""
    if isinstance(value, str | list | tuple | dict) and not value:
        return f"an empty {'text' if isinstance(value, str) else 'table' if isinstance(value, dict) else 'list'}"
    style = '"' if isinstance(value, str) and "\n" in value else None
    words = yaml.dump(
        value, Dumper=_SentenceDumper, default_flow_style=True, default_style=style, sort_keys=False,
        allow_unicode=True, width=math.inf,
    )  # fmt: skip
    words = words.removesuffix("\n").removesuffix("\n...")
    words = words[1:-1] if isinstance(value, list | tuple) else words
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def literal(text: str) -> str:
    """A text in which composing the settings finds no reference to other settings: `${` is escaped."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


class _Refused(Exception):
    """Valid YAML that settings may not hold."""

    def __init__(self, message: str, node: yaml.Node | yaml.Event) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1 if node.start_mark else 0


class _CoreLoader(yaml.SafeLoader):
    """The core schema, without anchors, aliases, merge keys and tags that make objects."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # it is one of the class there, too
    yaml_constructors: ClassVar[dict[Any, Any]] = {}
    allows_anchors = False

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if not self.allows_anchors and (isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)):
            raise _Refused("YAML anchors and aliases are not allowed; write it out", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = set()
        for key, _ in node.value:
            if self.allows_anchors and key.tag == f"{_TAG}merge":
                continue
            if key.tag != f"{_TAG}str":
                raise _Refused(f"the key {getattr(key, 'value', '')!s:.40} is not read as a text; quote it", key)
            if key.value in keys:
                raise _Refused(f"the key {as_written(key.value)} stands here twice", key)
            keys.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")  # joins the pairs that JSON writes
        except UnicodeDecodeError as error:
            raise _Refused(f"{as_written(text)} holds half a character (\\ud800 to \\udfff)", node) from error

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if re.fullmatch(r"[-+]?0[0-9]+", text):  # octal in version 1.1, decimal in 1.2
            raise _Refused(f"{text} is another number to each version of YAML; quote it if it is a text", node)
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError as error:
            raise _Refused(f"{text:.40} is no whole number that can be read", node) from error

    def construct_number(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node))
        try:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError as error:
            raise _Refused(f"{text:.40} is no number that can be read", node) from error


class _GraphLoader(_CoreLoader):
    """The core schema with anchors, aliases and merge keys: dvc.yaml."""

    allows_anchors = True


class _Dumper(yaml.SafeDumper):
    """Texts that any version of YAML would read as something else are quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.Node:
        # Only double quotes have escapes for what some readers take for the end of a line.
        return self.represent_scalar(f"{_TAG}str", text, style='"' if re.search("[\x85\u2028\u2029]", text) else None)


class _SentenceDumper(_Dumper):
    """What is no YAML is written as what comes nearest."""

    def represent_other(self, data: Any) -> yaml.Node:
        if dataclasses.is_dataclass(data):
            return self.represent_data({field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
        return self.represent_data(data.value if isinstance(data, enum.Enum) else str(data))


for _kind, _pattern, _first in (
    ("null", re.compile("~|null|Null|NULL|"), [*"~nN", ""]),
    ("bool", re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    # PyYAML matches the beginning of a text only.
    _CoreLoader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern.pattern})$(?!\\n)"), _first)
_GraphLoader.add_implicit_resolver(f"{_TAG}merge", re.compile("<<$"), ["<"])
_Dumper.add_implicit_resolver(
    f"{_TAG}float", re.compile(f"(?:{_NUMBER_LIKE.pattern}|{_FLOAT.pattern})$"), list("-+.0123456789")
)
_Dumper.add_representer(str, _Dumper.represent_text)
_SentenceDumper.add_multi_representer(object, _SentenceDumper.represent_other)
_Dumper.add_implicit_resolver(f"{_TAG}bool", re.compile("(?:y|Y|n|N)$"), list("yYnN"))
_CONSTRUCTORS: dict[str, Any] = {
    "null": SafeConstructor.construct_yaml_null,
    "bool": SafeConstructor.construct_yaml_bool,
    "int": _CoreLoader.construct_whole_number,
    "float": _CoreLoader.construct_number,
    "str": _CoreLoader.construct_text,
    "seq": SafeConstructor.construct_yaml_seq,
    "map": SafeConstructor.construct_yaml_map,
}
for _kind, _construct in _CONSTRUCTORS.items():
    _CoreLoader.add_constructor(f"{_TAG}{_kind}", _construct)
_CoreLoader.add_constructor(None, SafeConstructor.construct_undefined)  # type: ignore[type-var]
_GraphLoader.yaml_constructors = _CoreLoader.yaml_constructors
