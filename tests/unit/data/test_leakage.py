"""Test documents that stand in training documents are counted, named and marked."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langmill.data import leakage
from langmill.data.corpus import make_corpus
from langmill.data.document import Document, Split, documents_path, read_documents
from langmill.data.folding import key_of
from langmill.data.report import Report
from langmill.data.splits import split_of_key
from langmill.data.spool import Spool
from tests.unit.data.settings import fields, settings

pytestmark = pytest.mark.unit
RANDOM = random.Random(2)


def prose(count: int) -> list[str]:
    return [f"w{RANDOM.randrange(10**9)}" for _ in range(count)]


def works(split: Split) -> Iterator[str]:
    """Names of works that fall to a split."""
    wanted = settings(fields("text", None, None, "work"), {"by": "work"}).split
    return (name for name in map("work {}".format, range(10**6)) if split_of_key(key_of(name), wanted) is split)


def made(tmp_path: Path, test: list[dict[str, Any]], train: list[dict[str, Any]], share: float = 0) -> Report:
    for name in ("raw", "out"):
        (tmp_path / name).mkdir(exist_ok=True)
    filling = [{"text": " ".join(prose(30))} for _ in range(60)]
    placed = [
        {**row, "work": name}
        for rows, split in ((test, Split.test), (train, Split.train), (filling[:20], Split.validation),
                            (filling[20:40], Split.train), (filling[40:], Split.test))
        for row, name in zip(rows, works(split), strict=False)
    ]  # fmt: skip
    (tmp_path / "raw" / "a.jsonl").write_text("".join(f"{json.dumps({'to': 'x', **row})}\n" for row in placed))
    wanted = settings(fields("text", None, "to", "work"), {"by": "work"})
    assert wanted.cleaning.leakage is not None
    cleaning = replace(wanted.cleaning, leakage=replace(wanted.cleaning.leakage, share=share))
    return make_corpus(tmp_path / "raw", tmp_path / "out", replace(wanted, cleaning=cleaning), lambda _: None)


def documents(tmp_path: Path, split: Split) -> list[Document]:
    return list(read_documents(documents_path(tmp_path / "out", split)))


def leaked(tmp_path: Path) -> set[str]:
    return {one.text for one in documents(tmp_path, Split.test) if one.metadata["leaked"] == "yes"}


def test_a_passage_in_training_is_found_and_named(tmp_path: Path) -> None:
    passage, whole = prose(20), prose(12)
    test = [" ".join([*prose(40), *passage, *prose(40)]), " ".join(prose(100)), " ".join(whole[:10])]
    train = [" ".join([*prose(60), *passage]), " ".join([*whole, *prose(30)])]
    report = made(tmp_path, [{"text": text} for text in test], [{"text": text} for text in train])
    assert leaked(tmp_path) == {test[0], test[2]}
    told = report.as_json()["leakage"]
    assert (told["test_documents"], told["leaked"]) == (23, 2)
    assert told["share"] == pytest.approx(2 / 23)
    names = {one.id: one.text for split in (Split.test, Split.train) for one in documents(tmp_path, split)}
    examples = [(names[each["test"]], names[each["train"]], each["overlap"]) for each in told["examples"]]
    # Three 8-grams of three; 8 13-grams of 88 of the text, and none of its target.
    assert examples == [(test[2], train[1], 1.0), (test[0], train[0], pytest.approx(8 / 88))]
    assert not any("leaked" in one.metadata for one in documents(tmp_path, Split.train))


def test_a_share_may_be_asked_for(tmp_path: Path) -> None:
    passage = prose(20)
    test = [" ".join([*prose(40), *passage, *prose(40)]), " ".join([*passage, *prose(5)])]
    train = [{"text": " ".join([*passage, *prose(80)])}]
    report = made(tmp_path, [{"text": text} for text in test], train, share=0.2)
    assert leaked(tmp_path) == {test[1]}
    assert report.as_json()["leakage"]["leaked"] == 1


def test_twelve_words_and_what_many_documents_have_leak_nothing(tmp_path: Path) -> None:
    short, form = prose(12), prose(30)
    test = [{"text": " ".join([*prose(40), *short])}, {"text": " ".join([*prose(40), *form])}]
    train = [{"text": " ".join([*short, *prose(40)])}] + [{"text": " ".join([*form, *prose(90)])} for _ in range(11)]
    made(tmp_path, test, train)
    assert leaked(tmp_path) == set()
    made(tmp_path, test, train[:-1])
    assert leaked(tmp_path) == {test[1]["text"]}


def test_targets_leak_too(tmp_path: Path) -> None:
    answer = " ".join(prose(30))
    made(tmp_path, [{"text": "What?", "to": answer}], [{"text": "And so?", "to": f"{answer} indeed"}])
    assert leaked(tmp_path) == {"What?"}


def test_parts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = [prose(20) for _ in range(9)]
    test = [{"text": " ".join([*prose(20), *passage])} for passage in passages]
    train = [{"text": " ".join([*passage, *prose(70)])} for passage in passages[:5] for _ in range(3)]
    read, ngrams = list[int](), leakage._ngrams

    def counted(spool: Spool, chosen: Any, size: int, *more: Any) -> Iterator[Any]:
        read.append(size)
        return ngrams(spool, chosen, size, *more)

    monkeypatch.setattr(leakage, "_ngrams", counted)
    whole = made(tmp_path, test, train).as_json()["leakage"]
    monkeypatch.setattr(leakage, "_TEST_NGRAMS", 40)
    monkeypatch.setattr(leakage, "_FILTER_BITS", 8)  # nearly every n-gram is through
    RANDOM.seed(3)
    parts = made(tmp_path, test, train).as_json()["leakage"]
    assert (whole["leaked"], parts["leaked"]) == (5, 5)
    assert [each["test"] for each in whole["examples"]] == [each["test"] for each in parts["examples"]]
    assert read == [13, 13] * 2  # test and training documents once each, in however many parts


def test_a_run_that_stands_twice_in_a_training_document_is_of_one(tmp_path: Path) -> None:
    form = " ".join(prose(30))
    train = [{"text": f"{form} {' '.join(prose(90))}", "to": form} for _ in range(6)]
    made(tmp_path, [{"text": " ".join([*prose(40), form])}], train)
    assert len(leaked(tmp_path)) == 1


def test_short_texts_with_short_targets_leak_too(tmp_path: Path) -> None:
    """Neither has 13 words, and no n-gram begins in the one and ends in the other."""
    text, target = prose(10), prose(10)
    pair = {"text": " ".join(text), "to": " ".join(target)}
    made(tmp_path, [{**pair, "text": f"{pair['text']} asked"}], [{**pair, "to": f"{pair['to']} indeed, and more"}])
    assert leaked(tmp_path) == {f"{pair['text']} asked"}
