"""What is a near duplicate, and what is none: the pairs of the issue, through the whole of `make_corpus`."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from langmill.config.sections import Folding
from langmill.data.corpus import make_corpus
from langmill.data.document import Document, Split, documents_path, read_documents
from langmill.data.report import Report
from tests.unit.data.settings import fields, settings

pytestmark = pytest.mark.unit
RANDOM = random.Random(1)


def prose(count: int) -> list[str]:
    """Words of a vocabulary so large that no two runs of them are alike."""
    return [f"w{RANDOM.randrange(10**9)}" for _ in range(count)]


def made(tmp_path: Path, rows: list[dict[str, Any]], *, filling: int = 60, **wanted: Any) -> Report:
    """The report on a corpus of some rows and of filling, in tmp_path/out."""
    for name in ("raw", "out"):
        (tmp_path / name).mkdir(exist_ok=True)
    others = [{"text": " ".join(prose(30)), **{key: f"{key} {number}" for key in rows[0] if key != "text"}}
              for number in range(filling)]  # fmt: skip
    (tmp_path / "raw" / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *others]))
    return make_corpus(tmp_path / "raw", tmp_path / "out", settings(**wanted), lambda _: None)


def kept(tmp_path: Path) -> list[tuple[Split, Document]]:
    out = tmp_path / "out"
    return [(split, one) for split in Split for one in read_documents(documents_path(out, split))]


def dropped(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    return rows


def texts(*words: list[str]) -> list[dict[str, Any]]:
    return [{"text": " ".join(one)} for one in words]


def variants() -> dict[str, list[str]]:
    base = prose(120)
    return {
        "one word changed": [*base[:50], "other", *base[51:]],
        "cut in half": base[:60],
        "second half": base[60:],
        "a paragraph added": [*base, *prose(25)],
        "paragraphs swapped": [*base[60:], *base[:60]],
        "case and punctuation": [word.upper() + "," for word in base],
        "unrelated": prose(120),
        "two thirds of it": [*base[:80], *prose(40)],
        "one word of three changed": [word if place % 3 else f"x{place}" for place, word in enumerate(base)],
    } | {"": base}


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("one word changed", True), ("cut in half", True), ("second half", True), ("a paragraph added", True),
        ("paragraphs swapped", True), ("case and punctuation", True), ("unrelated", False), ("two thirds of it", False),
        ("one word of three changed", False),
    ],
)  # fmt: skip
def test_pairs(tmp_path: Path, name: str, alike: bool) -> None:
    both = variants()
    base, other = " ".join(both[""]), " ".join(both[name])
    report = made(tmp_path, [{"text": base}, {"text": other}])
    stay = {one.text for _, one in kept(tmp_path)} & {base, other}
    assert report.dropped == ({"near_duplicate": 1} if alike else {})
    assert stay == ({max(base, other, key=len)} if alike and len(base) != len(other) else stay)
    assert len(stay) == (1 if alike else 2)
    if alike:
        [row] = dropped(tmp_path)
        [twin] = [one for _, one in kept(tmp_path) if one.id == row["twin"]]
        assert {row["text"], twin.text} == {base, other}
        assert 0.8 <= row["containment"] <= 1 and 0.4 < row["similarity"] <= row["containment"]
        assert twin.metadata["copies"] == "2-3"


def test_short_texts_are_never_near_duplicates(tmp_path: Path) -> None:
    base = prose(19)
    report = made(tmp_path, texts(base, [*base[:-1], "not"], base[:18]))
    assert report.dropped == {}


def test_a_chain_is_not_removed_through_its_middle(tmp_path: Path) -> None:
    """A~B and B~C by two thirds, A and C by 30%: all stay. At more than the threshold the middle alone goes."""
    words = prose(400)
    made(tmp_path, texts(words[:100], words[35:135], words[70:170]))
    assert not dropped(tmp_path)
    longest, middle, last = words[:120], words[20:130], words[40:145]  # 90% and 86% of the shorter, and 76%
    report = made(tmp_path, texts(longest, middle, last))
    assert [row["text"] for row in dropped(tmp_path)] == [" ".join(middle)]
    assert {one.metadata["copies"] for _, one in kept(tmp_path) if "copies" in one.metadata} == {"1", "2-3"}
    in_chain = {split for split, one in kept(tmp_path) if one.text in (" ".join(longest), " ".join(last))}
    assert len(in_chain) == 1
    assert report.as_json()["near_duplicates"] == {"clusters": 1, "pairs": 2, "dropped": 1}


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_common_licence_makes_no_two_documents_alike(tmp_path: Path, share: float) -> None:
    header = prose(round(200 * share))
    rows = texts(*([*header, *prose(200 - len(header))] for _ in range(300)))
    report = made(tmp_path, rows)
    assert report.dropped == {}
    # Below the same header, a text that is nearly that of another is a near duplicate all the same.
    body = rows[0]["text"].split()
    report = made(tmp_path, [*rows, *texts([*body[:-10], "changed", *body[-9:]])])
    assert report.dropped == {"near_duplicate": 1}


def test_many_copies_with_a_word_changed_are_one_document(tmp_path: Path) -> None:
    """Though each n-gram of theirs stands in many documents, as those of a licence do."""
    base = prose(100)
    copies = [[*base[:place], f"other{place}", *base[place + 1 :]] for place in range(10, 90, 2)]
    report = made(tmp_path, texts(base, *copies))
    assert report.dropped == {"near_duplicate": 40}
    [(_, stays)] = [(split, one) for split, one in kept(tmp_path) if base[0] in one.text]
    assert stays.metadata["copies"] == "10+"


def test_another_label_or_target_stays_in_the_same_split(tmp_path: Path) -> None:
    base = prose(60)
    variants_of = [[*base[:place], "x", *base[place + 1 :]] for place in range(20, 50)]
    rows = [{"text": " ".join(words), "label": str(number)} for number, words in enumerate(variants_of)]
    report = made(tmp_path, rows, own_fields=fields("text", "label"))
    assert report.dropped == {}
    assert len({split for split, one in kept(tmp_path) if base[0] in one.text}) == 1
    targets = [{"text": row["text"], "to": f"answer {number // 2}"} for number, row in enumerate(rows)]
    report = made(tmp_path, targets, own_fields=fields("text", None, "to"))
    assert report.dropped == {"near_duplicate": 15}
    assert len({split for split, one in kept(tmp_path) if base[0] in one.text}) == 1


def test_where_a_field_decides_the_split_what_is_tested_stays(tmp_path: Path) -> None:
    base = prose(80)
    rows = [{"text": " ".join([*base[:place], "x", *base[place + 1 :]]), "work": f"of {place}"} for place in range(40)]
    rows[7]["text"] += " and somewhat longer"
    report = made(tmp_path, rows, own_fields=fields("text", None, None, "work"), split={"by": "work"})
    [(split, _)] = [(split, one) for split, one in kept(tmp_path) if base[-1] in one.text]
    assert split is Split.test
    assert report.dropped == {"near_duplicate": 39}


def test_any_order_gives_the_same(tmp_path: Path) -> None:
    rows = [{"text": " ".join(words)} for _ in range(6) for words in variants().values()]
    found = set()
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        made(tmp_path, rows, filling=0)
        found.add(tuple(sorted((split, one.id, one.metadata["copies"]) for split, one in kept(tmp_path))))
    assert len(found) == 1


def test_adding_documents_moves_only_what_they_are_alike_to(tmp_path: Path) -> None:
    rows = [{"text": " ".join(prose(40))} for _ in range(100)]
    made(tmp_path, rows, filling=0)
    before = {one.text: split for split, one in kept(tmp_path)}
    longer = [{"text": row["text"] + " and more"} for row in rows[:10]]
    made(tmp_path, [*rows, *longer], filling=40)
    after = {one.text: split for split, one in kept(tmp_path)}
    assert all(after[row["text"]] is before[row["text"]] for row in rows[10:])


def test_duplicates_that_are_kept_are_in_one_split(tmp_path: Path) -> None:
    base = prose(60)
    copies = [[*base[:place], "x", *base[place + 1 :]] for place in range(20, 40)]
    report = made(tmp_path, texts(*copies, copies[0]), drop_duplicates=False)
    assert report.dropped == {}
    found = [(split, one) for split, one in kept(tmp_path) if base[0] in one.text]
    assert len(found) == 21
    assert len({split for split, _ in found}) == 1
    assert {one.metadata["copies"] for _, one in found} == {"10+"}


def test_off(tmp_path: Path) -> None:
    base = prose(60)
    report = made(tmp_path, texts(base, base[:50]), near={})
    assert report.dropped == {}
    assert {one.metadata["copies"] for _, one in kept(tmp_path)} == {"1"}


def test_training_documents_are_repeated_by_their_copies(tmp_path: Path) -> None:
    groups = [[prose(40)] for _ in range(40)] + [[base, [*base, "x"]] for base in (prose(40) for _ in range(40))]
    rows = texts(*itertools.chain.from_iterable(groups))
    made(tmp_path, rows, near={"repeat": {"2-3": 3}}, filling=0)
    train = list(read_documents(documents_path(tmp_path / "out", Split.train)))
    names = [one.id for one in train]
    assert len(set(names)) == len(names)
    for one in train:
        occurrences = [name for name in names if name.startswith(one.id[:32])]
        wanted = 3 if one.metadata["copies"] == "2-3" else 1
        assert sorted(occurrences) == [f"{one.id[:32]}-{number + 1}" for number in range(wanted)]
    assert {one.metadata["copies"] for one in train} == {"1", "2-3"}
    held_out = [one for split, one in kept(tmp_path) if split is not Split.train]
    assert all(one.id.endswith("-1") for one in held_out)


def test_code_is_compared_with_its_signs(tmp_path: Path) -> None:
    lines = [f"    v{number} = f{number}(a) + b[{number}]" for number in range(30)]
    one, other = "\n".join(lines), "\n".join(line.replace("+", "-").replace("(a)", "[a]") for line in lines)
    assert made(tmp_path, [{"text": one}, {"text": other}], fold=Folding.code).dropped == {}
    assert made(tmp_path, [{"text": one}, {"text": other}]).dropped == {"near_duplicate": 1}


def test_scripts_without_spaces_are_compared_by_character(tmp_path: Path) -> None:
    signs = [chr(0x4E00 + RANDOM.randrange(5000)) for _ in range(80)]
    changed = [*signs[:40], "一", *signs[41:]]
    report = made(tmp_path, [{"text": "".join(signs)}, {"text": "".join(changed)}])
    assert report.dropped == {"near_duplicate": 1}
