"""A recipe against its baselines on every document of its corpus, by cross-validation.

    python benchmarks/folds.py sentiment                     # in a workspace where `dvc repro clean@reviews` has run
    python benchmarks/folds.py spam --folds 10 --set training.steps=300

A test split of 1,178 reviews shows differences in accuracy from 1.6 points; all 24,900 show 0.4. Each fold is the test
split of one round: the vocabulary, the network and the baselines are made from the others, a twentieth of which watches
the training. (A pretrained base and its vocabulary are taken as they are; its stage must have run.) Every document is
judged once, by models that have not seen it, and the pooled scores are compared as the stage `evaluate` compares them:
paired, by documents. What two trainings of one recipe differ by is in the mean over the rounds, not in the interval.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import yaml

from langmill.config.compose import available, compose_recipe, plain
from langmill.config.sections import Recipe
from langmill.data.document import Document, DocumentWriter, Split, documents_path, read_documents
from langmill.evaluation.evaluate import Evaluated, evaluate
from langmill.evaluation.scoring import reproducible
from langmill.evaluation.significance import compare, estimate
from langmill.files import atomic_folder, write_manifest
from langmill.scoring.base import TrainingData, build_scorer
from langmill.stages import encode, tokenizer
from langmill.tasks.loading import load_model
from langmill.tokenization.shards import Shard
from langmill.training.fit import fit
from langmill.workspace import Workspace

CONF = Path(__file__).resolve().parents[1] / "conf"
WATCHING = 20
"""One of so many documents outside of the fold watches the training."""


def main() -> None:
    """Run the rounds; print both sides' metric over all documents, and the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="one that starts from random weights or from a pretrained model")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the recipe")
    asked = parser.parse_args()
    recipe = compose_recipe(asked.recipe, asked.set, CONF)
    if recipe.training.base in available("recipe", CONF):
        sys.exit(f"{recipe.name} starts from {recipe.training.base}, which has seen what it would be judged on.")
    folder = Workspace().documents(recipe.corpus.name)
    documents = [document for split in Split for document in read_documents(documents_path(folder, split))]
    rounds = []
    for fold in range(asked.folds):
        started = time.monotonic()
        rounds.append(judge(recipe, documents, fold, asked.folds))
        found = rounds[-1].estimates[recipe.gate.metric]
        print(f"{fold + 1} of {asked.folds}: {found}, {time.monotonic() - started:.0f} s", flush=True)
    report(recipe, rounds)


def report(recipe: Recipe, rounds: Sequence[Evaluated]) -> None:
    """Print the metric that decides, of the recipe and of each baseline over all rounds, and the differences."""
    metric, evaluation, scorer = recipe.gate.metric, recipe.evaluation, rounds[0].scorer
    scores = pa.concat_tables(each.scores for each in rounds)
    print(f"{recipe.name}: {metric} {estimate(scorer, scores, evaluation)[metric]}, {scores.num_rows:,} documents")
    for number, baseline in enumerate(rounds[0].baselines):
        theirs = pa.concat_tables(each.baselines[number].scores for each in rounds)
        found = estimate(scorer, theirs, evaluation)
        if metric in found:
            better = compare(scorer, scores, theirs, metric, evaluation).improvement
            print(f"{baseline.name}: {metric} {found[metric]}; {recipe.name} is better by {better}")


def judge(recipe: Recipe, documents: Sequence[Document], fold: int, folds: int) -> Evaluated:
    """Make everything from the other folds, in a workspace of its own, and judge it on this one."""
    parts: dict[Split, list[Document]] = {split: [] for split in Split}
    for document in documents:
        number = int.from_bytes(hashlib.sha256(document.id.encode()).digest()[:8], "big")
        rest, own = divmod(number, folds)
        parts[Split.test if own == fold else Split.train if rest % WATCHING else Split.validation].append(document)
    outside = Workspace(Path.cwd())
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place, contextlib.chdir(place):
        workspace = Workspace()
        shutil.copytree(CONF, workspace.conf)
        for group, name, section in (
            ("recipe", recipe.name, recipe),
            ("tokenizer", recipe.tokenizer.name, recipe.tokenizer),
        ):
            path = workspace.composed_file(group, name)
            path.parent.mkdir(parents=True)
            path.write_text(yaml.safe_dump(plain(section)), encoding="utf-8")
        with atomic_folder(workspace.documents(recipe.corpus.name)) as folder:
            for split, part in parts.items():
                with DocumentWriter(documents_path(folder, split)) as writer:
                    for document in part:
                        writer.write(document)
            write_manifest(folder, {"corpus": recipe.corpus.name})
        vocabulary = workspace.tokenizer(recipe.tokenizer.name)
        if recipe.tokenizer.corpus is None:
            shutil.copytree(outside.tokenizer(recipe.tokenizer.name), vocabulary)
        else:
            tokenizer.main(recipe.tokenizer.name)
        encode.main(recipe.name)
        shards, out = workspace.shards(recipe.name), workspace.model(recipe.name)
        base = outside.model(recipe.training.base) if recipe.training.base else None
        fit(recipe, shards=shards, tokenizer=vocabulary, base=base, runs=workspace.runs, out=out, tracking_uri=None)
        model = load_model(out, verify=True)
        scorer = build_scorer(model.task, recipe.scoring.options, recipe.name)
        fitted = [document for document in parts[Split.train] if model.task.check(document) is None]
        train = TrainingData(Shard.open(shards, Split.train), lambda: iter(fitted))
        with reproducible(recipe.evaluation.threads):
            return evaluate(model, parts[Split.test], train, recipe.evaluation, recipe.gate.metric, scorer=scorer)


if __name__ == "__main__":
    main()
