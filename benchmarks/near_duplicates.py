"""Near duplicates of our own making: what is found of them, what is taken for one and is none, and how fast.

    python benchmarks/near_duplicates.py build/documents/reviews              # where `dvc repro clean@reviews` has run
    python benchmarks/near_duplicates.py build/documents/reviews --datatrove  # its four MinHash steps too

From each of some documents one other is made, in one of the ways below; a way says whether the two are near duplicates.
Langmill's search, datasketch's MinHashLSH (128 permutations, word 3-grams, threshold 0.8, as its documentation has it)
and datatrove's MinHash pipeline (its defaults: 14 bands of 8, word 5-grams) get the same texts. A pair counts as found
where one of the two is removed for the sake of the other: by the twin that is named (Langmill), by standing in one
cluster, of which the first document is kept (datasketch), by being removed at all (datatrove, which tells no more).
Other documents of the corpus that are removed may be near to each other by right: `--show` prints them.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from langmill.config.compose import compose_corpus
from langmill.config.sections import Cleaning, Engine, Folding
from langmill.config.sections import Split as SplitSection
from langmill.data.cleaning.batches import BatchCleaner, batches, sent
from langmill.data.document import Split, documents_path, read_documents
from langmill.data.duplicates import Fate, exact_duplicates
from langmill.data.near_duplicates.find import find_near_duplicates
from langmill.data.near_duplicates.fingerprints import fingerprints
from langmill.data.report import Report
from langmill.data.rows import Row
from langmill.data.spool import Spool

CONF = Path(__file__).resolve().parents[1] / "conf"
Words = list[str]
Removals = dict[int, int]
"""Each document that was removed, and the one that was kept in its place."""
LICENCE = """permission is hereby granted free of charge to any person obtaining a copy of this software and associated
documentation files to deal in the software without restriction including without limitation the rights to use copy
modify merge publish distribute sublicense and or sell copies of the software and to permit persons to whom the software
is furnished to do so subject to the following conditions the above copyright notice and this permission notice shall be
included in all copies or substantial portions of the software"""


def other_words(words: Words, share: float, draw: random.Random, pool: Words) -> Words:
    """A share of the words replaced, at random places."""
    return [draw.choice(pool) if draw.random() < share else word for word in words]


def one_word(words: Words, draw: random.Random, pool: Words) -> Words:
    """One word in the middle replaced."""
    place = len(words) // 2
    return [*words[:place], draw.choice(pool), *words[place + 1 :]]


def swapped(words: Words) -> Words:
    """Paragraphs in another order: the second half first."""
    return words[len(words) // 2 :] + words[: len(words) // 2]


WAYS: dict[str, tuple[bool, Callable[[Words, random.Random, Words], Words]]] = {
    "one word changed": (True, one_word),
    "2% of words changed": (True, lambda words, draw, pool: other_words(words, 0.02, draw, pool)),
    "5% of words changed": (True, lambda words, draw, pool: other_words(words, 0.05, draw, pool)),
    "case and punctuation": (True, lambda words, *_: [f"{word.upper()}," for word in words]),
    "prefix of 80%": (True, lambda words, *_: words[: len(words) * 4 // 5]),
    "cut in half": (True, lambda words, *_: words[: len(words) // 2]),
    "second half": (True, lambda words, *_: words[len(words) // 2 :]),
    "paragraphs swapped": (True, lambda words, *_: swapped(words)),
    "a fifth added": (True, lambda words, draw, pool: words + [draw.choice(pool) for _ in range(len(words) // 5)]),
    "half of it, and as much new": (
        False,
        lambda words, draw, pool: words[: len(words) // 2] + [draw.choice(pool) for _ in range(len(words) // 2)],
    ),
    "paraphrase (every third word)": (
        False,
        lambda words, draw, pool: [draw.choice(pool) if not place % 3 else word for place, word in enumerate(words)],
    ),
}
CHAIN, HEADER_60, HEADER_90 = "chain A~B~C, A and C share 30%", "60% one licence", "90% one licence"


class Made:
    """The texts, and of which pairs it is known what they are."""

    def __init__(self, documents: Sequence[Words], each: int, seed: int) -> None:
        draw = random.Random(seed)
        pool = sorted({word for words in documents for word in words})
        chosen = iter([words for words in documents if len(words) >= 80])
        self.texts: list[str] = []
        self.pairs: dict[str, list[tuple[int, int]]] = {}
        self.alike: dict[str, bool] = {}
        for name, (alike, make) in WAYS.items():
            self.alike[name] = alike
            for _ in range(each):
                words = next(chosen)
                self.add(name, words, make(words, draw, pool))
        for _ in range(each):
            words = next(chosen) + next(chosen)
            part = len(words) * 10 // 17
            self.add(CHAIN, *(words[part * shift // 100 :][:part] for shift in (0, 35, 70)))
        for name, share in ((HEADER_60, 0.6), (HEADER_90, 0.9)):
            # The same licence above each, and of each as many words of its own as the share leaves.
            licence = LICENCE.split()
            own = round(len(licence) * (1 - share) / share)
            self.add(name, *(licence + [draw.choice(pool) for _ in range(own)] for _ in range(300)))
        self.alike |= dict.fromkeys((CHAIN, HEADER_60, HEADER_90), False)
        self.made = len(self.texts)
        self.texts += [" ".join(words) for words in chosen]

    def add(self, name: str, *texts: Words) -> None:
        """Put texts at the end; every two that follow one another are a pair."""
        first = len(self.texts)
        self.texts += [" ".join(words) for words in texts]
        self.pairs.setdefault(name, []).extend((at, at + 1) for at in range(first, len(self.texts) - 1))


# The searches ---------------------------------------------------------------------------------------------------------


def langmill(cleaning: Cleaning, texts: Sequence[str]) -> Removals:
    """Langmill's search in one process, without any steps of cleaning."""
    split = SplitSection(0.01, 0.01, "", None)
    clean = BatchCleaner(cleaning, "the benchmark")
    with tempfile.TemporaryDirectory() as folder, Spool(Path(folder)) as spool:
        for batch in batches(Row(str(number), text, None, None, {}) for number, text in enumerate(texts)):
            cleaned, prints = clean(sent(batch))
            for row, one in zip(batch, cleaned, strict=True):
                spool.add(row, one, Split.train)
            spool.add_fingerprints(prints, [True] * len(batch))
        spool.finish()
        report = Report("benchmark")
        verdicts = exact_duplicates(spool, cleaning, split, report)
        find_near_duplicates(spool, verdicts, cleaning, split, report)
        lost = np.flatnonzero(verdicts.fates != Fate.kept)
        return dict(zip(lost.tolist(), verdicts.twins[lost].tolist(), strict=True))


def datasketch(texts: Sequence[str]) -> Removals:
    """MinHashLSH of datasketch; what it finds is joined to clusters, of which the first document is kept."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=128)
    kept: dict[int, int] = {}
    for number, text in enumerate(texts):
        words = text.lower().replace(",", "").split()
        grams = [" ".join(words[at : at + 3]).encode() for at in range(len(words) - 2)]
        signature = MinHash(num_perm=128)
        signature.update_batch(grams)
        found = index.query(signature)
        index.insert(number, signature)
        kept[number] = min((kept[other] for other in found), default=number)
    return {number: twin for number, twin in kept.items() if twin != number}


def datatrove(texts: Sequence[str]) -> Removals:
    """The four steps of datatrove, in this process; it tells not for which document one is removed: itself is given."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger

    logger.disable("datatrove")

    # Its default, xxHash of a text, fails with xxhash 4: "Strings must be encoded before hashing".
    config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        for _ in MinhashDedupSignature(f"{folder}/signatures", config).run(iter(documents), 0, 1) or ():
            pass
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config).run(
                None, bucket, config.num_buckets
            )
        MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config).run(None, 0, 1)
        left = {document.id for document in MinhashDedupFilter(f"{folder}/remove").run(iter(documents), 0, 1)}
    return {number: number for number in range(len(texts)) if str(number) not in left}


def signature_speeds(texts: Sequence[str], cleaning: Cleaning) -> dict[str, float]:
    """MB/s of processor time from texts to 28 bands of 4 over 3-grams of words, by us and by polars-textproc."""

    def ours(texts: Sequence[str]) -> None:
        fingerprints(texts, [None] * len(texts), cleaning)

    def theirs(texts: Sequence[str]) -> None:
        import polars
        import polars_textproc

        text = polars.col("text").str.to_lowercase()
        polars.DataFrame({"text": texts}).select(polars_textproc.minhash(text, window=3, buckets=28, bsize=4))

    size = sum(len(text.encode()) for text in texts) / 1e6
    speeds = {}
    for name, work in (("Langmill", ours), ("polars-textproc", theirs)):
        try:
            work(texts[:10])  # tables and threads
        except ImportError:
            print(f"{name} is not installed, so it is not measured: pip install polars-textproc.", file=sys.stderr)
            continue
        started = time.process_time()
        for first in range(0, len(texts), 500):
            work(texts[first : first + 500])
        speeds[name] = size / (time.process_time() - started)
    return speeds


# The table ------------------------------------------------------------------------------------------------------------


def found_of(pairs: Sequence[tuple[int, int]], removed: Removals) -> int:
    """How many pairs lost one of the two for the sake of the other; where no twin is told, lost one of the two."""
    count = 0
    for one, other in pairs:
        roots = {removed.get(one, one), removed.get(other, other)}
        untold = removed.get(one) == one or removed.get(other) == other
        count += (one in removed or other in removed) and (len(roots) == 1 or untold)
    return count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "documents", type=Path, help="a corpus's cleaned folder, of whose training documents pairs are made"
    )
    parser.add_argument("--each", type=int, default=100, help="pairs of each way")
    parser.add_argument("--others", type=int, default=4000, help="documents beside them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--datatrove", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what Langmill finds among the other documents")
    asked = parser.parse_args()
    words = [
        one.text.lower().replace(",", "").split()
        for one in read_documents(documents_path(asked.documents, Split.train))
    ]
    random.Random(asked.seed).shuffle(words)
    needed = (len(WAYS) + 2) * asked.each + asked.others
    long = [one for one in words if len(one) >= 80][:needed]
    if len(long) < needed:
        sys.exit(f"{asked.documents} has {len(long):,} training documents of 80 words; {needed:,} are asked for.")
    made = Made(long, asked.each, asked.seed)
    size = sum(len(text.encode()) for text in made.texts) / 1e6
    print(
        f"{len(made.texts):,} texts, {size:.1f} MB; {asked.each} pairs of each way, 300 documents below each licence\n"
    )
    near = compose_corpus("reviews", CONF).cleaning.near_duplicates
    cleaning = Cleaning([], {}, True, Folding.text, near, None, Engine.processes, 1)
    searches = {"Langmill": functools.partial(langmill, cleaning), "datasketch": datasketch} | (
        {"datatrove": datatrove} if asked.datatrove else {}
    )
    results: dict[str, Removals] = {}
    speeds: dict[str, float] = {}
    for name, search in searches.items():
        started = time.process_time()
        results[name] = search(made.texts)
        speeds[name] = size / (time.process_time() - started)
    print(f"| pair | near duplicates | {' | '.join(f'{name} finds' for name in results)} |")
    print(f"|---|---|{'---:|' * len(results)}")
    for name, pairs in made.pairs.items():
        cells = [f"{found_of(pairs, removed) / len(pairs):.0%}" for removed in results.values()]
        print(f"| {name} | {'yes' if made.alike[name] else 'no'} | {' | '.join(cells)} |")
    totals: dict[str, Counter[str]] = {name: Counter() for name in results}
    for name, removed in results.items():
        for way, pairs in made.pairs.items():
            found = found_of(pairs, removed)
            totals[name].update({"true" if made.alike[way] else "false": found, "all": len(pairs) * made.alike[way]})
    others = [sum(number >= made.made for number in removed) for removed in results.values()]
    print(f"| other documents removed | | {' | '.join(f'{count:,}' for count in others)} |")
    precision = [f"{one['true'] / max(1, one['true'] + one['false']):.3f}" for one in totals.values()]
    recall = [f"{one['true'] / one['all']:.3f}" for one in totals.values()]
    print(f"| **precision** | | {' | '.join(precision)} |\n| **recall** | | {' | '.join(recall)} |")
    print(f"| MB/s of processor time | | {' | '.join(f'{speeds[name]:.2f}' for name in results)} |")
    for name, speed in signature_speeds(made.texts, cleaning).items():
        print(f"| signatures alone by {name}, MB/s | | {speed:.1f} |")
    if asked.show:
        for number, twin in results["Langmill"].items():
            if number >= made.made:
                print(f"\n{made.texts[number][:400]}\n--\n{made.texts[twin][:400]}")


if __name__ == "__main__":
    main()
