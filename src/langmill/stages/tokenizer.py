"""Train a vocabulary on a corpus's training split."""

from __future__ import annotations

import logging

from langmill.config.compose import load_section
from langmill.config.sections import Tokenizer
from langmill.data.contract.passed import require_passed
from langmill.data.document import Split, count_documents, documents_path, read_documents
from langmill.files import atomic_folder, read_manifest, sha256_file, write_manifest
from langmill.progress import track
from langmill.tokenization.tokenizer import FILE_NAME
from langmill.tokenization.training import train_tokenizer
from langmill.workspace import Workspace

logger = logging.getLogger(__name__)


def main(name: str) -> None:
    """Write build/tokenizers/NAME from the training documents of its corpus."""
    workspace = Workspace()
    section = load_section(Tokenizer, workspace.composed_file("tokenizer", name))
    assert section.corpus is not None  # compose refuses a line for a pretrained one
    manifest = read_manifest(workspace.documents(section.corpus), verify=True)
    require_passed(workspace.contract(section.corpus), manifest)
    documents = documents_path(workspace.documents(section.corpus), Split.train)
    # All that a model reads: both languages of a translation, a question and its answer.
    texts = (each.text if each.target is None else f"{each.text}\n{each.target}" for each in read_documents(documents))
    with (
        atomic_folder(workspace.tokenizer(name)) as folder,
        track(f"Learning the vocabulary {name}", count_documents(documents), "documents") as progress,
    ):
        size = train_tokenizer(
            section.algorithm,
            section.vocab_size,
            texts,
            folder / FILE_NAME,
            lambda _: progress.advance(),
            special_tokens=section.special_tokens,
            pattern=section.pattern,
            normalizer=section.normalizer,
            options=section.options,
        )
        if section.vocab_size is not None and size < section.vocab_size:
            logger.warning("%s: the text supports %d entries of the %d wanted", name, size, section.vocab_size)
        facts = {
            "algorithm": section.algorithm,
            "corpus": section.corpus,
            "corpus_sha256": sha256_file(documents),
            "special_tokens": section.special_tokens,
            "vocab_size": size,
            "vocab_size_wanted": section.vocab_size,
        }
        write_manifest(folder, facts)
