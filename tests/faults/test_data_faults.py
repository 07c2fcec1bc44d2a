"""Bad data, a full disk, and processes that are stopped, for the stages from fetch to encode."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from langmill.config.compose import compose_corpus, compose_recipe, compose_tokenizer, plain
from langmill.data.corpus import make_corpus
from langmill.data.document import Split, documents_path
from langmill.errors import DataError, IntegrityError, LangmillError, SourceError, SpaceError
from langmill.files import explained_os_errors, read_json, read_manifest, write_manifest
from langmill.stages import clean, contract, encode, fetch, tokenizer
from langmill.tokenization.shards import EncodedDocument, Shard, write_shard
from tests.refused import refused
from tests.unit.data.settings import settings

pytestmark = pytest.mark.faults
CONF = Path(__file__).parents[2] / "conf"


class Workspace:
    """A workspace with one corpus, `tiny`, of local files in `mine`, and one recipe, `tiny`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mine = root / "mine"
        self.mine.mkdir()
        self.configure()

    def configure(self, shipped: str = "reviews-lm", **cleaning: Any) -> None:
        """Write the settings of a shipped recipe with the corpus and the vocabulary of this workspace."""
        corpus = plain(compose_corpus("reviews", CONF))
        corpus["name"] = "tiny"
        corpus["source"] = {
            "kind": "files", "path": "mine", "packages": [],
        }  # fmt: skip
        corpus["fields"] |= {"metadata": []}
        corpus["cleaning"] |= {"min_characters": 1, "workers": 1} | cleaning
        corpus["split"] |= {"validation": 0.2, "test": 0.2}
        vocabulary = plain(compose_tokenizer("reviews", CONF)) | {"name": "tiny", "corpus": "tiny", "vocab_size": 300}
        recipe = plain(compose_recipe(shipped, conf=CONF))
        recipe |= {
            "name": "tiny",
            "corpus": corpus,
            "tokenizer": vocabulary,
        }
        if "only" in recipe["task"]["options"]:
            recipe["task"]["options"]["only"] = {}  # the documents here have no metadata to be chosen by
        for group, section in (("corpus", corpus), ("tokenizer", vocabulary), ("recipe", recipe)):
            path = self.root / "build" / "config" / group / "tiny.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(section))

    def write(self, rows: list[dict[str, object]], more: bytes = b"") -> None:
        (self.mine / "a.jsonl").write_bytes("".join(f"{json.dumps(row)}\n" for row in rows).encode() + more)

    def stage(self, name: str) -> subprocess.Popen[str]:
        """Start a stage as DVC does, in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, "-m", "langmill.stages", name, "tiny"],
            cwd=self.root, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def leftovers(self) -> list[str]:
        """Names of half-made folders."""
        return [path.name for path in (self.root / "build").glob("*/.*")]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def many(count: int = 100, labels: int = 2) -> list[dict[str, object]]:
    return [{"text": f"document number {number}", "label": number % labels} for number in range(count)]


def test_bad_rows_stop_nothing_and_are_kept(workspace: Workspace) -> None:
    workspace.configure("sentiment")
    unlabelled: list[dict[str, object]] = [{"text": f"no label {number}"} for number in range(50)]
    workspace.write(many() + unlabelled, b'{"text": "\xc3\xa4\xc3\xa4 caf\xe9"}\n{"text": \n')
    for stage in (fetch, clean, tokenizer, encode):
        stage.main("tiny")
    assert [row["reason"] for row in pq.read_table("build/documents/tiny/quarantine.parquet").to_pylist()] == [
        "undecodable", "corrupt",
    ]  # fmt: skip
    report = read_json(Path("build/documents/tiny/report.json"))
    assert (report["rows"], report["documents"]) == (152, 150)
    facts = read_manifest(Path("build/shards/tiny"), verify=True)
    assert facts["labels"] == ["negative", "positive"]
    assert sum(split["left_out"]["missing_label"] for split in facts["splits"].values()) == 50
    assert sum(split["documents"] for split in facts["splits"].values()) == 100
    shard = Shard.open(Path("build/shards/tiny"), Split.train)
    assert set(shard.labels) == {"negative", "positive"}
    vocabulary = read_manifest(Path("build/tokenizers/tiny"), verify=True)
    assert vocabulary["vocab_size"] == facts["vocab_size"] < vocabulary["vocab_size_wanted"] == 300


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"text": "  ", "label": 1}], "has no usable document: 1 row read"),
        ([{"text": "only one", "label": 1}], "has 1 usable document; none"),
    ],
)
def test_an_empty_corpus_and_one_of_one_document(
    workspace: Workspace, rows: list[dict[str, object]], told: str
) -> None:
    workspace.write(rows)
    fetch.main("tiny")
    process = workspace.stage("clean")
    _, words = process.communicate(timeout=120)
    assert process.returncode == 1
    assert words.startswith("clean@tiny: The corpus tiny ")
    assert told in words
    assert words.count("\n") == 1
    assert workspace.leftovers() == []


def test_the_report_of_a_corpus_that_fails_is_kept(workspace: Workspace) -> None:
    workspace.write([{"text": ""}, {"text": "x", "label": 1}], b"{'text': 'y'}\n")
    (workspace.mine / "notes.odt").write_text("not read")
    (workspace.mine / ".a.jsonl.swp").write_text("hidden")
    fetch.main("tiny")
    with refused(DataError, "too_few", "none fell to", ".langmill/failed/clean@tiny/report.md"):
        clean.main("tiny")
    failed = workspace.root / ".langmill/failed/clean@tiny"
    report = read_json(failed / "report.json")
    assert (report["rows"], report["dropped"], report["quarantined"]) == (3, {"empty": 1}, {"corrupt": 1})
    assert report["skipped_files"] == {".odt": 1, "hidden": 1}
    assert "a.jsonl: Line 3 is in Python's notation" in (failed / "report.md").read_text()
    assert "Line 3 is in Python&#39;s notation" in (failed / "report.html").read_text()
    assert pq.read_table(failed / "quarantine.parquet").num_rows == 1
    assert (failed / "dropped.parquet").is_file()
    assert not Path("build/documents/tiny").exists()
    workspace.write(many())
    for stage in (fetch, clean):
        stage.main("tiny")
    assert not failed.exists() and Path("build/documents/tiny/report.html").is_file()
    assert read_json(Path("build/documents/tiny/report.json"))["skipped_files"] == {".odt": 1, "hidden": 1}


def test_the_page_has_the_verdict_of_the_contract_kept_or_not(workspace: Workspace) -> None:
    def expect(stop: float) -> None:
        path = Path("build/config/corpus/tiny.yaml")
        section = yaml.safe_load(path.read_text())
        section["contract"] = {"expectations": {"quarantined": {"stop": stop, "warn": 0}}, "reference": None}
        path.write_text(yaml.safe_dump(section))

    workspace.write(many(), b"{'text': 'y'}\n")
    expect(0.5)
    for stage in (fetch, clean, contract):
        stage.main("tiny")
    page = Path("build/contracts/tiny/report.html").read_text(encoding="utf-8")
    assert 'id="contract"' in page and "The contract is broken" not in page
    expect(0)
    with refused(DataError, "refused", "quarantined"):
        contract.main("tiny")
    assert "The contract is broken" in Path(".langmill/failed/contract@tiny/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [b"caf\xe9.jsonl", b"two\nlines.jsonl", "ünï.jsonl".encode()])
def test_a_files_name_can_be_anything(workspace: Workspace, name: bytes) -> None:
    workspace.write(many())
    (workspace.mine / "a.jsonl").rename(workspace.mine / os.fsdecode(name))
    for stage in (fetch, clean):
        stage.main("tiny")
    [copied] = Path("build/raw/tiny").glob("*.jsonl")
    assert copied.name == {b"c": "caf%E9.jsonl", b"t": "two%0Alines.jsonl"}.get(name[:1], "ünï.jsonl")
    assert read_manifest(Path("build/raw/tiny"), verify=True)["files"].keys() == {copied.name}
    assert read_json(Path("build/documents/tiny/report.json"))["files"] == {copied.name: 100}


def test_two_names_that_become_one(workspace: Workspace) -> None:
    workspace.write(many())
    for name in (b"caf\xe9.jsonl", b"caf%E9.jsonl"):
        (workspace.mine / os.fsdecode(name)).write_bytes(b"{}")
    with refused(SourceError, "duplicate", "mine/caf%E9.jsonl", "rename one"):
        fetch.main("tiny")


def test_a_spreadsheet_is_told_by_its_name(workspace: Workspace) -> None:
    (workspace.mine / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0 and so on")
    with refused(LangmillError, "unreadable", "mine/a.xls", "spreadsheet", "save it as CSV in UTF-8."):
        fetch.main("tiny")


def test_no_document_with_a_label(workspace: Workspace) -> None:
    workspace.configure("sentiment")
    workspace.write([{"text": f"document {number}", "label": None} for number in range(60)])
    for stage in (fetch, clean, tokenizer):
        stage.main("tiny")
    with refused(DataError, "too_few", "no labels"):
        encode.main("tiny")
    assert not Path("build/shards/tiny").exists()


def test_a_corpus_that_is_not_there(workspace: Workspace) -> None:
    workspace.mine.rmdir()
    process = workspace.stage("fetch")
    _, words = process.communicate(timeout=120)
    assert process.returncode == 1
    assert words == "fetch@tiny: mine, the corpus's source.path, does not exist; paths start at the workspace's root.\n"


def test_a_file_that_may_not_be_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.write(many())
    original = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "a.jsonl":
            raise PermissionError(13, "Permission denied")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with refused(SourceError, "unreadable", "mine/a.jsonl", "Permission denied"):
        fetch.main("tiny")
    assert workspace.leftovers() == []


def test_damaged_raw_data(workspace: Workspace) -> None:
    workspace.write(many())
    fetch.main("tiny")
    damaged = Path("build/raw/tiny/a.jsonl")
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes().replace(b"number 7", b"number 8"))
    with refused(IntegrityError, "damaged", "raw/tiny", "a.jsonl"):
        clean.main("tiny")


def test_damaged_documents(workspace: Workspace) -> None:
    workspace.write(many())
    for stage in (fetch, clean):
        stage.main("tiny")
    Path("build/documents/tiny/train.parquet").write_bytes(b"PAR1 and then nothing")
    with refused(IntegrityError, "damaged", "build/documents/tiny", "train.parquet"):
        tokenizer.main("tiny")
    assert not Path("build/tokenizers/tiny").exists()


# No space on the disk: /dev/full takes the place of the file that is written -----------------------------------------

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


@needs_dev_full
@pytest.mark.parametrize("name", ["train.parquet", "quarantine.parquet"])
def test_no_space_for_documents(workspace: Workspace, name: str) -> None:
    workspace.write(many(5000), b"not json\n" * 20_000)
    out = workspace.root / "out"
    out.mkdir()
    (out / name).symlink_to("/dev/full")
    with refused(SpaceError, "full"), explained_os_errors(out):
        make_corpus(workspace.mine, out, settings(), lambda _: None)


@needs_dev_full
@pytest.mark.parametrize("name", ["train.tokens", "train.index.parquet"])
def test_no_space_for_tokens(tmp_path: Path, name: str) -> None:
    import numpy as np

    (tmp_path / name).symlink_to("/dev/full")
    documents = (EncodedDocument(str(i), [np.zeros(100, dtype="<u2")], 1, None) for i in range(20_000))
    with refused(SpaceError, "full"):
        write_shard(tmp_path, "train", documents, 0, np.dtype("<u2"))


@needs_dev_full
def test_no_space_for_raw_files(workspace: Workspace) -> None:
    from langmill.data.sources.base import build_source
    from tests.unit.data.settings import file_format, local

    workspace.write(many())
    into = workspace.root / "raw"
    into.mkdir()
    (into / "a.jsonl").symlink_to("/dev/full")
    with refused(SpaceError, "full"):
        build_source(local(workspace.mine), "x.yaml").fetch(file_format(), into, workspace.root / "downloads")


# Stopped in the middle -----------------------------------------------------------------------------------------------


def start_cleaning(workspace: Workspace) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a clean stage that takes long, and wait for its two workers."""
    workspace.configure(workers=2)
    raw = workspace.root / "build" / "raw" / "tiny"
    raw.mkdir(parents=True)
    with (raw / "a.jsonl").open("w") as file:
        for number in range(30_000):
            file.write(json.dumps({"text": f"<p>{number}</p>\t" * 40, "label": number % 2}) + "\n")
    write_manifest(raw, {})
    process = workspace.stage("clean")
    deadline = time.time() + 60
    workers: list[psutil.Process] = []
    while len(workers) < 2 and process.poll() is None and time.time() < deadline:
        time.sleep(0.1)
        children = psutil.Process(process.pid).children()
        workers = [child for child in children if "multiprocessing.spawn" in " ".join(child.cmdline())]
    assert len(workers) == 2, process.communicate()[1]
    return process, workers


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_cleaning(workspace: Workspace, sent: signal.Signals) -> None:
    process, workers = start_cleaning(workspace)
    started = time.time()
    os.killpg(process.pid, sent) if sent is signal.SIGINT else process.send_signal(sent)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        words.splitlines()[-1]
        == "clean@tiny: interrupted; the next run resumes from the last checkpoint, if there is one."
    )
    assert "Traceback" not in words
    assert time.time() - started < 15
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert workspace.leftovers() == []
    assert not documents_path(workspace.root / "build/documents/tiny", Split.train).exists()


def test_workers_end_when_the_stage_is_killed(workspace: Workspace) -> None:
    process, workers = start_cleaning(workspace)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(workers, timeout=20)[1] == []


def test_a_worker_that_is_killed(workspace: Workspace) -> None:
    process, workers = start_cleaning(workspace)
    workers[0].kill()
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "A process that cleans was killed, most likely for want of memory; lower cleaning.workers" in words
    assert workspace.leftovers() == []
