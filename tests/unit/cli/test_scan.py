"""`langmill scan`: kinds, places and counts; nothing is changed, and no value is printed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from langmill import cli
from langmill.cli.scan import findings
from langmill.cli.scan.findings import masked

pytestmark = pytest.mark.unit
KEY = "AKIA" + "QRSTUVWXYZ234567"
SECRETS = ["jane.doe@example.org", "+49 30 901820", KEY, "4111111111111111", "DE89 3704 0044 0532 0130 00", "hunter22!"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"text": f"Write to {SECRETS[0]} now, password={SECRETS[5]}", "more": {"tel": [SECRETS[1]]}},
        {"text": f"key {KEY}", "n": int(SECRETS[3])},
        {"text": "nothing\x1b[31m here"},
    ]
    lines = "\n".join(map(json.dumps, rows)) + f"\n{{bad {SECRETS[0]}\n"
    (tmp_path / "data/inner").mkdir(parents=True)
    (tmp_path / "data/inner/a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "data/b.csv").write_text(f"text,label\nIBAN {SECRETS[4]} ok,1\n", encoding="utf-8")
    (tmp_path / "data/c.log").write_text("a log", encoding="utf-8")
    (tmp_path / "outside.csv").write_text("text\nbob@example.org\n", encoding="utf-8")
    (tmp_path / "data/d.csv").symlink_to(tmp_path / "outside.csv")
    return tmp_path / "data"


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:  # type: ignore[type-arg]
    assert cli.call(["scan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_every_field_of_every_format_is_searched(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    told = report(capsys, "data")
    assert {kind: (one["values"], one["rows"], one["fields"]) for kind, one in told["kinds"].items()} == {
        "email": (2, 2, {"text": 1, "": 1}),  # also in a row that can't be read
        "password": (1, 1, {"text": 1}),
        "phone": (1, 1, {"more.tel.0": 1}),
        "key": (1, 1, {"text": 1}),
        "card": (1, 1, {"n": 1}),
        "iban": (1, 1, {"text": 1}),
    }
    assert told["kinds"]["iban"]["files"] == {"b.csv": 1}
    assert told["kinds"]["key"]["examples"][0]["where"] == "inner/a.jsonl.gz:2"
    assert (told["files"], told["rows"], told["unreadable"]) == (2, 5, {"corrupt": 1})
    assert told["skipped_files"] == {".log": 1, "link to a file outside": 1}
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [[], ["--json"], ["--kind", "email"], ["--kind", "email", "--json"]])
@pytest.mark.usefixtures("files")
def test_no_value_is_printed_also_of_kinds_not_looked_for(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.call(["scan", "data", "--count", "9", *options]) == 0
    out = capsys.readouterr().out
    assert "email" in out
    assert not [secret for secret in SECRETS if secret in out or secret[3:-3] in out]
    assert "\x1b" not in out


def test_names_of_fields_are_searched_and_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "h.csv").write_text("ann@example.org,+49 30 901820\nbob@example.org,x\nno,y\n", encoding="utf-8")
    (tmp_path / "k.jsonl").write_text(
        '{"a": {"eve@example.org": ["Write to joe@example.org"]}}\n' * 2, encoding="utf-8"
    )
    kinds = report(capsys, str(tmp_path))["kinds"]
    assert {kind: one["fields"] for kind, one in kinds.items()} == {
        "email": {"(name of a field)": 2, "an…rg": 1, "a.ev…rg.0": 2},
        "phone": {"(name of a field)": 1},
    }
    assert cli.call(["scan", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "an…rg" in out and "example" not in out and "901820" not in out


def test_a_number_is_searched_however_it_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"a": float(SECRETS[3])}), json.dumps({"a": 0.41111111}), json.dumps({"a": True})]
    (tmp_path / "n.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert {kind: one["values"] for kind, one in report(capsys, str(tmp_path))["kinds"].items()} == {"card": 1}


@pytest.mark.parametrize("value", [*SECRETS, "a@b.de", "x" * 500])
def test_a_masked_value_has_at_most_four_of_its_characters(value: str) -> None:
    shown = masked(value)
    assert len(shown.replace("…", "")) <= 4
    assert len(shown.replace("…", "")) <= len(value) / 3


@pytest.mark.usefixtures("files")
def test_it_fails_on_what_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["scan", "data", "--fail-on", "us_ssn"]) == 0
    assert cli.call(["scan", "data", "--fail-on", "key", "--fail-on", "card"]) == 1
    assert "data has card, key" in capsys.readouterr().err
    assert cli.call(["scan", "data", "--fail-on", "any", "--json"]) == 1
    assert cli.call(["scan", "data/c.log"]) == 1
    assert ".txt" in capsys.readouterr().err
    assert cli.call(["scan", "data", "--fail-on", "mail"]) == 2
    assert "Did you mean email?" in capsys.readouterr().err
    assert cli.call(["scan", "nowhere"]) == 1


def test_regions_of_telephones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Tel. 030 901820", encoding="utf-8")
    assert report(capsys, str(path))["kinds"] == {}
    assert list(report(capsys, str(path), "--region", "DE")["kinds"]) == ["phone"]


@pytest.mark.parametrize("between", ["\n", "\n\n", " ", "ü"])
def test_a_long_text_is_searched_in_pieces(
    tmp_path: Path, between: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No value is cut, where anything parts them, and none is found twice."""
    monkeypatch.setattr(findings, "_PIECE_BYTES", 150)
    text = between.join(f"{between * 20} write to someone{number}@example.org " for number in range(50))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    told = report(capsys, str(tmp_path / "a.txt"))
    assert told["rows"] > 10
    assert told["kinds"]["email"]["values"] == 50
