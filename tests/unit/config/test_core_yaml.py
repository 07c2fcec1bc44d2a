"""YAML as people write it: what each reader makes of a value, and what is written for it."""

import pytest
import yaml
from dvc.utils.serialize import parse_yaml as read_as_dvc

from langmill.config.core_yaml import dump_yaml, is_name, literal, parse_yaml, quoted, read_yaml
from langmill.errors import ConfigError
from tests.refused import refused

pytestmark = pytest.mark.unit

AWKWARD = [
    "1e5", "1E234", "no", "No", "on", "y", "n", "12:30", "1:2:3", "0123", "08", "1_000", "0o17", "0x1f", "0b11", ".5",
    "5.", "+.5", "1.10", "1e+5", ".inf", "-.Inf", ".nan", "~", "null", "", " ", "=", "<<", "2020-01-01", "true", "-",
    "2020-01-01 10:00:00", "a: b", "a #b", "# a", "- a", "${a}", "\\${a}", "a\nb", "a\tb", "'", '"', "[a]", "{a}", "&a",
    "*a", "!a", "%a", "@a", "`a`", "|", ">", "?", "a\\b", "\u2028", "\x85", "é", "😀", "\x07", "trailing ", "_1",
    "1__0", "+1",
]  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
def test_a_text_is_the_same_text_to_every_reader(text):
    values = {"key": text, "list": [text, 1.5], "nested": {"key": text}}
    for written in (
        dump_yaml(values),
        f"key: {quoted(text)}\nlist: [{quoted(text)}, 1.5]\nnested: {{key: {quoted(text)}}}",
    ):
        assert parse_yaml(written, "a") == values
        assert yaml.safe_load(written) == values  # version 1.1
        assert read_as_dvc(written, "a") == values  # version 1.2
    assert "\n" not in quoted(text)


@pytest.mark.parametrize("value", [0, -3, 10**20, 1e-5, 1e300, 0.1, True, False, None, [], {}])
def test_other_values_are_the_same_to_every_reader(value):
    written = dump_yaml({"key": value})
    assert parse_yaml(written, "a") == yaml.safe_load(written) == read_as_dvc(written, "a") == {"key": value}


def test_plain_texts_are_written_as_before():
    values = {"a": "reviews", "version": "6.0.8", "sha256": "0bc2c5a4", "path": "data/a b.csv", "rate": 1e-5}
    assert dump_yaml(values) == yaml.safe_dump(values)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("12:30", "12:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("=", "="),
        ("2020-01-01", "2020-01-01"), ("TRUE", True), ("false", False), ("~", None), ("", None), ("Null", None),
        ("12", 12), ("-12", -12), ("0o17", 15), ("0x1F", 31), ("1e5", 1e5), ("1e-5", 1e-5), (".5", 0.5), ("1.", 1.0),
        ("1E3", 1000.0), ("6.0.8", "6.0.8"), ("'0123'", "0123"), ('"\\ud83d\\ude00"', "😀"),
        ("[on, 12:30]", ["on", "12:30"]),
        ("{no: no}", {"no": "no"}), ("!!str 0123", "0123"), ("'a\n\n  b'", "a\nb"),
    ],
)  # fmt: skip
def test_the_core_schema_is_read(written, value):
    found = parse_yaml(f"key: {written}\n", "a")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("written", "code", "told"),
    [
        ("a: 0123", "impossible", ["line 1: 0123", "quote it"]),
        ("a: 1\nb: -007", "impossible", ["line 2: -007"]),
        ("a: &x 1", "impossible", ["anchors and aliases"]),
        ("a: *x", "impossible", ["anchors and aliases"]),
        ("<<: {a: 1}\na: 2\n<<: {}", "impossible", ["line 3", "<<", "twice"]),
        ("a: 1\na: 2", "impossible", ["line 2: the key a", "twice"]),
        ("1: a", "impossible", ["the key 1", "quote it"]),
        ("true: a", "impossible", ["the key true", "quote it"]),
        ("? [a]\n: b", "impossible", ["line 1: the key", "quote it"]),
        ("a: !!python/object/apply:os.system [ls]", "unreadable", ["constructor", "os.system"]),
        ("a: !!python/object/apply:pathlib.Path [a]", "unreadable", ["constructor", "pathlib.Path"]),
        ("a: !!binary aGVsbG8=", "unreadable", ["constructor", "binary"]),
        ("a: !!int x", "impossible", ["line 1: x", "whole number"]),
        ("a: !!float x", "impossible", ["line 1: x", "number"]),
        ('a: "\\ud800"', "impossible", ['"\\uD800"', "half a character"]),
        ("a: [1", "unreadable", ["line 1, column 6"]),
        ("a: 1\n---\nb: 2", "unreadable", ["single document"]),
        ("a: " + "[" * 5000, "unreadable", ["too deeply"]),
        ("a: " + "9" * 5000, "impossible", ["line 1: 999", "whole number"]),
    ],
)
def test_what_could_be_read_in_two_ways_or_runs_code_is_refused(written, code, told):
    with refused(ConfigError, code, "a.yaml", *told):
        parse_yaml(written, "a.yaml")


def test_dvc_yaml_may_have_anchors_and_merge_keys():
    text = "a: &a {x: {y: z}}\nb: &b {}\nc:\n  <<: [*a, *b]\n"
    assert parse_yaml(text, "a", anchors=True)["c"] == {"x": {"y": "z"}}


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("a: é".encode("latin-1"))
    with refused(ConfigError, "unreadable", "a.yaml", "byte 3", "UTF-8"):
        read_yaml(path)
    path.write_bytes(b"\xef\xbb\xbfa: b\n")
    assert read_yaml(path) == {"a": "b"}


def test_what_is_read_belongs_to_the_reader():
    first = parse_yaml("a: {b: [1]}", "a")
    first["a"]["b"].append(2)
    assert parse_yaml("a: {b: [1]}", "a") == {"a": {"b": [1]}}


@pytest.mark.parametrize("name", ["reviews", "a", "1a", "2024-letters", "gpt2-small", "news", "a_1", "0xg"])
def test_names(name):
    assert is_name(name)
    assert read_as_dvc(f"{name}: {name}", "a") == yaml.safe_load(f"{name}: {name}") == {name: name}


@pytest.mark.parametrize(
    "name",
    [
        "1e5", "true", "123", "no", "on", "null", "y", "n", "0x1f", "0o17", "1_000", "08", "0b1", "2024-01-01", "nan",
        "inf", "", "A", "a b", "a/b", "..", "-a", "a" * 64, "a\n", None, 1,
    ],
)  # fmt: skip
def test_no_names(name):
    assert not is_name(name)


def test_a_literal_has_no_reference():
    assert literal("${a} \\${b} $c") == "\\${a} \\\\\\${b} $c"
