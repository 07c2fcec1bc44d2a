"""Encoding against Hugging Face tokenizers and tiktoken, with equal ids; opening shards, cleaning and learning.

    python benchmarks/encoding.py --threads 2 --repeats 5

All encode the documents of the corpus with the same tokenizer.json and the same number of threads, in turn, so that
whatever else the machine does falls on all. tiktoken is measured with its own batch call, which makes lists; ours makes
arrays. Medians of wall time decide; processor time is printed beside it, since it
depends less on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass
class Timing:
    """Seconds of one repetition."""

    wall: float
    processor: float


def timed(work: Callable[[], Any]) -> tuple[Any, Timing]:
    """Run something and say how long it took, its child processes included."""

    def processor() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    wall, used = time.perf_counter(), processor()
    result = work()
    return result, Timing(time.perf_counter() - wall, processor() - used)


def median(timings: list[Timing], megabytes: float) -> dict[str, float]:
    """Medians as metrics to print."""
    wall = statistics.median(timing.wall for timing in timings)
    processor = statistics.median(timing.processor for timing in timings)
    return {
        "seconds": round(wall, 2),
        "megabytes_per_second": round(megabytes / wall, 2),
        "processor_seconds": round(processor, 2),
    }


def compare_encoding(tokenizer_file: Path, texts: list[str], threads: int, repeats: int) -> list[dict[str, Any]]:
    """Encode with both alternately; stop if a single id differs."""
    import tokenizers

    from langmill.tokenization.byte_level import fast_encoding
    from langmill.tokenization.tokenizer import Tokenizer

    ours = Tokenizer.load(tokenizer_file)
    theirs = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    timings: dict[str, list[Timing]] = {"langmill": [], "tokenizers": [], "tiktoken": []}
    tiktokens = fast_encoding(json.loads(tokenizer_file.read_text(encoding="utf-8")))
    assert tiktokens is not None, "tiktoken can't encode with this tokenizer.json"
    for repeat in range(repeats):
        mine, timing = timed(lambda: ours.encode_batch(texts, threads))
        timings["langmill"].append(timing)
        reference, timing = timed(lambda: theirs.encode_batch(texts, add_special_tokens=False))
        timings["tokenizers"].append(timing)
        if repeat == 0:
            different = sum(a.tolist() != b.ids for a, b in zip(mine, reference, strict=True))
            assert different == 0, f"{different} of {len(texts)} documents have other ids"
        other, timing = timed(lambda: tiktokens.encode_ordinary_batch(texts, num_threads=threads))
        timings["tiktoken"].append(timing)
        assert repeat or all(a.tolist() == b for a, b in zip(mine, other, strict=True)), "tiktoken has other ids"
        del mine, reference, other
    results = [{"what": f"encode: {name}", **median(found, megabytes)} for name, found in timings.items()]
    for peer in ("tokenizers", "tiktoken"):
        pairs = list(zip(timings[peer], timings["langmill"], strict=True))
        ratios = sorted(theirs_.wall / ours_.wall for theirs_, ours_ in pairs)
        processor = statistics.median(theirs_.processor / ours_.processor for theirs_, ours_ in pairs)
        results.append(
            {
                "what": f"encode: against {peer}",
                "ratio": round(statistics.median(ratios), 2),
                "smallest": round(ratios[0], 2),
                "largest": round(ratios[-1], 2),
                "of_processor_time": round(processor, 2),
                "documents_with_equal_ids": len(texts),
            }
        )
    return results


def measure_cleaning(corpus: str, repeats: int) -> list[dict[str, Any]]:
    """Read, clean, split and write the raw corpus, with one process and with two."""
    from langmill.config.compose import compose_corpus
    from langmill.data.corpus import CorpusSettings, make_corpus
    from langmill.data.formats.base import build_format

    section = compose_corpus(corpus)
    file_format = build_format(section.format, corpus)
    raw = Path("build/raw") / corpus
    megabytes = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file()) / 1e6
    timings: dict[int, list[Timing]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers, found in timings.items():
            cleaning = replace(section.cleaning, workers=workers)
            settings = CorpusSettings(corpus, file_format, section.fields, cleaning, section.split)
            with tempfile.TemporaryDirectory() as folder:
                _, timing = timed(lambda: make_corpus(raw, Path(folder), settings, lambda _: None))  # noqa: B023
            found.append(timing)
    return [{"what": f"clean: workers {workers}", **median(found, megabytes)} for workers, found in timings.items()]


def measure_learning(texts: list[str], vocab_size: int) -> dict[str, Any]:
    """Learn the vocabulary once."""
    from langmill.tokenization.training import train_tokenizer

    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        _, timing = timed(
            lambda: train_tokenizer("bpe", vocab_size, texts, Path(folder) / "tokenizer.json", lambda _: None)
        )
    return {"what": f"learn: BPE {vocab_size}", **median([timing], megabytes)}


def measure_opening(megabytes: int) -> list[dict[str, Any]]:
    """Open a shard of made tokens, whose bytes are verified the first time in a process, and once more."""
    import numpy as np

    from langmill.files import write_manifest
    from langmill.tokenization.shards import EncodedDocument, Shard, write_shard

    part = np.random.default_rng(0).integers(0, 4096, 500_000, dtype=np.uint16)  # a megabyte
    with tempfile.TemporaryDirectory() as name:
        folder, dtype = Path(name), np.dtype("<u2")
        documents = (EncodedDocument(str(number), [part], len(part), None) for number in range(megabytes))
        size = write_shard(folder, "train", documents, 0, dtype)
        split = {"documents": size.sequences, "tokens": size.tokens}
        write_manifest(folder, {"dtype": dtype.str, "splits": {"train": split}})
        opened = [timed(lambda: Shard.open(folder, "train"))[1] for _ in range(2)]
    return [
        {"what": f"open a shard: {which}", "megabytes": megabytes, "seconds": round(timing.wall, 3)}
        for which, timing in zip(("first", "again"), opened, strict=True)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="reviews", help="a corpus that `langmill run` has made (%(default)s)")
    parser.add_argument(
        "--tokenizer",
        default="reviews",
        help="a vocabulary that was learned (%(default)s), or the folder of one, as `langmill tokenizers CORPUS` makes "
        "them in .langmill/tokenizers/CORPUS/vocabularies/; not of unigram or wordpiece, which tiktoken can't encode",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--encoding", action="store_true", help="leave out cleaning and learning")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)  # read by tokenizers at its first work

    from langmill.data.document import Split, documents_path, read_documents
    from langmill.tokenization.tokenizer import FILE_NAME, Tokenizer

    folder = Path("build/documents") / options.corpus
    learned = Path(options.tokenizer)
    tokenizer_file = (learned if learned.is_dir() else Path("build/tokenizers") / learned) / FILE_NAME
    if not folder.is_dir() or not tokenizer_file.is_file():
        sys.exit(f"{folder} or {tokenizer_file} does not exist; make them with `dvc repro` first.")
    texts = [document.text for split in Split for document in read_documents(documents_path(folder, split))]
    results: list[dict[str, Any]] = [
        {
            "what": "machine",
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "tiktoken": version("tiktoken"),
            "tokenizers": version("tokenizers"),
            "documents": len(texts),
            "megabytes": round(sum(len(text.encode()) for text in texts) / 1e6, 1),
        }
    ]
    results += compare_encoding(tokenizer_file, texts, options.threads, options.repeats)
    results += measure_opening(200)
    if not options.encoding:
        results += measure_cleaning(options.corpus, min(options.repeats, 3))
        results.append(measure_learning(texts, Tokenizer.load(tokenizer_file).vocab_size))
    for result in results:
        if options.json:
            print(json.dumps(result))
        else:
            what, *rest = result.items()
            print(f"{what[1]:28}" + "  ".join(f"{name} {value}" for name, value in rest))


if __name__ == "__main__":
    main()
