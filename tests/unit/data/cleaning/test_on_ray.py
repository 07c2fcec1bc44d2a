"""Ray makes no difference, and is asked for by name where it is missing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from langmill.config.sections import Engine
from langmill.data.cleaning.pool import clean_batches
from langmill.data.corpus import make_corpus
from langmill.data.rows import Row
from langmill.errors import ConfigError
from tests.refused import refused
from tests.unit.data.cleaning.test_quality import examples, shuffled, stories
from tests.unit.data.settings import cleaning, settings


@pytest.mark.unit
def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with refused(ConfigError, "missing", "cleaning.engine", 'pip install "langmill[ray]"'):
        list(clean_batches([Row("a:1", "text", None, None, {})], cleaning(engine=Engine.ray), "tiny.yaml"))


@pytest.mark.slow
def test_two_workers_of_a_cluster_change_no_byte(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    (tmp_path / "raw").mkdir()
    rows = [
        {"text": f"<p>Document {number // 2} of many words</p> " * 9 + "end" * (number % 2)} for number in range(6000)
    ]
    (tmp_path / "raw" / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = []
        for engine in Engine:
            out = tmp_path / engine
            out.mkdir()
            report = make_corpus(tmp_path / "raw", out, settings(workers=2, engine=engine), lambda _: None)
            found.append(({path.name: path.read_bytes() for path in out.iterdir()}, report.as_json()))
        assert found[0] == found[1]
        assert found[0][1]["dropped"]["near_duplicate"] > 100
        # A step that learns does so once, and what it has learned reaches the actors; so do other steps.
        good = {"good": asdict(examples(tmp_path / "good.jsonl", stories(150)))}
        told = [Row("a:copy", "text", None, "text", {})]
        drafts = [*stories(20, 5), *shuffled(stories(20))]
        told += [Row(f"a:{n}", text, None, None, {}) for n, text in enumerate(drafts)]
        steps = ("markup", "characters", "length", "copies")
        wanted = [cleaning(steps, engine=engine, quality=good) for engine in Engine]
        judged = [[one for _, (those, _) in clean_batches(told, each, "x") for one in those] for each in wanted]
        assert judged[0] == judged[1]
        assert judged[0][0].dropped == "copy"
        assert {one.dropped for one in judged[0][1:]} == {None, "low_quality"}
    finally:
        ray.shutdown()
