"""Translation memories: units become pairs, in any of their languages, and what is damaged is counted."""

from __future__ import annotations

import pytest

from langmill.data.rows import Unreadable
from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit


def memory(*units: str, source: str = "en") -> str:
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header srclang="{source}"/><body>'
    return f"{head}{''.join(units)}</body></tmx>"


def unit(name: str = "", **texts: str) -> str:
    variants = "".join(
        f'<tuv xml:lang="{language.replace("_", "-")}"><seg>{text}</seg></tuv>' for language, text in texts.items()
    )
    return f'<tu tuid="{name}">{variants}</tu>'


def test_pairs_with_their_languages_and_ids() -> None:
    rows = read("tmx", memory(unit("7", en_GB="Good &amp; well", de="Gut"), unit("8", de="Nein", en="No")), "a.tmx")
    assert good(rows) == [
        (1, {"source": "Good & well", "target": "Gut", "source_language": "en-GB", "target_language": "de", "id": "7"}),
        (2, {"source": "No", "target": "Nein", "source_language": "en", "target_language": "de", "id": "8"}),
    ]


def test_codes_are_left_out_and_marked_text_stays() -> None:
    text = 'Press <bpt i="1">&lt;b&gt;</bpt>the <hi>red</hi> key<ept i="1">&lt;/b&gt;</ept> <ph>{0}</ph>now'
    [(_, values)] = good(read("tmx", memory(unit(en=text, de="Jetzt")), "a.tmx"))
    assert values["source"] == "Press the red key now"


def test_every_other_language_is_a_row_unless_one_is_asked_for() -> None:
    content = memory(unit(en="one", de="eins", fr="un"))
    assert [(place, values["target"]) for place, values in good(read("tmx", content, "a.tmx"))] == [
        ("1.de", "eins"),
        ("1.fr", "un"),
    ]
    [(place, values)] = good(read("tmx", content, "a.tmx", target="FR"))
    assert (place, values["target"]) == (1, "un")
    [(_, values)] = good(read("tmx", content, "a.tmx", source="de", target="en"))
    assert (values["source"], values["target"]) == ("eins", "one")


def test_a_memory_of_all_languages() -> None:
    [(_, values)] = good(read("tmx", memory(unit(fr="un", en="one"), source="*all*"), "a.tmx"))
    assert (values["source"], values["target"]) == ("un", "one")


def test_what_is_not_translated_is_quarantined() -> None:
    rows = read("tmx", memory(unit(en="one"), unit(en="two", de=" "), unit(de="drei", fr="trois"), unit()), "a.tmx")
    assert good(rows) == []
    assert bad(rows) == [(number, "unfinished") for number in range(1, 5)]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_its_own_declaration_says_what_it_is_encoded_in(encoding: str) -> None:
    content = memory(unit(en="big", de="größer")).replace("UTF-8", encoding)
    [(_, values)] = good(read("tmx", content.encode(encoding), "a.tmx"))
    assert values["target"] == "größer"


def test_what_stands_before_a_damage_is_read_and_the_rest_counted() -> None:
    whole = memory(*(unit(str(number), en="one", de="eins") for number in range(5000)))
    rows = read("tmx", whole[: len(whole) // 2], "a.tmx")
    assert len(good(rows)) > 2000
    assert bad(rows) == [(len(rows), "unreadable_file")]
    broken = whole[:200_000] + "<" + whole[200_000:]
    last = read("tmx", broken, "a.tmx")[-1][1]
    assert isinstance(last, Unreadable)
    assert last.num_bytes == pytest.approx(len(broken) - 200_000, abs=2**16)


def test_entities_that_grow_are_stopped() -> None:
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 9))
    content = f'<?xml version="1.0"?><!DOCTYPE tmx [<!ENTITY e0 "lol">{bomb}]><tmx><body>&e8;</body></tmx>'
    assert bad(read("tmx", content, "a.tmx")) == [(1, "unreadable_file")]
