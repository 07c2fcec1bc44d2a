"""The step `quality`: what is unlike a person's good examples, by perplexity or by a classifier."""

from __future__ import annotations

import itertools
import json
import pickle
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from langmill.config.typed import typed
from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import Draft, Dropped
from langmill.data.cleaning.pool import clean_batches
from langmill.data.cleaning.quality import Examples, Quality, QualityOptions
from langmill.data.corpus import make_corpus
from langmill.data.rows import Row
from langmill.errors import Code, DataError
from langmill.files import sha256_file
from tests.refused import refused
from tests.unit.data.settings import cleaning, settings

pytestmark = pytest.mark.unit
_SUBJECTS, _VERBS = ("the miller", "her old donkey", "a neighbour", "the river"), ("carries", "grinds", "follows")
_OBJECTS, _ENDS = (
    ("the grain", "a sack of flour", "the wheel"),
    ("in the morning", "down to the mill", "without a word"),
)
_GERMAN = "der müller trägt einen sack mehl zur mühle am fluss und sagt kein wort mehr"


def stories(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    sentences = [" ".join(parts) for parts in itertools.product(_SUBJECTS, _VERBS, _OBJECTS, _ENDS)]
    return [". ".join(draw.choices(sentences, k=4)) for _ in range(count)]


def shuffled(texts: Sequence[str]) -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.sample(words, len(words))) for words in map(str.split, texts)]


def examples(path: Path, texts: Sequence[str]) -> Examples:
    if path.suffix == ".txt":
        path.write_text("\n\n".join(text.ljust(1100, ".") for text in texts))
    else:
        path.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    return Examples(str(path), sha256_file(path), "body")


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Quality]:
    folder = tmp_path_factory.mktemp("examples")
    good = examples(folder / "good.jsonl", stories(200))
    bad = examples(folder / "bad.jsonl", shuffled(stories(200, 2)))
    return {"perplexity": Quality(QualityOptions(good)), "classifier": Quality(QualityOptions(good, bad))}


@pytest.mark.parametrize("which", ["perplexity", "classifier"])
def test_good_ones_stay_and_shuffled_ones_go(which: str, steps: dict[str, Quality]) -> None:
    step, good, bad = steps[which], stories(50, 3), shuffled(stories(50, 4))
    kept = step.clean_batch([Draft(text, metadata={"source": "a"}) for text in good])
    lost = step.clean_batch([Draft(text) for text in bad])
    assert sum(isinstance(one, Draft) for one in kept) >= 46  # 99 of 100, by the few that the limit is drawn from
    assert sum(isinstance(one, Dropped) for one in lost) >= 48
    one = next(one for one in kept if isinstance(one, Draft))
    score = float(one.metadata["quality"])
    assert one.metadata["source"] == "a"
    assert one.changes == ((f"{int(score):02d} bits per word",) if which == "perplexity" else ("probability 0.9",))
    assert {each.reason for each in lost if isinstance(each, Dropped)} == {"low_quality"}
    assert all(each.score is not None for each in lost if isinstance(each, Dropped))


def test_another_language_costs_more_bits_than_shuffled_words(steps: dict[str, Quality]) -> None:
    good, mixed, german = steps["perplexity"].model([stories(1, 5)[0], shuffled(stories(1, 5))[0], _GERMAN])
    assert good < mixed < german


@pytest.mark.parametrize("which", ["perplexity", "classifier"])
def test_the_others_of_a_batch_decide_nothing(which: str, steps: dict[str, Quality]) -> None:
    drafts = [
        Draft(text) for text in (*stories(5, 6), "too short", "", *shuffled(stories(5, 7)), "ด้วย " * 12, "... " * 9)
    ]
    step = steps[which]
    assert step.clean_batch(drafts) == [step.clean(draft) for draft in drafts]
    assert step.clean(Draft("too short to say")) == Draft("too short to say")
    assert step.clean_batch([]) == []


def test_text_files_are_passages_and_words_ignore_case_digits_and_punctuation(tmp_path: Path) -> None:
    step = Quality(QualityOptions(examples(tmp_path / "good.txt", stories(150))))
    plain = "the miller carries the grain in the morning at 10"
    assert step.model([plain]) == step.model(["The miller: carries -- the (grain) in the morning, at 25!"])
    assert step.model([plain]) < step.model([plain.replace("grain", "quark")])


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"path": "nowhere.jsonl"}, "missing", ["nowhere.jsonl", "options.quality.good.path"]),
        ({"sha256": "0" * 64}, "mismatch", ["good.jsonl", "options.quality.good.sha256", "its own is"]),
        ({"text": "title"}, "too_few", ["0 texts", "'title'", "100"]),
    ],
)
def test_examples_that_are_not_what_is_pinned(
    changed: dict[str, Any], code: Code, told: list[str], tmp_path: Path
) -> None:
    good = examples(tmp_path / "good.jsonl", stories(120))
    options = QualityOptions(Examples(**{"path": good.path, "sha256": good.sha256, "text": good.text} | changed))
    with refused(DataError, code, *told):
        Quality(options)


@pytest.mark.parametrize("with_bad", [False, True])
def test_it_learns_once_and_the_number_of_workers_changes_nothing(tmp_path: Path, with_bad: bool) -> None:
    """The examples are away before the first row is read, so that no other process can learn from them."""
    texts = [*stories(1500, 8), *shuffled(stories(700, 9))]
    found = []
    for workers in (1, 2)[: 2 - with_bad]:
        good = examples(tmp_path / "good.jsonl", stories(200))
        bad = examples(tmp_path / "bad.jsonl", shuffled(stories(200, 2)))
        options: dict[str, Any] = {"good": vars(good)} | ({"bad": vars(bad)} if with_bad else {})

        def rows() -> Iterator[Row]:
            for path in tmp_path.iterdir():
                path.unlink()
            for number, text in enumerate(texts):
                yield Row(f"a.csv:{number}", text, None, None, {})

        batches = clean_batches(rows(), cleaning(workers=workers, quality=options), "tiny.yaml")
        found.append([one for _, (cleaned, _) in batches for one in cleaned])
    assert 600 < sum(one.dropped == "low_quality" for one in found[0]) < 800
    assert found == found[:1] * len(found)
    step = Quality(typed(QualityOptions, options, "tiny.yaml"))  # what was learned is still there, and can be sent
    sent = pickle.loads(pickle.dumps(Quality.learn(step.options)))
    drafts = [Draft(text) for text in texts[::50]]
    assert Quality(step.options, sent).clean_batch(drafts) == step.clean_batch(drafts)


def test_the_corpus_keeps_scores_of_what_stays_and_of_what_goes(tmp_path: Path) -> None:
    good = examples(tmp_path / "good.jsonl", stories(200))
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    texts = [*stories(60, 8), *shuffled(stories(20, 9))]
    (raw / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    options = {"good": {"path": good.path, "sha256": good.sha256, "text": "body"}}
    report = make_corpus(raw, out, settings(quality=options, near={}), lambda _: None)
    facts = report.as_json()["cleaning"]["quality"]
    dropped = [row for row in pq.read_table(out / "dropped.parquet").to_pylist() if row["step"] == "quality"]
    assert facts["dropped"] == {"low_quality": len(dropped)}
    assert len(dropped) >= 18
    assert sum(facts["changes"].values()) == len(texts) - len(dropped)
    worst_kept = max(int(name.split()[0]) for name in facts["changes"])
    assert min(row["score"] for row in dropped) >= worst_kept
    assert clean_documents([Draft(texts[0])], {})[0].score is None
