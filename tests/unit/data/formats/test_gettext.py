"""Catalogs, written by hand and compiled."""

from __future__ import annotations

from pathlib import Path

import polib
import pytest

from langmill.data.formats import gettext
from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit
HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset={charset}\\n"\n\n'
CATALOG = (
    HEADER.format(charset="UTF-8")
    + """\
#: a.py:1
msgctxt "menu"
msgid "Open the file"
msgstr "Datei öffnen"

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

#, fuzzy
msgid "Close"
msgstr "Öffnen"

msgid "Not yet"
msgstr ""

msgid ""
"Two\\n"
"lines"
msgstr ""
"Zwei\\n"
"Zeilen"

#~ msgid "Gone"
#~ msgstr "Weg"
"""
)


def pairs(text: str) -> list[tuple[str, str]]:
    return [(row["source"], row["target"]) for _, row in good(read("gettext", text, "a/de.po"))]


def one(source: str, target: str, comment: str = "") -> str:
    return f'{comment}msgid "{source}"\nmsgstr "{target}"\n\n'


def test_what_is_done_is_a_row_and_what_is_not_is_quarantined() -> None:
    rows = read("gettext", CATALOG, "films-1.0/locale/de/django.po")
    where = {"catalog": "films-1.0/locale/de/django.po", "project": "films"}
    assert good(rows) == [
        (5, {"source": "Open the file", "target": "Datei öffnen", "context": "menu", **where}),
        (10, {"source": "%d file", "target": "%d Datei", "context": "", **where}),
        (22, {"source": "Two\nlines", "target": "Zwei\nZeilen", "context": "", **where}),
    ]
    assert [reason for _, reason in bad(rows)] == ["unfinished"] * 3


def test_a_compiled_catalog_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "de.po").write_text(CATALOG)
    polib.pofile(str(tmp_path / "de.po")).save_as_mofile(str(tmp_path / "de.mo"))
    rows = read("gettext", (tmp_path / "de.mo").read_bytes(), "a/de.mo")
    assert {(row["source"], row["target"], row["context"]) for _, row in good(rows)} == {
        ("Open the file", "Datei öffnen", "menu"),
        ("%d file", "%d Datei", ""),
        ("Two\nlines", "Zwei\nZeilen", ""),
    }
    assert bad(rows) == []


def test_other_charsets_are_those_of_the_header() -> None:
    latin = (HEADER.format(charset="ISO-8859-1") + one("Open", "Öffnen")).encode("latin-1")
    assert good(read("gettext", latin, "a.po"))[0][1]["target"] == "Öffnen"
    wrong = (HEADER.format(charset="UTF-8") + one("Open", "Öffnen")).encode("latin-1")
    assert bad(read("gettext", wrong, "a.po")) == [(1, "undecodable")]
    unknown = HEADER.format(charset="klingon") + one("Open", "Öffnen")
    assert len(read("gettext", unknown, "a.po")) == 1


def test_a_damaged_catalog() -> None:
    assert bad(read("gettext", 'msgid "a"\nnonsense\n', "a.po")) == [(1, "unreadable_file")]
    assert bad(read("gettext", b"no catalog", "a.mo")) == [(1, "unreadable_file")]


def test_text_that_is_a_path_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.po").write_text(one("secret", "geheim"))
    assert good(read("gettext", str(tmp_path / "secret.po"), "a.po")) == []


def test_zopes_identifiers_are_replaced_by_their_text() -> None:
    text = HEADER.format(charset="UTF-8")
    text += one("label_add", "Hinzufügen", '#. Default: "Add a \\"new\\" file"\n')
    text += one("date_format", "%d.%m.%Y") + one("Sort by", "Sortieren") + one("Title", "Titel")
    assert pairs(text) == [('Add a "new" file', "Hinzufügen"), ("Sort by", "Sortieren"), ("Title", "Titel")]
    # Without such comments a word is a word.
    assert pairs(HEADER.format(charset="UTF-8") + one("title", "Titel")) == [("title", "Titel")]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("_Save", "_Speichern", ("Save", "Speichern")),
        ("Con_vert", "Umwandel_n", ("Convert", "Umwandeln")),
        ("_Save", "Speichern", ("Save", "Speichern")),
        ("Max _age %(max_age)s", "Höchst_alter %(max_age)s", ("Max age %(max_age)s", "Höchstalter %(max_age)s")),
        ("Run {my_file}", "{my_file} starten", ("Run {my_file}", "{my_file} starten")),
        ("Set the set_language key", "Setze set_language", ("Set the set_language key", "Setze set_language")),
    ],
)
def test_the_key_of_a_menu_item_is_no_text(source: str, target: str, expected: tuple[str, str]) -> None:
    assert pairs(HEADER.format(charset="UTF-8") + one(source, target)) == [expected]


def test_names_of_pages_are_no_sentences() -> None:
    rows = read("gettext", HEADER.format(charset="UTF-8") + one("Using_the_Clipboard", "Die_Ablage_nutzen"), "a.po")
    assert [reason for _, reason in bad(rows)] == ["unfinished"]


def test_a_default_goes_to_its_last_quotation_mark() -> None:
    entries = {
        'Default: "Add a \\"file\\""': 'Add a "file"',
        'first\nDefault: "two\nlines"  \nafter': "two\nlines",
        'Default: "open': None,
        'Default: "open\nDefault: "open': None,
        'no Default: "x"': None,
    }
    for comment, text in entries.items():
        assert gettext._default(polib.POEntry(msgid="id", comment=comment)) == text
