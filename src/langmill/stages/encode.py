"""Encode a recipe's documents to token shards."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from langmill.config.compose import load_section
from langmill.config.sections import Recipe
from langmill.data.contract.passed import documents_digest, require_passed
from langmill.data.document import Document, Split, count_documents, documents_path, read_documents
from langmill.errors import DataError
from langmill.files import atomic_folder, read_manifest, write_manifest
from langmill.progress import track
from langmill.tasks.base import Task, build_task
from langmill.tokenization.shards import EncodedDocument, write_shard
from langmill.tokenization.tokenizer import Tokenizer
from langmill.workspace import Workspace

logger = logging.getLogger(__name__)
COVERED = "in_another"
"""The reason of a document that training leaves out because another one teaches all of it (`Task.covered`)."""


def main(name: str) -> None:
    """Write build/shards/NAME from the recipe's documents and tokenizer."""
    workspace = Workspace()
    where = workspace.composed_file("recipe", name)
    recipe = load_section(Recipe, where)
    documents = workspace.documents(recipe.corpus.name)
    read_manifest(workspace.tokenizer(recipe.tokenizer.name), verify=True)
    tokenizer = Tokenizer.load(workspace.tokenizer(recipe.tokenizer.name))
    manifest = read_manifest(documents, verify=True)
    require_passed(workspace.contract(recipe.corpus.name), manifest)
    without_labels = build_task(recipe.task.name, recipe.task.options, (), str(where))
    labels = without_labels.find_labels(read_documents(documents_path(documents, Split.train)))
    task = build_task(recipe.task.name, recipe.task.options, labels, str(where))
    totals = {split: count_documents(documents_path(documents, split)) for split in Split}
    threads = os.cpu_count() or 1
    splits: dict[str, dict[str, Any]] = {}
    with (
        atomic_folder(workspace.shards(name)) as folder,
        track(f"Encoding the documents of {name}", sum(totals.values()), "documents") as progress,
    ):
        for split in Split:
            left_out: Counter[str] = Counter()
            truncated: Counter[str] = Counter()
            used = _used(task, documents_path(documents, split), left_out, progress.advance)
            encoded = _counted(task.encode(used, tokenizer, threads), truncated)
            size = write_shard(folder, split, encoded, tokenizer.eot_id, tokenizer.dtype)
            if not size.sequences:
                reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items()))
                raise DataError(
                    f"The task {recipe.task.name} can use no document of the {split} split of the corpus "
                    f"{recipe.corpus.name} ({reasons or 'it is empty'}). Check the corpus's fields, or add data.",
                    "too_few",
                )
            num_used = totals[split] - left_out.total()
            splits[split.value] = {
                "documents": num_used,
                "tokens": size.tokens,
                "bytes": size.bytes,
                "left_out": dict(left_out),
            }
            if size.sequences != num_used:
                splits[split.value]["sequences"] = size.sequences
            if truncated:
                splits[split.value]["truncated"] = dict(sorted(truncated.items()))
                counts = ", ".join(f"the {kind} of {count:,}" for kind, count in sorted(truncated.items()))
                logger.warning("%s: truncated, since it did not fit, in the %s split: %s", name, split.value, counts)
        facts = {
            "dtype": tokenizer.dtype.str,
            "vocab_size": tokenizer.vocab_size,
            "eot_id": tokenizer.eot_id,
            "special_ids": tokenizer.special_ids,
            "labels": labels,
            "splits": splits,
            "tokenizer_sha256": tokenizer.digest,
            "documents": documents_digest(manifest),
        }
        write_manifest(folder, facts)


def _used(task: Task, path: Path, left_out: Counter[str], on_document: Callable[[], object]) -> Iterator[Document]:
    """Yield the documents that the task can use; count the others, by reason."""
    covered = task.covered(read_documents(path))
    for document in read_documents(path):
        on_document()
        reason = task.check(document) or (COVERED if document.id in covered else None)
        if reason is None:
            yield document
        else:
            left_out[reason] += 1


def _counted(encoded: Iterable[EncodedDocument], truncated: Counter[str]) -> Iterator[EncodedDocument]:
    """Yield encoded documents; count what of them was truncated."""
    for document in encoded:
        truncated.update(document.truncated)
        yield document
