"""Rows of a query: in its order, without a change of the database, and no URL in what anybody reads."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from langmill.config.sections import Source
from langmill.data.sources.base import CorpusSource, build_source, differences
from langmill.data.sources.sql import ROWS
from langmill.errors import Code, ConfigError, LangmillError, SourceError
from tests.refused import refused
from tests.unit.data.settings import file_format

pytestmark = pytest.mark.unit
QUERY = "select id, body, stars from letters order by id"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "letters.db"
    change(path, "create table letters (id integer, body text, stars real)")
    change(path, "insert into letters values (2, 'Zweiter: Brief', 1.5), (1, 'Grüße\u2028\n\"x\"', null)")
    monkeypatch.setenv("LETTERS", f"sqlite:///{path}")
    return path


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)


def sql(query: str = QUERY, **options: Any) -> CorpusSource:
    options = {"url_variable": "LETTERS", **options}
    return build_source(Source("sql", [], None, {"query": query, **options}), "x.yaml")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ROWS).read_text(encoding="utf-8").split("\n")[:-1]]


def test_rows_come_in_the_order_of_the_query(database: Path, into: Path, tmp_path: Path) -> None:
    source = sql()
    source.recorded = source.fingerprint(None, tmp_path / "downloads")
    source.fetch(file_format(), into, tmp_path / "downloads")
    assert rows(into) == [
        {"id": 1, "body": 'Grüße\u2028\n"x"', "stars": None}, {"id": 2, "body": "Zweiter: Brief", "stars": 1.5},
    ]  # fmt: skip
    assert source.recorded[ROWS]["rows"] == 2
    assert str(tmp_path) not in json.dumps([source.facts(), source.recorded])


def test_a_change_is_seen_and_what_was_recorded_stays(database: Path, into: Path, tmp_path: Path) -> None:
    source, downloads = sql(), tmp_path / "downloads"
    source.recorded = before = source.fingerprint(None, downloads)
    assert source.fingerprint(before, downloads) == before
    change(database, "insert into letters values (3, 'New', 2)")
    assert differences(before, source.fingerprint(before, downloads)) == ["rows.jsonl has changed"]
    source.fetch(file_format(), into, downloads)
    assert len(rows(into)) == 2  # this machine has them still
    with refused(SourceError, "changed", "langmill refresh"):
        source.fetch(file_format(), into, tmp_path / "another machine")


def test_a_query_for_the_version_saves_reading_the_rows(database: Path, tmp_path: Path) -> None:
    source = sql(version_query="select count(*) from letters")
    before = source.fingerprint(None, tmp_path)
    assert before[ROWS]["version"] == [2]
    change(database, "update letters set body = 'x'")  # which this query can't see
    assert source.fingerprint(before, tmp_path) == before
    change(database, "insert into letters values (3, 'New', 2)")
    assert differences(before, source.fingerprint(before, tmp_path))


def test_the_database_is_not_written_to(database: Path, tmp_path: Path) -> None:
    with pytest.raises(LangmillError):
        sql("with x as (select 1) delete from letters where id in (select id from letters order by id)").fingerprint(
            None, tmp_path
        )
    assert sql().fingerprint(None, tmp_path)[ROWS]["rows"] == 2


def test_a_sample_is_the_first_rows(database: Path, into: Path, tmp_path: Path) -> None:
    values = ", ".join(f"({number}, 'x', 1)" for number in range(3, 2000))
    change(database, f"insert into letters values {values}")
    sql().sample(file_format(), into, tmp_path)
    assert [row["id"] for row in rows(into)] == list(range(1, 1001))


def test_a_url_in_a_file(database: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"sqlite:///{database}\n")
    assert sql(url_variable=None, url_file=str(tmp_path / "secret")).fingerprint(None, tmp_path)[ROWS]["rows"] == 2


@pytest.mark.parametrize(
    ("url", "query", "code", "told"),
    [
        ("", QUERY, "missing", ["LETTERS is not set"]),
        ("nonsense", QUERY, "impossible", ["sqlite:///letters.db"]),
        ("sqlite:///gone/letters.db", QUERY, "missing", ["letters.db"]),
        ("postgresql+psycopg://me:hush@127.0.0.1:9/x", QUERY, "unreachable", ["does not answer"]),
        (None, "select nothing from letters order by id", "refused", ["nothing"]),
        (None, "select id, id from letters order by id", "duplicate", ["called id"]),
        (None, "select x'00ff' as raw from letters order by id", "wrong_type", ["raw", "bytes", "cast"]),
        (None, "select body from letters where id > 9 order by id", "missing", ["no row"]),
    ],
)
def test_what_goes_wrong_is_a_sentence_without_a_password(
    url: str | None, query: str, code: Code, told: list[str], database: Path, into: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if url is not None:
        monkeypatch.setenv("LETTERS", url)
    with refused(SourceError, code, *told) as caught:
        sql(query).fetch(file_format(), into, tmp_path)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"query": "select body from letters"}, "ORDER BY"),
        ({"query": "delete from letters order by id"}, "a SELECT"),
        ({"query": "select 'order by' from letters"}, "ORDER BY"),
        ({"query": QUERY, "url_variable": "sqlite:///x"}, "the name of an environment variable"),
        ({"query": QUERY, "url_variable": "A", "url_file": "b"}, "not both"),
        ({"query": QUERY}, "a variable's name here"),
    ],
)
def test_settings_that_can_not_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_source(Source("sql", [], None, options), "x.yaml")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("select row_number() over (partition by a order by b) from letters", False),
        ("select * from (select id from letters order by id) x", False),
        ("with x as (select max((id)) from letters order by 1) select * from x", False),
        ("with x as (select id from letters) select f(id) from x where id in (1, (2)) ORDER\nBY(id)", True),
        ("select ')' as a from (select 1) x order by a", True),
    ],
)
def test_an_order_of_a_part_is_none_of_the_query(query: str, ordered: bool) -> None:
    if ordered:
        assert sql(query).facts()["query"] == query
    else:
        with pytest.raises(ConfigError) as caught:
            sql(query)
        assert "ORDER BY" in str(caught.value)


@pytest.mark.skipif("LANGMILL_TEST_POSTGRES" not in os.environ, reason="LANGMILL_TEST_POSTGRES names no database")
def test_postgresql(into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same against a PostgreSQL that the environment names, by a URL whose user may make tables."""
    import sqlalchemy

    monkeypatch.setenv("LETTERS", os.environ["LANGMILL_TEST_POSTGRES"])
    engine = sqlalchemy.create_engine(os.environ["LANGMILL_TEST_POSTGRES"])
    with engine.begin() as connection:
        connection.exec_driver_sql("drop table if exists letters")
        connection.exec_driver_sql(
            "create table letters as select id, 'Brief: ' || id as body, id::numeric / 2 as stars, now() as at, "
            "array[id, 2] as list, '{\"a\": 1}'::jsonb as nested from generate_series(1, 20000) as id"
        )
    query = "select id, body, stars, list, nested, at::date as day from letters where body like 'Brief:%' order by id"
    source = sql(query, version_query="select count(*), max(id) from letters")
    source.recorded = source.fingerprint(None, tmp_path)
    source.fetch(file_format(), into, tmp_path)
    found = rows(into)
    assert len(found) == 20000 and found[2]["stars"] == 1.5 and found[2]["list"] == [3, 2]
    assert found[0]["nested"] == {"a": 1} and len(found[0]["day"]) == 10
    with refused(SourceError, "refused", "read-only"):
        sql(query, version_query="delete from letters returning id").fingerprint(None, tmp_path)
    engine.dispose()
