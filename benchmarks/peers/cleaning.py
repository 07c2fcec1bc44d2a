"""Cleaning a corpus by datatrove, and looking for its near duplicates by datasketch.

Each function prepares itself, imports included, and returns the run that is measured.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langmill.config.sections import Cleaning

FILES = 2
"""Files of a corpus that is given; a task of datatrove takes whole files."""
Found = dict[str, Any]
"""What a run found: documents `kept`, and what else is worth telling."""


def datatrove(raw: Path, out: Path, cleaning: Cleaning) -> Callable[[], Found]:
    """Run its filters with our rules and the four MinHash steps, with files between them, as its examples do."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline import dedup, filters
    from datatrove.pipeline.formatters import FTFYFormatter
    from datatrove.pipeline.readers import CSVReader, JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    logger.disable("datatrove")
    load_word_tokenizer("en").word_tokenize("once")  # what its processes, which are forked, inherit
    length = cleaning.options["length"] or {}
    shortest, longest = length.get("min_characters", 0), length.get("max_characters", math.inf)
    peers: dict[str, Callable[[], Any]] = {
        "repair": FTFYFormatter,
        "c4": filters.C4QualityFilter,
        "length": lambda: filters.LambdaFilter(lambda document: shortest <= len(document.text) <= longest),
        "gopher_repetition": filters.GopherRepetitionFilter,
        "gopher_quality": filters.GopherQualityFilter,
        "fineweb": filters.FineWebQualityFilter,
    }
    near = cleaning.near_duplicates
    assert near is not None
    # Its default, xxHash of a text, fails with xxhash 4: "Strings must be encoded before hashing".
    config = dedup.MinhashConfig(n_grams=near.ngrams, hash_config=HashConfig(hash_fc="sha1"))
    clean, signatures, buckets, remove, left = (str(out / name) for name in "abcde")

    def writer(folder: str) -> Any:
        return JsonlWriter(folder, output_filename="${rank}.jsonl", compression=None)

    steps = [peers[name]() for name in cleaning.steps if name in peers]
    pipelines: list[tuple[int, list[Any]]] = [
        (FILES, [CSVReader(str(raw)), *steps, writer(clean)]),
        (FILES, [JsonlReader(clean), dedup.MinhashDedupSignature(signatures, config)]),
        (config.num_buckets, [dedup.MinhashDedupBuckets(signatures, buckets, config=config)]),
        (1, [dedup.MinhashDedupCluster(buckets, remove, config=config)]),
        (FILES, [JsonlReader(clean), dedup.MinhashDedupFilter(remove), writer(left)]),
    ]

    def run() -> Found:
        # Its bars and logs are for people who watch it.
        with (out / "log").open("w") as log, contextlib.redirect_stderr(log):
            for number, (tasks, steps) in enumerate(pipelines):
                folder = str(out / f"logs{number}")
                workers = min(tasks, cleaning.workers)
                LocalPipelineExecutor(
                    steps, tasks=tasks, workers=workers, start_method="fork", logging_dir=folder
                ).run()
        before, after = (
            sum(path.open("rb").read().count(b"\n") for path in Path(at).iterdir()) for at in (clean, left)
        )
        return {"kept": after, "near": before - after}

    return run


def datasketch(raw: Path, out: Path, cleaning: Cleaning) -> Callable[[], Found]:
    """Look for near duplicates with an index in memory, in one process; a document that finds another is left out."""
    from datasketch import MinHash, MinHashLSH

    near = cleaning.near_duplicates
    assert near is not None
    size = near.ngrams

    def run() -> Found:
        index = MinHashLSH(threshold=near.threshold, num_perm=128)
        count: Counter[bool] = Counter()
        for path in sorted(raw.iterdir()):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    words = row["text"].lower().split()
                    signature = MinHash(num_perm=128)
                    signature.update_batch(
                        [" ".join(words[at : at + size]).encode() for at in range(len(words) - size + 1)]
                    )
                    found = bool(index.query(signature))
                    if not found:
                        index.insert(str(count.total()), signature)
                    count[found] += 1
        return {"kept": count[False], "near": count[True]}

    return run
