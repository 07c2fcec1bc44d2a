"""What the first pass over a corpus spends its time on: reading, sending to workers, steps, fingerprints, the spool.

    python benchmarks/first_pass.py build/raw/reviews --megabytes 4

Needs `build/raw/reviews` (`dvc repro fetch@reviews`), which are repeated as `benchmarks/data.py` does. Every part is
done by itself, one after the other in one process, on all documents; milliseconds of processor time for each MB of the
raw files. Start-up is left out.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import CONF, Repeated
from langmill.config.compose import compose_corpus
from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import Draft, build_steps
from langmill.data.cleaning.batches import batches, sent
from langmill.data.folding import key_of
from langmill.data.formats.base import build_format
from langmill.data.near_duplicates import minhash
from langmill.data.near_duplicates.fingerprints import fingerprints
from langmill.data.near_duplicates.words import words_of
from langmill.data.readers import read_rows
from langmill.data.report import Report, StepCount
from langmill.data.rows import Row
from langmill.data.splits import deciding_key, split_of_key
from langmill.data.spool import Spool


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="the reviews as they were fetched, build/raw/reviews")
    parser.add_argument("--megabytes", type=float, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        made = Repeated(asked.raw, changed=0.5, near=0.1, seed=1).write(Path(home, "raw"), asked.megabytes)
        print("| part | ms a MB |\n|---|---:|")
        measure(Path(home), float(made["megabytes"]))


def measure(home: Path, megabytes: float) -> None:
    """Go through the parts in their order; the raw files are in the folder `raw`."""

    def timed(part: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        print(f"| {part} | {1000 * (time.process_time() - started) / megabytes:.1f} |", flush=True)
        return result

    corpus = compose_corpus("reviews", CONF)
    cleaning, near = corpus.cleaning, corpus.cleaning.near_duplicates
    assert near is not None
    steps, file_format = build_steps(cleaning, "reviews"), build_format(corpus.format, "reviews")
    for warm_up in ("a", "é"):  # what is loaded once
        clean_documents([Draft(warm_up * 40)], steps, cleaning.fold)
        fingerprints([warm_up * 40], [None], cleaning)
    report = Report("reviews")
    report.steps = {name: StepCount() for name in steps}
    every = timed("reading", lambda: list(read_rows(home / "raw", file_format, corpus.fields)))
    rows = [row for row in every if isinstance(row, Row)]
    timed("counting rows", lambda: [report.count_row(row) for row in every])
    packed = timed("rows to workers: packing", lambda: [pickle.dumps(sent(batch), -1) for batch in batches(rows)])
    drafts = timed(
        "and unpacking",
        lambda: [[Draft(*one) for one in pickle.loads(batch)] for batch in packed],
    )
    current = drafts
    for name, step in steps.items():
        after = timed(f"step `{name}`", lambda step=step, given=current: [step.clean_batch(batch) for batch in given])
        current = [[one for one in batch if isinstance(one, Draft)] for batch in after]
    timed("folding and hashing of texts", lambda: [key_of(one.text, cleaning.fold) for each in current for one in each])
    words = timed("words", lambda: [words_of([one.text for one in batch], cleaning.fold) for batch in current])
    timed("MinHash", lambda: [minhash.bands(*each, near.ngrams, near.min_words) for each in words])
    cleaned = [clean_documents(batch, steps, cleaning.fold) for batch in drafts]
    prints = [fingerprints([one.text for one in each], [one.target for one in each], cleaning) for each in cleaned]
    back = timed(
        "documents from workers: packing", lambda: [pickle.dumps(one, -1) for one in zip(cleaned, prints, strict=True)]
    )
    timed("and unpacking", lambda: [pickle.loads(one) for one in back])
    together = list(zip(rows, (one for batch in cleaned for one in batch), strict=True))
    timed("samples for the report", lambda: [report.observe(row, one) for row, one in together])
    keys = [deciding_key(one.key, one.metadata, corpus.split) for _, one in together]
    splits = timed("splits", lambda: [split_of_key(key, corpus.split) for key in keys])
    with Spool(Path(home)) as spool:

        def put() -> None:
            for (row, one), split in zip(together, splits, strict=True):
                if one.dropped is None:
                    spool.add(row, one, split)
            for batch, each in zip(cleaned, prints, strict=True):
                spool.add_fingerprints(each, [one.dropped is None for one in batch])
            spool.finish()

        timed("spool, written (with pandas' import by Arrow, once)", put)
        timed("spool, read", lambda: sum(1 for _ in spool.documents()))


if __name__ == "__main__":
    main()
