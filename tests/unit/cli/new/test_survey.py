"""What lies in a folder and what its fields are; a file that has none is refused with its cause."""

import gzip
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langmill.cli.new.decision import Decision, decide
from langmill.cli.new.survey import survey
from langmill.cli.new.table import lines_of_survey
from langmill.config.sections import FormatSection
from langmill.data.detection import detect
from langmill.errors import LangmillError
from tests.refused import refused

pytestmark = pytest.mark.unit


def decided(path: Path, format_name: str | None = None, **given: str | None) -> Decision:
    return decide(survey(path), given, format_name)  # type: ignore[arg-type]


def test_fields_are_known_of_each_kind_of_file(tmp_path):
    table = {"n": [1, 2], "words": ["a long piece of text", "another long piece of text"], "code": ["a", "b"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert decided(tmp_path / "a.parquet").roles.fields == {"text": "words"}
    (tmp_path / "b.csv").write_text("label,text\npos,hello\n")
    assert decided(tmp_path / "b.csv").roles.fields == {"text": "text", "label": "label"}
    (tmp_path / "c.txt").write_text("hello")
    assert decided(tmp_path / "c.txt").roles.fields == {"text": "text"}
    (tmp_path / "d.jsonl").write_text('{"n": 1}\n')
    with refused(LangmillError, "missing", "only numbers", "known are n"):
        decided(tmp_path / "d.jsonl")


def parquet(table: dict[str, list[object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    return file.getvalue()


ROW = b'{"text": "a"}'
NASTY = {
    "empty": ("a.csv", b"", "The file is empty; get it again"),
    "white space": ("a.jsonl", b" \n\n", "holds white space only"),
    "UTF-32": ("a.json", "[]".encode("utf-32"), "is an empty array"),
    "spaces in the header": ("a.csv", b'"text" , "label"\n"a" , 1\n', 'write "text","label"'),
    "zero bytes": (
        "a.txt",
        b"some text\0\0\0 and more text that is not wide",
        "has NUL bytes, the first in line 1; take them out",
    ),
    "arrays in an array": ("a.json", b'[["a", 1], ["b", 2]]', "Row 1 is an array and not an object"),
    "arrays in lines": ("a.jsonl", b'["a", 1]\n["b", 2]\n', "Line 1 is an array and not an object"),
    "texts": ("a.json", b'["a", "b"]', "Row 1 is a text and not an object, so no field has a name; write {"),
    "numbers in lines": ("a.jsonl", b"1\n2\n", "Line 1 is a number and not an object"),
    "commas between lines": ("a.jsonl", ROW + b",\n" + ROW + b",\n", "has a comma after the last item"),
    "single quotes": ("a.json", b"[{'text': 'a'}]", "Line 1 is in Python's notation and not JSON"),
    "single quotes in lines": ("a.jsonl", b"{'text': 'a'}\n", "write it with json.dumps"),
    "a comment": ("a.json", b"// rows\n[]", "Line 1 has a comment, which JSON does not allow"),
    "other JSON": ("a.json", b"[{text: 1}]", "is not JSON (Expecting property name"),
    "JSON lines in .json": ("a.json", ROW + b"\n" + ROW, "which are JSON lines; rename it to .jsonl"),
    "JSON in .jsonl": (
        "a.jsonl",
        b"[\n" + ROW + b"\n]",
        "is one JSON array, but .jsonl wants an object a line; rename it to .json",
    ),
    "JSON in one line": (
        "a.jsonl",
        b"[" + ROW + b"]",
        "is one JSON array, but .jsonl wants an object a line; rename it to .json",
    ),
    "rows inside an object": ("a.json", b'{"data": [{"text": "a"}]}', "whose rows may be the list data; write that"),
    "an object": ("a.json", ROW, "is one object and not an array of objects; write it as an array"),
    "an empty array": ("a.json", b"[]", "is an empty array"),
    "deep nesting": ("a.json", b"[" * 100_000, "is nested too deeply"),
    "an LFS pointer": (
        "a.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "is a Git LFS pointer and not",
    ),
    "an LFS pointer for Parquet": ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
    "a web page": ("a.json", b"<!DOCTYPE html>\n<html>", "is a web page, as a server sends it in place of the data"),
    "XML": ("a.csv", b"<?xml version='1.0'?>", "is XML, which is not read; convert it"),
    "a ZIP archive": ("a.csv", b"PK\x03\x04rest", "is a damaged zip archive; get it again"),
    "a PDF": ("a.txt", b"%PDF-1.7", "is a PDF; rename it so that its name ends in .pdf"),
    "a pickle": ("a.json", pickle.dumps([1], protocol=4), "is a Python pickle, which could run code"),
    "gzip without its ending": (
        "a.csv",
        gzip.compress(b"text\na\n", mtime=0),
        "is compressed, which its name does not say; rename it",
    ),
    "no gzip in .gz": ("a.csv.gz", b"text\na\n", "is not compressed as its name says; get it again, or take .gz off"),
    "half of a .gz": (
        "a.csv.gz",
        gzip.compress(b"text\na\n" * 99, mtime=0)[:12],
        "is damaged or cut short (Compressed file ended before",
    ),
    "Parquet under another name": ("a.csv", parquet({"text": ["a"]}), "is a Parquet file; rename it to a.parquet"),
    "no Parquet": ("a.parquet", b"text\na\n", "is no Parquet file, whatever its name says"),
    "half a Parquet file": (
        "a.parquet",
        parquet({"text": ["a"]})[:-20],
        "is damaged or cut short (Parquet magic bytes",
    ),
    "Parquet without rows": ("a.parquet", parquet({"text": []}), "has columns and no rows"),
    "a header alone": ("a.csv", b"text,label\n", "has a header and no rows"),
    "too few names": (
        "a.csv",
        b"text,label\na, b,c\nd, e,f\n",
        "has 2 names in its header and 3 cells in its first row",
    ),
    "an open quotation mark": ("a.csv", b'"text,label\na,b\n', "Line 1 has a quotation mark that is never closed"),
    "numbers": ("a.jsonl", b'{"n": 1}\n', "only numbers; known are n"),
    "empty fields": ("a.csv", b"text,label\n,\n", "has only empty fields in its first rows; known are text, label"),
    "fields without a name": ("a.jsonl", b"{}\n", "has rows without any fields"),
    "bytes": ("a.parquet", parquet({"text": [b"a"]}), "only bytes; write them as text"),
    "another ending": ("a.odt", b"x", " be read; readable are .csv"),
}


@pytest.mark.parametrize("case", NASTY)
def test_a_file_without_rows_is_refused_with_its_cause_and_a_remedy(tmp_path, case):
    name, data, sentence = NASTY[case]
    (tmp_path / name).write_bytes(data)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(LangmillError) as caught:
            decided(path)
        message = str(caught.value)
        assert sentence in message
        assert message.startswith(str(tmp_path))
        assert "known are none" not in message
        assert "\n" not in message


@pytest.mark.parametrize("alone", [True, False])
def test_a_file_that_is_cut_is_read_as_far_as_it_goes_and_that_is_told(tmp_path, alone):
    rows = "".join(f"A text of some length {number * number},x\n" for number in range(300))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(f"text,topic\n{rows}".encode(), mtime=0)[:-20])
    (tmp_path / "b.jsonl").write_text('{"text": "A text of some length"}\n' * 9)
    found = survey(path if alone else tmp_path)
    assert (found.files, found.problems, list(found.damages)) == (2 - alone, {}, [PurePosixPath(path.name)])
    assert 200 < found.kinds[0].num_rows <= 301
    told = "\n".join(lines_of_survey(found, decide(found, {}), "a"))
    assert "Can't be read to the end: a.csv.gz. The file is damaged or cut short" in told and "contract stops" in told


def test_a_folder_says_what_it_has(tmp_path):
    with refused(LangmillError, "unreadable", ".csv", "it is empty."):
        survey(tmp_path)
    for name in ("a.odt", "b.odt", "README"):
        (tmp_path / name).write_text("x")
    with refused(LangmillError, "unreadable", ".odt (2), none (1)."):
        survey(tmp_path)


def test_a_file_without_rows_among_others_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_text("1\n")
    (tmp_path / "b.jsonl").write_text('{"text": "hello"}\n')
    found = survey(tmp_path)
    assert decide(found, {}).roles.fields["text"] == "text"
    assert list(found.problems) == [PurePosixPath("a.jsonl")]
    assert found.files == 1


@pytest.mark.parametrize(
    ("name", "data", "encoding", "delimiter"),
    [
        ("a.csv", "text;topic\nGrüße an alle;ä\nNoch ein Brief;ö\n".encode("cp1252"), "cp1252", ";"),
        ("a.csv", "text,topic\nGrüße an alle,ä\nNoch ein Brief,ö\n".encode("utf-16"), "utf-16", ","),
        ("a.csv", b"text\ttopic\nA letter to all\tx\nAnother letter\ty\n", "utf-8", "\t"),
        ("a.csv", b"sep=|\ntext|topic\nA letter to all|x\nAnother letter|y\n", "utf-8", "|"),
    ],
)
def test_encoding_and_delimiter_are_written_down(tmp_path, name, data, encoding, delimiter):
    (tmp_path / name).write_bytes(data)
    found = survey(tmp_path)
    detected = found.kinds[0].detected
    assert (detected.encoding, detected.delimiter, detected.has_header) == (encoding, delimiter, True)
    decision = decide(found, {})
    assert decision.roles.fields["text"] == "text"
    assert decision.options.get("encoding", "utf-8") == encoding
    assert decision.options.get("delimiter", ",") == delimiter


def test_what_the_kinds_of_file_do_not_want_alike_is_left_to_be_found_out(tmp_path):
    (tmp_path / "a.csv").write_bytes("text;topic\nGrüße an alle;ä\nNoch ein Brief;ö\n".encode("cp1252"))
    (tmp_path / "b.tsv").write_text("text\ttopic\nA letter to all\tx\nAnother letter\ty\n")
    assert decided(tmp_path).options == {}


def test_pairs_of_files_are_pairs_of_texts(tmp_path):
    (tmp_path / "a.de").write_text("Ein Satz\nNoch ein Satz\n")
    (tmp_path / "a.en").write_text("A sentence\nAnother sentence\n")
    decision = decided(tmp_path)
    assert (decision.format_name, decision.options) == ("moses", {"source": "en", "target": "de"})
    assert decision.roles.fields == {"text": "source", "target": "target"}
    assert decision.roles.task == "text_to_text"
    assert [kind.num_rows for kind in survey(tmp_path).kinds] == [2]


@pytest.mark.parametrize(("rows", "counted"), [(999, 999), (1000, None)])
def test_rows_of_a_format_that_was_told_are_counted_as_far_as_it_matters(tmp_path, rows, counted):
    (tmp_path / "a.jsonl").write_text('{"text": "A text of some length"}\n' * rows)
    (kind,) = survey(tmp_path, FormatSection("auto", {})).kinds
    assert (kind.num_rows, len(kind.rows)) == (counted, 100)


def test_a_mixed_folder_is_one_corpus(tmp_path):
    (tmp_path / "a.csv").write_text("body,topic\n" + "A text of some length,x\n" * 9)
    (tmp_path / "b.jsonl").write_text('{"body": "Another text of some length"}\n' * 4)
    (tmp_path / "c.txt").write_text("A file that is a text")
    found = survey(tmp_path)
    assert [(kind.ending, kind.files, kind.plain) for kind in found.kinds] == [
        (".csv", 1, False), (".jsonl", 1, False), (".txt", 1, True),
    ]  # fmt: skip
    decision = decide(found, {})
    assert decision.roles.fields == {"text": "body", "label": "topic"} and not decision.files
    assert decision.format_name == "auto"


def fields_by_pattern(decision: Decision) -> dict[str | None, dict[str, str]]:
    return {None: dict(decision.roles.fields), **{name: dict(roles.fields) for name, roles in decision.files.items()}}


def test_each_kind_of_file_has_its_own_fields(tmp_path):
    (tmp_path / "a.csv").write_text("body\n" + "A text of some length\n" * 9)
    (tmp_path / "b.jsonl").write_text('{"message": "Another text of some length"}\n' * 4)
    expected = {None: {"text": "body"}, "*.jsonl": {"text": "message"}}
    assert fields_by_pattern(decided(tmp_path)) == fields_by_pattern(decided(tmp_path, text="body")) == expected


def test_files_of_one_ending_are_told_apart_by_folder_or_by_name(tmp_path):
    files = {"a.csv": "body", "x/1.csv": "note", "x/2.csv": "note", "y/[1].csv": "message"}
    for name, field in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{field}\n" + "A text of some length\n" * (99 if field == "body" else 9))
    assert fields_by_pattern(decided(tmp_path)) == {
        None: {"text": "body"}, "x/*.csv": {"text": "note"}, "y/[[]1].csv": {"text": "message"},
    }  # fmt: skip


def test_members_of_an_archive_are_kinds_of_their_own(tmp_path):
    """A pattern for files outside would fit those inside, which call their text otherwise."""
    (tmp_path / "a.csv").write_text("note\n" + "A text of some length\n" * 9)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("in/c.csv", "body\n" + "A text of some length\n" * 99)
        archive.writestr("d.jsonl", '{"message": "Another text of some length"}\n' * 4)
        archive.writestr("e.md", "# A text")
    found = survey(tmp_path)
    assert [(kind.ending, kind.num_rows, kind.plain) for kind in found.kinds] == [
        (".csv", 9, False), (".csv in .zip", 99, False), (".jsonl in .zip", 4, False), (".md in .zip", 1, True),
    ]  # fmt: skip
    told = survey(tmp_path / "b.zip", FormatSection("archive", {})).kinds
    assert [(kind.ending, kind.num_rows) for kind in told] == [(each.ending, each.num_rows) for each in found.kinds[1:]]
    assert fields_by_pattern(decide(found, {})) == {
        None: {"text": "body"}, "*.csv": {"text": "note"}, "*.zip/*.csv": {"text": "body"},
        "*.zip/*.jsonl": {"text": "message"},
    }  # fmt: skip


def test_what_one_kind_can_not_tell_is_as_in_the_others(tmp_path):
    prose = "A letter of some length and with words in it"
    (tmp_path / "a.csv").write_text("body\n" + f"{prose}\n" * 9)
    rows = [{"body": f"{prose} {number}", "content": f"{prose}, again {number}"} for number in range(9)]
    (tmp_path / "b.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    decision = decided(tmp_path)
    assert (fields_by_pattern(decision), decision.questions) == ({None: {"text": "body"}}, ())


def test_pairs_beside_files_that_are_read_are_hinted_at(tmp_path):
    for name in ("a.en", "a.de", "b.csv", "b.txt", "c.png", "c.jpg", "d.png", "d.jpg"):
        (tmp_path / name).write_text("text\nA text of some length\n")
    found = survey(tmp_path)
    assert found.pair is not None and found.pair.options == {"source": "en", "target": "de"}
    (tmp_path / "a.de").unlink()
    assert survey(tmp_path).pair is None  # nor are c.png and c.jpg, or b.csv and b.txt


def test_shapes_that_do_not_agree_are_not_decided(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n')
    (tmp_path / "b.jsonl").write_text('{"instruction": "Say hello", "output": "Hello"}\n')
    assert set(decided(tmp_path).formats) == {"messages", "alpaca"}
    assert decided(tmp_path, "alpaca").shape is not None


@pytest.mark.parametrize("answers", ["yes", 42, ["yes", "no"], {"text": ["yes"]}])
def test_questions_with_answers_of_any_kind_are_questions_with_answers(tmp_path, answers):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "Is it so, and why?", "answers": answers}) + "\n")
    assert decided(tmp_path).format_name == "question_answers"


def test_fields_that_a_person_names_are_those_of_the_rows_as_they_stand(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "Say hello to us all", "output": "Hello"}\n' * 3)
    found = survey(tmp_path)
    said = {"text": "instruction", "target": "output"}
    decision = decide(found, said)
    assert (decision.format_name, decision.roles.fields) == ("auto", said)
    assert "alpaca" not in "".join(lines_of_survey(found, decision, "a"))
    assert decide(found, {"label": None}).format_name == "alpaca"


def test_of_a_large_text_only_the_beginning_is_held(tmp_path):
    (tmp_path / "a.txt").write_text("word " * 100_000)
    [kind] = survey(tmp_path).kinds
    assert [len(str(row["text"])) for row in kind.rows] == [2**16]
    told = FormatSection("auto", {})
    assert [len(str(row["text"])) for row in survey(tmp_path, told).kinds[0].rows] == [2**16]


def test_a_row_of_a_format_is_shown_whole(tmp_path):
    """What the format makes of it is no field of the row; shown was the answer alone."""
    (tmp_path / "a.jsonl").write_text('{"question": "Who ran?", "context": "Bob ran.", "answer": "Bob"}\n' * 2)
    found = survey(tmp_path)
    row = list(lines_of_survey(found, decide(found, {}, None), "a"))[-1]
    assert all(words in row for words in ("question: Who", "context: Bob", "answer: Bob"))


def test_many_files_are_looked_at_by_sample(tmp_path, monkeypatch):
    for number in range(300):
        (tmp_path / f"{number:03}.txt").write_text("A text.")
    (tmp_path / "one.csv").write_text("text\nhello\n")
    looked: list[PurePosixPath] = []

    def spied(path, relative):
        looked.append(relative)
        return detect(path, relative)

    monkeypatch.setattr(sys.modules[survey.__module__], "detect", spied)
    found = survey(tmp_path)
    assert len(looked) == 21 and found.sampled and found.files == 301
    assert looked[1] == PurePosixPath("000.txt") and looked[-1] == PurePosixPath("285.txt")  # from all over them
    assert [(kind.ending, kind.files, kind.num_rows) for kind in found.kinds] == [(".csv", 1, 1), (".txt", 300, 300)]
