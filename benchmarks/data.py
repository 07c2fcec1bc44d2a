"""A corpus of any size made from the film reviews: how fast, in how much memory, and whether in linear time.

    python benchmarks/data.py build/raw/reviews --megabytes 10 100 1000    # where `dvc repro fetch@reviews` has run
    python benchmarks/data.py build/raw/reviews --steps gopher_repetition gopher_quality    # rules for web pages too

The reviews are repeated to the sizes asked for. In each repetition a share of all words (`--changed`) is replaced, at
random places, by others drawn from the reviews, so that no two repetitions of a review are near duplicates and common
words stay common; a share of the documents of 60 words and more (`--near`) stands there once more with one word
changed. Langmill makes a corpus of them as conf/corpus/reviews.yaml says: reading, cleaning, exact and near duplicates,
splits, leaked test documents, counts for the report. Peers get a small part (`--peer-megabytes`), on which Langmill is
measured too: datatrove's local pipeline in as many processes (those of its filters that have our rules, then its four
MinHash steps with n-grams as long as ours and as many hashes, 14 bands of 8; it has no splits or leakage), and
datasketch's MinHashLSH (128 permutations, our threshold), which cleans nothing and runs in one process.

Each runs in a fresh process, its imports left out, but not those of our workers. Processor time is that of all its
processes; so is the second column of memory, which adds up the peaks of those that work side by side (what forked ones
share counts for each). `first pass` is the share of the time by the clock after which all rows were cleaned. Rounds
(`--repeats`) are interleaved, and medians are shown. A megabyte is 10^6 bytes of the raw files. Writes data.png and
data.json to `--out`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import itertools
import json
import math
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers.cleaning import FILES, Found, datasketch, datatrove
from langmill.config.sections import Cleaning

CONF = Path(__file__).resolve().parents[1] / "conf"
APART = 200  # documents after which those that are written twice come again
MIN_WORDS = 60  # of a document that is written twice: one word is in three of at least 58 n-grams


class Repeated:
    """Reviews, again and again, each time with other words."""

    def __init__(self, raw: Path, changed: float, near: float, seed: int) -> None:
        self.rows: list[dict[str, str]] = []
        for path in sorted(raw.rglob("*.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                self.rows += csv.DictReader(file)
        if not self.rows:
            sys.exit(f"{raw} holds no .csv file with rows; `dvc repro fetch@reviews` brings it.")
        self.changed, self.near, self.seed = changed, near, seed
        self.words = [np.array([sys.intern(word) for word in row["text"].split(" ")], object) for row in self.rows]
        self.plain = [np.array([not _has_markup(word) for word in words]) for words in self.words]
        pairs = zip(self.words[::10], self.plain[::10], strict=True)
        self.pool = np.array([word for words, plain in pairs for word in words[plain] if word], object)

    def documents(self) -> Iterator[tuple[dict[str, str], bool]]:
        """Rows without end, and whether each is a near duplicate of one before it."""
        draw = np.random.default_rng(self.seed)
        order = itertools.chain.from_iterable(draw.permutation(len(self.rows)).tolist() for _ in itertools.count())
        while True:
            places = list(itertools.islice(order, APART))
            words = np.concatenate([self.words[place] for place in places])
            plain = np.concatenate([self.plain[place] for place in places])
            replaced = plain & (draw.random(len(words)) < self.changed)
            words[replaced] = self._drawn(draw, int(replaced.sum()))
            texts = np.split(words, np.cumsum([len(self.words[place]) for place in places])[:-1])
            yield from (
                ({**self.rows[place], "text": _joined(text)}, False) for place, text in zip(places, texts, strict=True)
            )
            again = draw.random(len(places)) < self.near
            for place, text, twice in zip(places, texts, again.tolist(), strict=True):
                if twice and len(text) >= MIN_WORDS:
                    middle = len(text) // 2
                    if self.plain[place][middle]:
                        text[middle] = self._drawn(draw, 1)[0]
                    yield {**self.rows[place], "text": _joined(text)}, True

    def _drawn(self, draw: np.random.Generator, count: int) -> Any:
        return self.pool[draw.integers(len(self.pool), size=count)]

    def write(self, folder: Path, megabytes: float) -> Found:
        """Write so many megabytes of them; how many rows they are, how many near duplicates among them, and MB."""
        folder.mkdir(parents=True)
        documents = self.documents()
        count: Counter[bool] = Counter()
        for number in range(FILES):
            with (folder / f"{number}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, self.rows[0])
                writer.writeheader()
                written = 0  # characters, nearly as many as bytes; `tell` would flush the file for each row
                while written < megabytes * 1e6 / FILES:
                    row, near = next(documents)
                    count[near] += 1
                    written += writer.writerow(row)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        return {"rows": count.total(), "made_near": count[True], "megabytes": size}


def _joined(words: Any) -> str:
    return " ".join(words.tolist())


def _has_markup(word: str) -> bool:
    return "<" in word or ">" in word


def langmill(raw: Path, out: Path, cleaning: Cleaning) -> Callable[[], Found]:
    """Make the whole corpus, as stages/clean.py does; like the peers it prepares itself, and returns the run."""
    # Not at the top: our workers read this file too, and the stage's have no need of these.
    from langmill.config.compose import compose_corpus
    from langmill.data.corpus import CorpusSettings, make_corpus
    from langmill.data.formats.base import build_format

    corpus = compose_corpus("reviews", CONF)
    settings = CorpusSettings(
        "reviews", build_format(corpus.format, "reviews"), corpus.fields, cleaning, corpus.split, corpus.labels
    )

    def run() -> Found:
        started = time.perf_counter()
        cleaned: list[float] = []
        report = make_corpus(
            raw, out, settings, lambda _: None, on_read=lambda: cleaned.append(time.perf_counter() - started)
        )
        # Exact ones too: a word may be drawn for itself, and one that is a tag stays.
        found = report.duplicates + report.as_json()["near_duplicates"]["dropped"]
        return {"kept": report.num_documents, "near": found, "first_pass": cleaned[0]}

    return run


def processor_seconds() -> float:
    """Processor time of this process, and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def high_water(pid: int | str) -> float:
    """The most memory that a process has had resident, in MB (`ru_maxrss` begins at what its parent had)."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def _child(told: Connection, prepare: Callable[..., Callable[[], Found]], arguments: Sequence[Any]) -> None:
    run = prepare(*arguments)
    started, used = time.perf_counter(), processor_seconds()
    found = run()
    clock, processor = time.perf_counter() - started, processor_seconds() - used
    told.send({**found, "clock": clock, "processor": processor, "peak": high_water("self")})


def measured(prepare: Callable[..., Callable[[], Found]], raw: Path, made: Found, cleaning: Cleaning) -> Found:
    """What a run found, its seconds by the clock and of processor time, its peak in MB and that of all processes."""
    context = multiprocessing.get_context("spawn")
    receives, sends = context.Pipe(duplex=False)
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory(dir=raw.parent) as out:
        process = context.Process(target=_child, args=(sends, prepare, (raw, Path(out), cleaning)))
        process.start()
        sends.close()
        while not receives.poll(0.2):
            for pid in family(process.pid or 0):
                with contextlib.suppress(OSError, IndexError):  # one that has just ended tells nothing
                    peaks[pid] = high_water(pid)
        try:
            found: Found = receives.recv()
        except EOFError:
            sys.exit(f"{prepare.__name__} failed on {made['megabytes']:.1f} MB; what it said is above.")
        process.join()
    peaks[process.pid or 0] = found["peak"]
    found = {**made, **found, "together": sum(sorted(peaks.values())[-1 - cleaning.workers :])}
    print(f"{prepare.__name__}, {made['megabytes']:.1f} MB: {speed(found, 'clock'):.2f} MB/s", file=sys.stderr)
    return found


def speed(found: Found, key: str) -> float:
    """MB/s by the clock or of processor time."""
    return float(found["megabytes"] / found[key])


def exponent(results: Sequence[Found], key: str) -> tuple[float, float]:
    """The power of the size that time grows with, by least squares of the logarithms, and the seconds of one MB."""
    power, one = np.polyfit(np.log([each["megabytes"] for each in results]), np.log([each[key] for each in results]), 1)
    return float(power), math.exp(one)


def draw(results: Sequence[Found], path: Path) -> None:
    """Draw seconds over megabytes with the line fitted to them, and MB/s."""
    from langmill.evaluation.plots import new_figure

    figure = new_figure(11, 4.2, layout="constrained")
    seconds, rates = figure.subplots(1, 2)
    sizes = [each["megabytes"] for each in results]
    for key, name, colour in (("clock", "by the clock", "#2b6cb0"), ("processor", "processor time", "#c05621")):
        times = [each[key] for each in results]
        seconds.plot(sizes, times, "o", color=colour)
        if len(sizes) > 1:
            power, one = exponent(results, key)
            line = [one * size**power for size in sizes]
            seconds.plot(sizes, line, color=colour, label=f"{name}: exponent {power:.3f}")
            seconds.legend()
        rates.plot(
            sizes, [size / taken for size, taken in zip(sizes, times, strict=True)], "o-", color=colour, label=name
        )
    seconds.set(xscale="log", yscale="log", xlabel="MB of raw files", ylabel="seconds", title="Making a corpus")
    rates.set(xscale="log", xlabel="MB of raw files", ylabel="MB/s", ylim=(0, None), title="Speed")
    rates.legend()
    figure.savefig(path, metadata={"Software": None})


def show(results: dict[str, Found]) -> None:
    """Print the table; how often as fast the last columns tell is against each peer."""
    peers = {name.split()[0]: each for name, each in results.items() if not name.startswith("langmill")}
    columns = [
        "",
        "MB",
        "rows",
        "near duplicates made",
        "left out",
        "kept",
        "MB/s",
        "MB/s of processor time",
        "peak MB",
    ]
    columns += ["with workers", "first pass", *(f"{name}, times as fast" for name in peers)]
    print(f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}")
    for name, each in results.items():
        cells = [name.split()[0], f"{each['megabytes']:.1f}"]
        cells += [f"{each[key]:,.0f}" for key in ("rows", "made_near", "near", "kept")]
        cells += [f"{speed(each, key):.2f}" for key in ("clock", "processor")]
        cells += [f"{each[key]:,.0f}" for key in ("peak", "together")]
        cells.append(f"{each['first_pass'] / each['clock']:.0%}" if "first_pass" in each else "")
        for peer in peers.values():
            ratios = [speed(each, key) / speed(peer, key) for key in ("clock", "processor")]
            cells.append("" if name.split()[0] in peers else f"{ratios[0]:.1f}; {ratios[1]:.1f} of processor time")
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Measure, print the table, draw the plot."""
    from langmill.config.compose import compose_corpus

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="the reviews as they were fetched, build/raw/reviews")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[10, 100])
    parser.add_argument("--peer-megabytes", type=float, default=2, help="0 leaves the peers out")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--steps", nargs="*", default=[], help="more steps, with their own defaults, in all")
    parser.add_argument("--changed", type=float, default=0.5, help="share of words replaced in each repetition")
    parser.add_argument("--near", type=float, default=0.1, help="share of documents with a near duplicate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    asked = parser.parse_args()
    cleaning = compose_corpus("reviews", CONF).cleaning
    more: dict[str, dict[str, Any]] = {name: {} for name in asked.steps}
    cleaning = dataclasses.replace(cleaning, steps=[*cleaning.steps, *more], options={**cleaning.options, **more})
    reviews = Repeated(asked.raw, asked.changed, asked.near, asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    rounds: dict[str, list[Found]] = {}
    with tempfile.TemporaryDirectory(dir=asked.out) as home:
        sizes = sorted({*asked.megabytes, asked.peer_megabytes} - {0})
        made = {size: reviews.write(Path(home, f"{size:g}", "raw"), size) for size in sizes}
        for _ in range(asked.repeats):
            for size in sizes:
                peers = (datatrove, datasketch) if size == asked.peer_megabytes else ()
                for prepare in (langmill, *peers):
                    found = measured(prepare, Path(home, f"{size:g}", "raw"), made[size], cleaning)
                    rounds.setdefault(f"{prepare.__name__} {size:g}", []).append(found)
    results = {
        name: {key: statistics.median(one[key] for one in each) for key in each[0]} for name, each in rounds.items()
    }
    print(f"Steps: {', '.join(cleaning.steps)}; {cleaning.workers} workers; seed {asked.seed}\n")
    show(results)
    ours = [results[f"langmill {size:g}"] for size in sorted(asked.megabytes)]
    for key in ("clock", "processor") if len(ours) > 1 else ():
        steps = [f"{exponent(pair, key)[0]:.3f}" for pair in itertools.pairwise(ours)]
        print(
            f"Time ({key}) grows with the size to the power {exponent(ours, key)[0]:.3f}; pairwise {', '.join(steps)}"
        )
    draw(ours, asked.out / "data.png")
    (asked.out / "data.json").write_text(json.dumps(rounds, indent=2))


if __name__ == "__main__":
    main()
