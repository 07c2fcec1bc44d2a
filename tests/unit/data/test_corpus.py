"""From raw files to splits: what is kept, what is counted, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from langmill.data.cleaning.characters import clean_characters
from langmill.data.corpus import CorpusSettings, make_corpus
from langmill.data.document import Document, Split, documents_path, read_documents
from langmill.data.folding import fold, key_of
from langmill.data.report import Report
from langmill.data.splits import split_of_key
from langmill.errors import DataError
from tests.refused import refused
from tests.unit.data.settings import fields, settings

pytestmark = pytest.mark.unit


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("raw", "out"):
        (tmp_path / name).mkdir()
    return tmp_path / "raw", tmp_path / "out"


def write_rows(raw: Path, rows: list[dict[str, object]], name: str = "a.jsonl") -> None:
    (raw / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def make(raw: Path, out: Path, wanted: CorpusSettings) -> Report:
    return make_corpus(raw, out, wanted, lambda _: None)


def documents(out: Path) -> dict[Split, list[Document]]:
    return {split: list(read_documents(documents_path(out, split))) for split in Split}


def many(count: int = 200) -> list[dict[str, object]]:
    return [{"text": f"document {number}", "label": number % 2} for number in range(count)]


def test_every_row_is_accounted_for(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    rows = many()
    rows += [{"text": "<br>"}, {"text": "no"}, {"text": "long " * 30}, {"text": 5}, {"other": 1}]
    rows += [{"text": "Document  7", "label": 0}, {"text": "DOCUMENT 8", "label": 0}]
    write_rows(raw, rows)
    with (raw / "a.jsonl").open("a") as file:
        file.write("not json\n")
    report = make(raw, out, settings(fields("text", "label"), length={"min_characters": 3, "max_characters": 100}))
    told = report.as_json()
    assert told["rows"] == 208
    assert told["quarantined"] == {"wrong_type": 1, "missing_text": 1, "corrupt": 1}
    assert told["dropped"] == {"empty": 1, "too_short": 1, "too_long": 1, "duplicate": 2}
    assert told["duplicates"] == {"count": 2, "other_label": 1, "other_target": 0}
    assert told["documents"] == 200
    assert told["rows"] == told["documents"] + sum(told["dropped"].values()) + sum(told["quarantined"].values())
    kept = documents(out)
    assert {split.value: len(found) for split, found in kept.items()} == {
        split: count["documents"] for split, count in told["splits"].items()
    }
    assert pq.read_table(out / "quarantine.parquet").to_pylist() == [
        {"where": "a.jsonl:204", "reason": "wrong_type", "row": '{"text": 5}'},
        {"where": "a.jsonl:205", "reason": "missing_text", "row": '{"other": 1}'},
        {"where": "a.jsonl:208", "reason": "corrupt", "row": "not json\n"},
    ]


def test_the_same_one_of_duplicates_is_kept_in_any_order(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    rows = [{"text": "Same  Text", "label": 1}, {"text": "same text", "label": 0}, {"text": "SAME\nTEXT", "label": 1}]
    kept = set()
    for order in itertools.permutations(rows):
        write_rows(raw, [*order, *many()])
        report = make(raw, out, settings(fields("text", "label")))
        [same] = [one for found in documents(out).values() for one in found if fold(one.text) == "same text"]
        kept.add((same.id, same.text, same.label))
        assert (report.duplicates, report.dropped, report.num_documents) == (2, {"duplicate": 2}, 201)
        assert report.other_label in (1, 2)
        [place] = [row for row in pq.read_table(out / "places.parquet").to_pylist() if row["id"] == same.id]
        [number] = [number for number, row in enumerate(order, 1) if clean_characters(str(row["text"])) == same.text]
        assert place["where"] == f"a.jsonl:{number}"
    assert len(kept) == 1


def test_duplicates_can_be_kept_and_are_still_counted(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    rows = [{"text": "Same", "to": "a"}, {"text": "same", "to": "b"}, {"text": "same", "to": "a"}]
    write_rows(raw, [*rows, *many()])
    report = make(raw, out, settings(fields("text", None, "to"), drop_duplicates=False))
    same = {split: [one for one in found if fold(one.text) == "same"] for split, found in documents(out).items()}
    [[first, second, third]] = filter(None, same.values())
    assert [(one.text, one.target) for one in (first, second, third)] == [("Same", "a"), ("same", "b"), ("same", "a")]
    assert len({first.id, second.id, third.id}) == 3
    assert (report.duplicates, report.other_target, report.dropped) == (1, 1, {})


def test_another_target_makes_another_document_in_the_same_split(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    rows = [{"text": "How are you?", "to": to} for to in ("Well.", "Tired.", "WELL.", "Tired.")]
    write_rows(raw, [*rows, *many()])
    report = make(raw, out, settings(fields("text", None, "to")))
    kept = [(split, one.target) for split, found in documents(out).items() for one in found if one.target]
    assert sorted(str(target).lower() for _, target in kept) == ["tired.", "well."]
    assert len({split for split, _ in kept}) == 1
    assert (report.duplicates, report.other_target, report.dropped) == (2, 1, {"duplicate": 2})
    assert "an earlier one but have another target: 1" in report.as_markdown()
    splits = report.as_json()["splits"].values()
    assert (sum(part["targets"] for part in splits), sum(part["target_characters"] for part in splits)) == (2, 11)


def test_pairs_that_say_the_same_can_be_dropped(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, [{"text": "OK ", "to": "ok"}, {"text": "Yes", "to": "Ja"}, *many()])
    report = make(raw, out, settings(fields("text", None, "to"), copies={}))
    assert report.dropped == {"copy": 1}
    assert report.num_documents == 201


# Ids -----------------------------------------------------------------------------------------------------------------


def names(out: Path) -> dict[Split, set[tuple[str, str]]]:
    return {split: {(one.id, one.text) for one in found} for split, found in documents(out).items()}


def test_an_inserted_row_renames_no_document(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, many())
    make(raw, out, settings(fields("text", "label")))
    before = names(out)
    write_rows(raw, [{"text": "a new first row", "label": 1}, *many()])
    make(raw, out, settings(fields("text", "label")))
    after = names(out)
    new = {one for found in after.values() for one in found} - {one for found in before.values() for one in found}
    assert [text for _, text in new] == ["a new first row"]
    assert all(before[split] <= after[split] for split in Split)


def test_an_id_is_the_contents_digest_and_a_number(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, [{"text": "Same ", "label": 1}] * 3 + many())
    make(raw, out, settings(fields("text", "label"), drop_duplicates=False))
    digest = hashlib.sha256(b"4 1 -1 Same1").hexdigest()[:32]
    found = {one.id for part in documents(out).values() for one in part if one.text == "Same"}
    assert found == {f"{digest}-1", f"{digest}-2", f"{digest}-3"}


def test_metadata_is_no_part_of_an_id(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, [{**row, "source": "x"} for row in many()])
    make(raw, out, settings(fields("text", "label")))
    before = names(out)
    make(raw, out, settings(fields("text", "label", None, "source")))
    assert names(out) == before


@hypothesis_settings(max_examples=12, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a b", "A  b", "A B", "c"]), st.sampled_from("xXy"), st.sampled_from("1234567")),
        min_size=1,
        max_size=30,
    ),
    by=st.sampled_from([None, "work"]),
    order=st.randoms(use_true_random=False),
)
def test_order_and_file_names_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], by: str | None, order: random.Random
) -> None:
    wanted = settings(fields("text", None, "to", "work"), {"by": by})
    given_rows = [{"text": text, "to": to, "work": work} for text, to, work in rows]
    given_rows += [{"text": str(row["text"]), "to": "z", "work": str(row["text"])} for row in many(60)]
    found = []
    for renamed in (False, True):
        raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
        write_rows(raw, given_rows[:40], "b.jsonl" if renamed else "a.jsonl")
        write_rows(raw, given_rows[40:], "a.jsonl" if renamed else "c.jsonl")
        report = make(raw, out, wanted)
        assert report.rows == report.num_documents + report.dropped.total()
        placed = pq.read_table(out / "places.parquet").to_pylist()
        kept = names(out)
        assert sorted((row["split"], row["id"]) for row in placed) == sorted(
            (split.value, name) for split, part in kept.items() for name, _ in part
        )
        assert {split: count.documents for split, count in report.splits.items()} == {
            split: len(part) for split, part in kept.items()
        }
        found.append((kept, report.dropped.total(), report.duplicates, report.other_target))
        order.shuffle(given_rows)
    assert found[0] == found[1]


def test_the_test_split_goes_before_the_others(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    everywhere = [{"text": "THE END", "work": f"work {work}"} for work in range(60)]
    write_rows(raw, [*works(), *everywhere])
    make(raw, out, settings(fields("text", None, None, "work"), {"by": "work"}))
    assert [split for split, found in documents(out).items() for one in found if one.text == "THE END"] == [Split.test]


# Splits by a field ----------------------------------------------------------------------------------------------------


def works(count: int = 60, passages: int = 5) -> list[dict[str, object]]:
    return [
        {"text": f"passage {passage} of {work}", "work": f"work {work}"}
        for work in range(count)
        for passage in range(passages)
    ]


def test_equal_values_stay_in_one_split(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, works())
    make(raw, out, settings(fields("text", None, None, "work"), {"by": "work"}))
    splits = {split: {one.metadata["work"] for one in found} for split, found in documents(out).items()}
    assert all(splits.values())
    assert sum(map(len, splits.values())) == 60


def test_documents_without_a_value_go_by_their_text(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, [{**row, "work": ""} for row in many()])
    wanted = settings(fields("text", None, None, "work"), {"by": "work"})
    by_text = settings(fields("text", None, None, "work"))
    found = []
    for each in (wanted, by_text):
        make(raw, out, each)
        found.append({one.text: split for split, part in documents(out).items() for one in part})
    assert found[0] == found[1]


def test_no_text_stands_in_two_splits(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    everywhere = [{"text": "THE END", "work": f"work {work}"} for work in range(60)]
    write_rows(raw, [*works(), *everywhere])
    report = make(raw, out, settings(fields("text", None, None, "work"), {"by": "work"}))
    assert report.dropped == {"duplicate": 59}
    wanted = settings(fields("text", None, None, "work"), {"by": "work"}, drop_duplicates=False)
    with refused(DataError, "mismatch", "a.jsonl:", "the corpus tiny", "cleaning.drop_duplicates", "split.by"):
        make(raw, out, wanted)


def test_a_text_with_another_target_in_another_split_is_dropped_and_counted(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    asked = [{"text": "And you?", "to": f"Answer {work}", "work": f"work {work}"} for work in range(60)]
    write_rows(raw, [*works(), *asked])
    report = make(raw, out, settings(fields("text", None, "to", "work"), {"by": "work"}))
    splits = [split for split, found in documents(out).items() for one in found if one.text == "And you?"]
    assert len(set(splits)) == 1
    assert report.dropped == {"cross_split": 60 - len(splits)}
    assert report.other_target == 59
    assert report.rows == report.num_documents + sum(report.dropped.values())


def test_adding_documents_moves_none(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, many(100))
    make(raw, out, settings())
    before = {one.text: split for split, found in documents(out).items() for one in found}
    write_rows(raw, many(300), "0.jsonl")
    make(raw, out, settings())
    after = {one.text: split for split, found in documents(out).items() for one in found}
    assert len(before) == 100
    assert len(after) == 300
    assert {text: after[text] for text in before} == before


@hypothesis_settings(max_examples=10, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aAéE\u0301 \n<b>"), min_size=1, max_size=6), min_size=1, max_size=40),
    st.booleans(),
)
def test_splits_share_no_text(tmp_path_factory: pytest.TempPathFactory, found: list[str], drop: bool) -> None:
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
    write_rows(raw, [{"text": text} for text in found] + many(60))
    make(raw, out, settings(drop_duplicates=drop))
    kept = documents(out)
    folded = {split: [fold(one.text) for one in part] for split, part in kept.items()}
    assert sum(len(set(part)) for part in folded.values()) == len(set().union(*folded.values()))
    if drop:
        assert all(len(set(part)) == len(part) for part in folded.values())


def test_workers_and_repetition_change_no_byte(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, [{"text": f"<p>document {number}</p>" * 3, "label": number % 3} for number in range(5000)])
    results = []
    for workers in (1, 2, 2):
        report = make(raw, out, settings(fields("text", "label"), workers=workers))
        files = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
        results.append((files, report.as_json(), report.as_markdown()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], ["The corpus tiny", "0 rows read"]),
        (
            [{"text": ""}, {"text": 3}],
            ["2 rows read", "1 quarantined (wrong type: 1; the first is a.jsonl:2)", "1 dropped (empty: 1)"],
        ),
        ([{"text": "one"}], ["The corpus tiny", "1 usable document;", " split", "Add data: 120 documents or so"]),
    ],
)
def test_too_little(folders: tuple[Path, Path], rows: list[dict[str, object]], told: list[str]) -> None:
    raw, out = folders
    write_rows(raw, rows)
    with refused(DataError, "too_few", *told):
        make(raw, out, settings())


def test_what_emptied_a_split_is_named(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    wanted = settings(fields("text", None, None, "work"), {"by": "work", "validation": 0.01})
    by_split: dict[Split, str] = {}
    for number in range(5000):
        by_split.setdefault(split_of_key(key_of(f"work {number}"), wanted.split), f"work {number}")
    rows = [{"text": f"passage {number}", "work": by_split[Split.test]} for number in range(20)]
    copies = [{**row, "work": by_split[Split.validation]} for row in rows[:7]]
    write_rows(raw, [*rows, *copies, *({**row, "work": by_split[Split.train]} for row in many())])
    with refused(DataError, "too_few", "validation split, where 7 dropped (duplicate: 7)", "raise split.validation"):
        make(raw, out, wanted)


def test_the_report_outlives_an_error(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    (raw / "a.jsonl").write_bytes(b'{"text": "\xc3\xa4\xc3\xa4 caf\xe9"}\n{"text": ""}\n')
    report = Report("tiny")
    with refused(DataError, "too_few", "a.jsonl: The file is in UTF-8, but line 1 has the byte 0xe9"):
        make_corpus(raw, out, settings(), lambda _: None, report)
    assert (report.rows, report.quarantined, report.dropped) == (2, {"undecodable": 1}, {"empty": 1})
    assert report.causes.keys() == {"a.jsonl"}
    assert pq.read_table(out / "quarantine.parquet").num_rows == 1


def test_a_wrong_field_leaves_the_quarantine_readable(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    write_rows(raw, many())
    with refused(DataError, "unknown", "body", "fields.text"):
        make(raw, out, settings(fields("body")))
    assert pq.read_table(out / "quarantine.parquet").num_rows == 200


@pytest.mark.parametrize("split", list(Split))
def test_an_empty_split_is_named(folders: tuple[Path, Path], split: Split) -> None:

    raw, out = folders
    wanted = settings()
    rows = [row for row in many() if split_of_key(key_of(str(row["text"])), wanted.split) is not split]
    write_rows(raw, rows)
    with refused(DataError, "too_few", f"{len(rows)} usable documents", f"the {split} split", "Add data"):
        make(raw, out, wanted)


def test_lone_surrogates_and_nuls_can_stand_anywhere(folders: tuple[Path, Path]) -> None:
    raw, out = folders
    odd = {"text": "half \ud83d a\0 pair", "label": "\ud83d", "to": "\ufefft\udc00", "work": "w\ud800"}
    write_rows(raw, [odd, *({**row, "to": "x", "work": str(row["text"])} for row in many())])
    make(raw, out, settings(fields("text", "label", "to", "work"), {"by": "work"}))
    [found] = [one for part in documents(out).values() for one in part if one.text.startswith("half")]
    assert (found.text, found.label, found.target) == ("half a pair", "\\ud83d", "t")
    assert found.metadata["work"] == "w\\ud800"
