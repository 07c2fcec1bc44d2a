"""Making a corpus takes memory for keys and not for texts: 1 GB goes through below 2 GB."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from langmill.data.document import Split, count_documents, documents_path

CHILD = """
import sys
from pathlib import Path
from langmill.data.corpus import make_corpus
from tests.unit.data.settings import settings

if __name__ == "__main__":
    raw, out = map(Path, sys.argv[1:])
    make_corpus(raw, out, settings(workers=2), lambda _: None)
    print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
ROOT = Path(__file__).parents[3]
VARIANTS = 5


def write_texts(path: Path, size: int) -> int:
    """Write about `size` bytes of rows, four fifths of which are near duplicates; how many are none."""
    draw = random.Random(1)
    words = [f"{''.join(draw.choices('abcdefghijklmnoprstuvw', k=draw.randint(2, 9)))}" for _ in range(60_000)]
    written = count = 0
    with path.open("w") as file:
        while written < size:
            base = draw.choices(words, k=160)
            count += 1
            for _ in range(VARIANTS):
                base[draw.randrange(len(base))] = draw.choice(words)
                written += file.write(json.dumps({"text": " ".join(base)}) + "\n")
    return count


def peak(tmp_path: Path, size: int) -> tuple[float, float]:
    """The most memory of the process that makes a corpus of `size` bytes, in MB, and the share of rows that stay."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    count = write_texts(raw / "a.jsonl", size)
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    told = subprocess.run(
        [sys.executable, script, raw, out], env=environment, check=True, capture_output=True, text=True
    )
    kept = sum(count_documents(documents_path(out, split)) for split in Split)
    return int(told.stdout.split()[-1]) / 1024, kept / (count * VARIANTS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.environ.get("LANGMILL_LARGE"), reason="takes a quarter of an hour: LANGMILL_LARGE=1 runs it")
def test_a_gigabyte_takes_less_than_two(tmp_path: Path) -> None:
    megabytes, share = peak(tmp_path, 10**9)
    assert share == pytest.approx(1 / VARIANTS, rel=0.01)
    assert megabytes < 2000


@pytest.mark.unit
def test_what_is_written_is_what_is_promised(tmp_path: Path) -> None:
    megabytes, share = peak(tmp_path, 2_000_000)
    assert share == pytest.approx(1 / VARIANTS, rel=0.05)
    assert megabytes < 500
