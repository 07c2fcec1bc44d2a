"""What differs between two versions of a corpus: documents added, removed, changed, and how far they shifted.

A document's id is that of its content, so that the same id is the same text, label and target. A document is *changed*
where one went and one came with the same value of a metadata field that names it, or in the same place of the raw files
and with enough of the same words: where rows were taken out and others added, another document stands there. Ids are
compared in DuckDB, which keeps on the disk what does not fit into memory.
"""

# ruff: noqa: S608 - the queries are put together from names of ours, and from texts that `_text` quotes
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from langmill.data.contract.effect_size import ks_distance, total_variation
from langmill.data.contract.evidence import Statistics, statistics_of
from langmill.data.contract.infer import reference_of
from langmill.data.document import PLACES_NAME, Split, documents_path
from langmill.data.report.step_samples import windows
from langmill.errors import DataError

EXAMPLES = 10
"""Documents that are shown of each kind of change."""
_LONGEST = 100_000  # characters of a text that are looked at for an example
_ALIKE = 0.3
"""Least Jaccard index of the words of two texts in one place for one to be the other, changed (decision 0328)."""
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[\p{L}\p{M}\p{N}]+"
"""A word for that; a character in scripts that put no spaces between words."""


@dataclass(frozen=True)
class Difference:
    """Two versions of a corpus, side by side."""

    counts: dict[str, int]
    """`before`, `after`, `added`, `removed`, `changed`; and of the documents in both `other_split` and
    `other_metadata`."""
    shift: dict[str, float]
    """Effect sizes from 0 to 1, of what both have: `labels` and `languages` (total variation), `lengths` and
    `target_lengths` (Kolmogorov-Smirnov distance)."""
    examples: dict[str, list[dict[str, str | None]]]
    """Some of those `added`, `removed` and `changed`, these with `before` and `after`, cut to where they differ."""
    reference: dict[str, Any]
    """What the older documents look like, as `contract.reference` says it of those that were reviewed."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare_versions(
    before: Path, after: Path, key: str | None, temporary: Path, shown: Callable[[str], str] = str
) -> Difference:
    """Compare two folders of documents.

    Args:
        before: The older one, with the splits and the places of its documents.
        after: The newer one.
        key: The metadata field that names a document, as an id of the source; None for places alone.
        temporary: A folder for what does not fit into memory.
        shown: What makes a text fit to be shown; older versions may have personal data that is taken out now.

    Raises:
        DataError: A table is missing or damaged.
    """
    database = duckdb.connect()
    try:
        database.execute(f"SET temp_directory = {_text(temporary)}")
        database.execute("SET threads = 1")  # so that the examples are always the same, and other work goes on
        for name, folder in (("before", before), ("after", after)):
            database.execute(f"CREATE VIEW {name} AS {_documents(folder)}")
            database.execute(f"CREATE VIEW {name}_places AS {_places(folder)}")
        _pair(database, key)
        counts = _counts(database)
        examples = {kind: list(_examples(database, kind, shown)) for kind in ("added", "removed", "changed")}
    except duckdb.Error as error:
        raise DataError(f"The documents can't be compared ({' '.join(str(error).split())}).", "unreadable") from error
    finally:
        database.close()
    then = statistics_of(before)
    return Difference(counts, shift_of(then, statistics_of(after)), examples, reference_of(then))


def shift_of(before: Statistics, after: Statistics) -> dict[str, float]:
    """How far the documents shifted, as effect sizes; what one of the two lacks is left out."""
    shift = {}
    if before.labels and after.labels:
        shift["labels"] = total_variation(before.labels, after.labels)
    if before.languages and after.languages:
        shift["languages"] = total_variation(before.languages, after.languages)
    shift["lengths"] = ks_distance(before.lengths, after.lengths)
    if before.target_lengths.size and after.target_lengths.size:
        shift["target_lengths"] = ks_distance(before.target_lengths, after.target_lengths)
    return shift


def _pair(database: duckdb.DuckDBPyConnection, key: str | None) -> None:
    """Find what went and what came, and which of these are one document that changed."""
    for name, one, other in (("gone", "before", "after"), ("come", "after", "before")):
        value = "NULL" if key is None else f"nullif(json_extract_string(metadata, {_text(_json_path(key))}), '')"
        database.execute(
            f'CREATE TEMP TABLE {name} AS SELECT d.id, d.split, p."where" AS place, {value} AS name '
            f"FROM {one} d ANTI JOIN {other} o ON d.id = o.id "
            f"LEFT JOIN {one}_places p ON p.id = d.id AND p.split = d.split"
        )
    # One of them may be named or placed alike with several others: only what is told apart is paired.
    database.execute("CREATE TEMP TABLE pairs (before_id VARCHAR, after_id VARCHAR)")
    database.execute(f"CREATE MACRO words(t) AS list_distinct(regexp_extract_all(lower(t), {_text(_WORD)}))")
    database.execute(
        "CREATE MACRO alike(one, other) AS "
        f"len(list_intersect(one, other)) >= {_ALIKE} * len(list_distinct(list_concat(one, other)))"
    )
    texts = "JOIN before b ON b.id = g.id JOIN after a ON a.id = c.id"
    for column, where in (("name", ""), ("place", f"{texts} WHERE alike(words(b.text), words(a.text))")):
        database.execute(
            f"INSERT INTO pairs SELECT g.id, c.id FROM {_unique('gone', 'before_id', column)} g "
            f"JOIN {_unique('come', 'after_id', column)} c USING ({column}) {where}"
        )


def _unique(table: str, paired: str, column: str) -> str:
    """The rows of a table that are not paired yet, whose value of a column is theirs alone."""
    return (
        f"(SELECT any_value(id) AS id, {column} FROM {table} WHERE {column} IS NOT NULL AND id NOT IN "
        f"(SELECT {paired} FROM pairs) GROUP BY {column} HAVING count(*) = 1)"
    )


def _counts(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    def count(query: str) -> int:
        row = database.execute(f"SELECT count(*) FROM {query}").fetchone()
        assert row is not None
        return int(row[0])

    changed, both = count("pairs"), "before b JOIN after a USING (id)"
    return {
        "before": count("before"),
        "after": count("after"),
        "added": count("come") - changed,
        "removed": count("gone") - changed,
        "changed": changed,
        "other_split": count(f"{both} WHERE b.split <> a.split"),
        "other_metadata": count(f"{both} WHERE b.metadata <> a.metadata"),
    }


def _examples(
    database: duckdb.DuckDBPyConnection, kind: str, shown: Callable[[str], str]
) -> Iterator[dict[str, str | None]]:
    """Some documents of a kind, in the order of their ids: those are digests, so that it is a random choice."""
    if kind == "changed":
        query = (
            "SELECT c.place, b.id, a.id, b.label, a.label, b.text, a.text, b.target, a.target FROM pairs p "
            "JOIN before b ON b.id = p.before_id JOIN after a ON a.id = p.after_id JOIN come c ON c.id = a.id "
            f"ORDER BY b.id LIMIT {EXAMPLES}"
        )
        for place, *values in database.execute(query).fetchall():
            row = {"where": place}
            for number, name in enumerate(("id", "label", "text", "target")):
                then, now = values[2 * number : 2 * number + 2]
                if name in ("text", "target") and then is not None and now is not None:
                    then, now = windows(shown(then[:_LONGEST]), shown(now[:_LONGEST]))
                row |= {f"{name}_before": then, f"{name}_after": now}
            yield row
        return
    table, documents, paired = {
        "added": ("come", "after", "after_id"),
        "removed": ("gone", "before", "before_id"),
    }[kind]
    query = (
        f"SELECT t.place, d.id, d.label, d.text, d.target FROM {table} t JOIN {documents} d USING (id) "
        f"WHERE d.id NOT IN (SELECT {paired} FROM pairs) ORDER BY d.id LIMIT {EXAMPLES}"
    )
    for place, number, label, *texts in database.execute(query).fetchall():
        text, target = (None if each is None else windows(shown(each[:_LONGEST]), "")[0] for each in texts)
        yield {"where": place, "id": number, "label": label, "text": text, "target": target}


def _documents(folder: Path) -> str:
    """A query of all documents of a folder."""
    paths = [(split.value, documents_path(folder, split)) for split in Split]
    for _, path in paths:
        if not path.is_file():
            raise DataError(f"{path} does not exist; `dvc repro` makes it from the corpus.", "missing")
    return " UNION ALL ".join(
        f"SELECT '{split}' AS split, id, text, label, target, metadata FROM read_parquet({_text(path)})"
        for split, path in paths
    )


def _places(folder: Path) -> str:
    path = folder / PLACES_NAME
    if not path.is_file():
        return 'SELECT NULL::VARCHAR AS split, NULL::VARCHAR AS id, NULL::VARCHAR AS "where" WHERE false'
    return f'SELECT split, id, "where" FROM read_parquet({_text(path)})'


def _json_path(key: str) -> str:
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: object) -> str:
    """A text in SQL."""
    return "'" + str(value).replace("'", "''") + "'"
