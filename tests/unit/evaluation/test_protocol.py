"""Two evaluations stand side by side only where nothing that decides a score differs."""

from __future__ import annotations

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.errors import EvaluationError
from langmill.evaluation.protocol import NOT_SCORING, documents_digest, protocol_digest, require_comparable
from langmill.files import write_text
from langmill.scoring.base import Metric, Scorer
from langmill.tasks.base import TASKS
from tests.refused import refused

from ..tasks.settings import CONF, evaluation, shipped_scorer

pytestmark = pytest.mark.unit
FILES = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def changed(value: Any) -> Any:
    """Another value of the same type that the options take."""
    match value:
        case bool():
            return not value
        case Enum():
            return next(other for other in type(value) if other is not value)
        case int():
            return value + 1
        case float():
            return value / 2 if value else 0.25
        case str():
            return value + "x"
        case list():
            return value[1:] or ["exact_match"]  # names of metrics must be there
        case dict():
            return {**value, "more": ["a"]}
        case None:
            return "more"
    raise AssertionError(f"say how a {type(value).__name__} changes")


def variants(options: Any) -> list[tuple[str, Any]]:
    """Each field of some options changed, fields of options within options too."""
    found = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        inner = variants(value) if dataclasses.is_dataclass(value) else [("", changed(value))]
        for name, other in inner:
            copy = object.__new__(type(options))  # whether the options take it is not the question
            copy.__dict__.update({**vars(options), field.name: other})
            found.append((f"{field.name}.{name}".rstrip("."), copy))
    return found


def digest(scorer: Scorer, settings: Evaluation, *, name: str = "t", test_set: str = "d", by: str | None = None) -> str:
    return protocol_digest(name, scorer, test_set, settings, by)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Document)])
def test_every_field_of_a_document_counts(field: str) -> None:
    documents = [
        Document(f"d{number}", f"text {number}", "a", "b", {"answers": '["c"]', "history": "[]", "form": "f"})
        for number in range(3)
    ]
    value = getattr(documents[1], field)
    others = [{**value, key: "x"} for key in value] if isinstance(value, dict) else [f"{value} and more"]
    for other in others:
        moved = [documents[0], dataclasses.replace(documents[1], **{field: other}), documents[2]]
        assert documents_digest(moved) != documents_digest(documents)
    assert documents_digest(documents[::-1]) == documents_digest(documents)


@pytest.mark.parametrize("file", FILES)
def test_every_option_of_a_task_and_its_scorer_counts(file: str) -> None:
    scorer, settings = shipped_scorer(file), evaluation()
    known = digest(scorer, settings)
    for part in (scorer.task, scorer):
        found = variants(part.options)
        names = {name.split(".")[0] for name, _ in found}
        assert names == {field.name for field in dataclasses.fields(part.options)}
        for name, options in found:
            other = object.__new__(type(part))
            other.__dict__.update({**vars(part), "options": options})
            judged = other if part is scorer else scorer.with_task(other)
            assert digest(judged, settings) != known, name


def test_every_task_is_among_the_files() -> None:
    names = {yaml.safe_load((CONF / "task" / f"{file}.yaml").read_text())["task"]["name"] for file in FILES}
    assert names == set(TASKS.names())


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Evaluation)])
def test_every_setting_of_the_evaluation_counts_that_reaches_a_score(field: str) -> None:
    scorer, settings = shipped_scorer("language_modelling"), evaluation()
    other = object.__new__(Evaluation)
    other.__dict__.update({**vars(settings), field: changed(getattr(settings, field))})
    assert (digest(scorer, settings) == digest(scorer, other)) == (field in NOT_SCORING)


def test_labels_task_documents_and_groups_count() -> None:
    scorer, settings = shipped_scorer("classification", ("a", "b")), evaluation()
    known = digest(scorer, settings)
    assert digest(scorer.with_labels(("a", "b", "c")), settings) != known
    assert digest(scorer, settings, name="other") != known
    assert digest(scorer, settings, test_set="other") != known
    assert digest(scorer, settings, by="work") != known
    assert digest(shipped_scorer("classification", ("a", "b")), evaluation()) == known


@pytest.mark.parametrize(
    ("file", "group", "name"),
    [
        ("language_modelling", "scorers", "language_modelling"),
        ("language_modelling", "tasks", "t"),
        ("text_to_text", "metrics", "chrf"),
    ],
)
def test_the_code_of_other_distributions_that_judge_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, group: str, name: str
) -> None:
    scorer, settings = shipped_scorer(file), evaluation()
    write_text(tmp_path / "toy.py", "ROUNDED = 1")
    write_text(tmp_path / "toy-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    write_text(tmp_path / "toy-1.0.dist-info" / "entry_points.txt", f"[langmill.{group}]\n{name} = toy\n")
    without = digest(scorer, settings)
    monkeypatch.syspath_prepend(str(tmp_path))
    first = digest(scorer, settings)
    write_text(tmp_path / "toy.py", "ROUNDED = 2")
    assert len({without, first, digest(scorer, settings)}) == 3
    write_text(tmp_path / "toy.py", "ROUNDED = 1")
    assert digest(scorer, settings) == first


def test_a_champion_is_judged_by_the_challengers_options_and_asked_by_its_own() -> None:
    old = shipped_scorer("completion", template="Q: {text}")
    new = shipped_scorer("completion", decoding={"num_beams": 4})
    judged = new.with_task(old.task)
    assert judged.options.decoding.num_beams == 4 and judged.task.options.template == "Q: {text}"


@pytest.mark.parametrize("file", FILES)
def test_what_counts_tokens_is_not_compared_between_tokenizers(file: str) -> None:
    names = {metric.name for metric in shipped_scorer(file, ("a", "b")).metrics if metric.per_token}
    assert names <= {"perplexity", "next_token_accuracy", "masked_loss", "masked_accuracy"}
    assert ("bits_per_byte" in {metric.name for metric in shipped_scorer(file).metrics}) == ("perplexity" in names)
    for metric in shipped_scorer(file).metrics:
        require_comparable(metric, ("a", "a"), "version 1")
        for tokenizers in (("a", "b"), ("a", None), (None, None)):
            if metric.per_token:
                with refused(EvaluationError, "mismatch", metric.title, "version 1", "gate.metric"):
                    require_comparable(metric, tokenizers, "version 1")
            else:
                require_comparable(metric, tokenizers, "version 1")


def test_a_metric_counts_no_tokens_unless_it_says_so() -> None:
    assert not Metric("new", "New", higher_is_better=True).per_token


def test_what_a_vocabulary_loses_counts_where_a_metric_is_of_bytes() -> None:
    """What is lost costs nothing, so such bits per byte stand beside none but those with the same losses."""
    language, labels = shipped_scorer("language_modelling"), shipped_scorer("classification", ("a", "b"))

    def found(scorer: Scorer, *losses: str) -> str:
        return protocol_digest("t", scorer, "d", evaluation(), None, losses=losses)

    assert len({found(language), found(language, "case"), found(language, "case", "white space")}) == 3
    assert found(language, "case", "white space") == found(language, "white space", "case")
    assert found(labels) == found(labels, "case")
