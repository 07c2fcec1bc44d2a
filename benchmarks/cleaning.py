"""How fast each cleaning step is, by itself, on the film reviews; datatrove's filters beside those with the same rules.

    python benchmarks/cleaning.py --repeats 3

Needs `build/raw/reviews` (`dvc repro fetch@reviews`); datatrove is measured where it is installed. Each line is the
median of the repeats, interleaved, of processor time in one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langmill.config.compose import compose_corpus
from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import CLEANING_STEPS, Draft, Dropped
from langmill.data.formats.base import build_format
from langmill.data.readers import read_rows
from langmill.data.rows import Row

OPTIONS: dict[str, dict[str, Any]] = {
    "repair": {},
    "markup": {},
    "characters": {"preserve_whitespace": False},
    "boilerplate": {},
    "c4": {},
    "language": {},
    "length": {"min_characters": 10, "max_characters": 20000},
    "gopher_repetition": {},
    "gopher_quality": {},
    "fineweb": {},
    "profanity": {"words": ["darn", "heck", "blast"], "max_share": 0.01},
    "parallel": {"source_language": "en", "target_language": "en", "max_length_ratio": None, "drop_copies": False},
}
PEERS = {
    "gopher_repetition": ("gopher_repetition_filter", "GopherRepetitionFilter"),
    "gopher_quality": ("gopher_quality_filter", "GopherQualityFilter"),
    "c4": ("c4_filters", "C4QualityFilter"),
    "fineweb": ("fineweb_quality_filter", "FineWebQualityFilter"),
}
"""datatrove's filters, by the step with the same rules."""
BATCH = 750  # documents, about what a pool sends


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--raw", type=Path, default=Path("build/raw/reviews"))
    parser.add_argument("--conf", type=Path, default=Path("conf"))
    parser.add_argument("--every", type=int, default=1, help="take one of so many documents")
    parser.add_argument("--peer-documents", type=int, default=1500, help="fewer for datatrove, which takes long")
    arguments = parser.parse_args()
    documents = _documents(arguments.raw, arguments.conf)[:: arguments.every]
    # Each step sees what the steps before it in the list would give it: mark-up out, characters even.
    tidy = [
        CLEANING_STEPS.find(name)(CLEANING_STEPS.options(name, OPTIONS[name], ""))
        for name in ("repair", "markup", "characters")
    ]
    clean = [
        Draft(one.text) for one in clean_documents(documents, {str(place): step for place, step in enumerate(tidy)})
    ]
    work: dict[str, Callable[[], int]] = {}
    sizes: dict[str, float] = {}
    for name, options in OPTIONS.items():
        step = CLEANING_STEPS.find(name)(CLEANING_STEPS.options(name, options, ""))
        given = documents if name in ("repair", "markup", "characters") else clean
        if name == "parallel":  # a pair of two reviews: all of it is read
            given = [one._replace(target=other.text) for one, other in zip(clean, reversed(clean), strict=True)]
        work[name], sizes[name] = _ours(step, given), _megabytes(given)
    work["repair by ftfy"], sizes["repair by ftfy"] = _by_ftfy(documents), _megabytes(documents)
    work["language by py3langid"], sizes["language by py3langid"] = _by_py3langid(clean), _megabytes(clean)
    if importlib.util.find_spec("datatrove") is not None:
        few = clean[:: max(1, len(clean) // arguments.peer_documents)]
        for name, (module, peer) in PEERS.items():
            work[f"{name} by datatrove"], sizes[f"{name} by datatrove"] = _theirs(module, peer, few), _megabytes(few)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    changed: dict[str, int] = {}
    for repeat in range(arguments.repeats + 1):  # the first loads models, and is not counted
        for name, run in work.items():
            started = time.process_time()
            changed[name] = run()
            if repeat:
                seconds[name].append(time.process_time() - started)
        print(f"{repeat} of {arguments.repeats} done", file=sys.stderr)
    print("| step | MB/s | documents changed or dropped |\n|---|---:|---:|")
    for name, taken in seconds.items():
        rate = sizes[name] / statistics.median(taken)
        print(f"| {name} | {rate:.{1 if rate >= 1 else 2}f} | {changed[name]:,} |")


def _documents(raw: Path, conf: Path) -> list[Draft]:
    corpus = compose_corpus("reviews", conf)
    rows = read_rows(raw, build_format(corpus.format, "reviews"), corpus.fields, lambda _: None)
    return [Draft(row.text) for row in rows if isinstance(row, Row)]


def _megabytes(documents: Sequence[Draft]) -> float:
    return sum(len(one.text.encode("utf-8", "replace")) + len((one.target or "").encode()) for one in documents) / 1e6


def _ours(step: Any, documents: Sequence[Draft]) -> Callable[[], int]:
    def run() -> int:
        changed = 0
        for start in range(0, len(documents), BATCH):
            batch = documents[start : start + BATCH]
            made = step.clean_batch(batch)
            changed += sum(
                isinstance(after, Dropped) or after != before for before, after in zip(batch, made, strict=True)
            )
        return changed

    return run


def _by_ftfy(documents: Sequence[Draft]) -> Callable[[], int]:
    """Every text through ftfy, with the step's options."""
    import ftfy

    from langmill.data.cleaning.repair import Repair, RepairOptions

    config = Repair(RepairOptions())._config
    return lambda: sum(ftfy.fix_text(one.text, config) != one.text for one in documents)


def _by_py3langid(documents: Sequence[Draft]) -> Callable[[], int]:
    """The step's sample of every text through py3langid's own loop."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    from langmill.data.cleaning.language import sample

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda: sum(model.classify(sample(one.text, 600))[0] != "en" for one in documents)


def _theirs(module: str, name: str, documents: Sequence[Draft]) -> Callable[[], int]:
    from datatrove.data import Document

    peer = getattr(importlib.import_module(f"datatrove.pipeline.filters.{module}"), name)()

    def run() -> int:
        changed = 0
        for place, one in enumerate(documents):
            document = Document(text=one.text, id=str(place))
            kept = peer.filter(document)
            changed += kept is not True or document.text != one.text
        return changed

    return run


if __name__ == "__main__":
    main()
