"""How well the cleaning step `quality` tells film reviews from what is none, in precision and recall.

    python benchmarks/quality.py

Needs `build/raw/reviews` and `build/raw/catalogs-en-de` (`dvc repro fetch@reviews fetch@catalogs-en-de`). Reviews are
the good examples; what is to be dropped is made of other reviews (their words shuffled, their rarer words as a list of
keywords, a sentence again and again), or real text of another kind: German messages of programs, the mark-up of pages
of documentation, Python code. The classifier learns from two kinds of it alone, so that the others say what it makes of
what it has not seen.
"""

from __future__ import annotations

import argparse
import json
import pydoc
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from langmill.config.compose import compose_corpus
from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import CLEANING_STEPS, Draft, Dropped
from langmill.data.cleaning.quality import Examples, Quality, QualityOptions
from langmill.data.formats.base import build_format
from langmill.data.readers import read_rows
from langmill.data.rows import Row
from langmill.files import sha256_file

LEARNED = "shuffled words", "Python code"  # what the classifier has bad examples of
MODULES = "argparse", "csv", "email.message", "http.client", "json", "logging", "pathlib", "statistics", "unittest.case"
SHARE = 0.1  # of what comes in that is to be dropped, for precision


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=5000, help="reviews that are good examples (%(default)s)")
    parser.add_argument("--test", type=int, default=2000, help="reviews that are judged (%(default)s)")
    parser.add_argument("--each", type=int, default=500, help="texts of each other kind that are judged (%(default)s)")
    parser.add_argument("--keep", type=float, default=0.99)
    parser.add_argument("--characters", type=int, default=100, help="what a review has at least (%(default)s)")
    parser.add_argument("--conf", type=Path, default=Path("conf"))
    arguments = parser.parse_args()
    draw = random.Random(0)
    reviews = [text for text in _texts("reviews", arguments.conf, "text") if len(text) >= arguments.characters]
    draw.shuffle(reviews)
    good, rest = reviews[: arguments.good], reviews[arguments.good :]
    test, spare = rest[: arguments.test], rest[arguments.test :]
    common = {word for word, _ in Counter(word for text in good for word in text.lower().split()).most_common(300)}
    sizes = [len(text) for text in test]
    kinds: dict[str, Callable[[], Iterator[str]]] = {
        "shuffled words": lambda: (_shuffled(text, draw) for text in spare),
        "lists of keywords": lambda: (_keywords(text, common) for text in spare),
        "one sentence repeated": lambda: (_repeated(text, draw) for text in spare),
        "German messages": lambda: _cut(_texts("catalogs-en-de", arguments.conf, "target"), sizes, draw),
        "HTML": lambda: _cut(_pages(), sizes, draw),
        "Python code": lambda: _cut(_sources(), sizes, draw),
    }
    junk = {
        name: [text for text, _ in zip(make(), range(2 * arguments.each), strict=False)] for name, make in kinds.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        given = _examples(Path(folder) / "good.jsonl", good)
        bad = [text for name in LEARNED for text in junk[name][arguments.each :]]
        steps = {}
        for name, options in (
            ("perplexity", QualityOptions(given, keep=arguments.keep)),
            ("classifier", QualityOptions(given, _examples(Path(folder) / "bad.jsonl", bad), arguments.keep)),
        ):
            started = time.process_time()
            steps[name] = Quality(options)
            print(f"{name}: learned in {time.process_time() - started:.1f} s", file=sys.stderr)
    rows: dict[str, list[str]] = {}
    for step in steps.values():
        started = time.process_time()
        lost = _dropped(step, test)
        rate = sum(len(text.encode()) for text in test) / 1e6 / (time.process_time() - started)
        shares = {name: _dropped(step, texts[: arguments.each]) for name, texts in junk.items()}
        recall = sum(shares.values()) / len(shares)
        precision = SHARE * recall / (SHARE * recall + (1 - SHARE) * lost)
        for name, share in shares.items():
            rows.setdefault(f"recall: {name}", []).append(f"{share:.3f}")
        rows.setdefault("reviews dropped", []).append(f"{lost:.3f}")
        rows.setdefault(f"precision, where {SHARE:.0%} is no review", []).append(f"{precision:.3f}")
        rows.setdefault("MB/s", []).append(f"{rate:.1f}")
    print(f"| | {' | '.join(steps)} |\n|---|{'---:|' * len(steps)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def _texts(corpus: str, conf: Path, field: str) -> list[str]:
    """The texts or targets of a raw corpus, without mark-up."""
    settings, raw = compose_corpus(corpus, conf), Path("build/raw") / corpus
    if not raw.is_dir():
        sys.exit(f"{raw} does not exist; make it with `dvc repro fetch@{corpus}`.")
    rows = read_rows(raw, build_format(settings.format, corpus), settings.fields, lambda _: None)
    drafts = [Draft(str(getattr(row, field) or "")) for row in rows if isinstance(row, Row)]
    names: tuple[tuple[str, dict[str, bool]], ...] = (("markup", {}), ("characters", {"preserve_whitespace": False}))
    steps = {name: CLEANING_STEPS.find(name)(CLEANING_STEPS.options(name, options, "")) for name, options in names}
    return [one.text for one in clean_documents(drafts, steps)]


def _shuffled(text: str, draw: random.Random) -> str:
    words = text.split()
    draw.shuffle(words)
    return " ".join(words)


def _keywords(text: str, common: set[str]) -> str:
    words = dict.fromkeys(word.strip(".,!?\"'()-") for word in text.lower().split() if word not in common)
    return ", ".join(word for word in words if word)


def _repeated(text: str, draw: random.Random) -> str:
    sentence = draw.choice([part for part in text.split(". ") if part.strip()] or [text])
    return ". ".join([sentence] * (1 + len(text) // (len(sentence) + 2)))


def _cut(texts: Sequence[str], sizes: Sequence[int], draw: random.Random) -> Iterator[str]:
    """Pieces of the texts, joined by lines, as long as reviews are."""
    whole, place = "\n".join(texts), 0
    while place < len(whole):
        size = draw.choice(sizes)
        yield whole[place : place + size]
        place += size


def _pages() -> list[str]:
    return [pydoc.html.page(name, pydoc.html.document(import_module(name), name)) for name in MODULES]


def _sources() -> list[str]:
    return [Path(str(import_module(name).__file__)).read_text(encoding="utf-8") for name in MODULES]


def _examples(path: Path, texts: Sequence[str]) -> Examples:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return Examples(str(path), sha256_file(path))


def _dropped(step: Quality, texts: Sequence[str]) -> float:
    made = step.clean_batch([Draft(text) for text in texts])
    return sum(isinstance(one, Dropped) for one in made) / len(texts)


if __name__ == "__main__":
    main()
